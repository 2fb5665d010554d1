"""Settings with two Clerk instances, and the series that they have."""

from __future__ import annotations

from itertools import product

from clerk_auth import metrics

ALIASES = ("default", "staff")
SEVERAL = {
    "FRONTEND_API": "clerk.example.com",
    "INSTANCES": {"staff": {"FRONTEND_API": "clerk.staff.example.com"}},
}
# Of the whole project, however many instances there are.
UNDIVIDED = {metrics.RESPONSES, metrics.DENIED}
GAUGES = [(name,) for name in metrics.GAUGES]
# Written out, so that it follows from nothing that is tested: each series, and its labels.
OF_SEVERAL = {
    **{key: labels for key, labels in metrics.SERIES.items() if key[0] in UNDIVIDED},
    **{
        (*key, alias): {**metrics.SERIES.get(key, {}), "instance": alias}
        for key, alias in product([*metrics.SERIES, *GAUGES], ALIASES)
        if key[0] not in UNDIVIDED
    },
}
