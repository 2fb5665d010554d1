"""The metrics: a row each, with its name, its help text and its labels.

A label comes with every value that it may ever have, from a closed list: nothing that a caller
sends becomes one. While the settings have several instances, what is counted for one of them has a
label more, ``instance``, whose values are their aliases.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product
from types import MappingProxyType

from clerk_auth.conf import MODES, derived, get_aliases
from clerk_auth.core.authorization import REFUSAL_CODES
from clerk_auth.core.errors import CODES, FETCH_REASONS
from clerk_auth.core.keys import SKIP_REASONS

__all__ = [
    "COUNTERS", "DENIED", "DESCRIPTIONS", "DOCUMENTS_REFUSED", "DOCUMENT_REFUSALS", "EXPIRES_AT",
    "FETCHED_AT", "FETCH_ERRORS", "GAUGES", "HITS", "KEYS_SKIPPED", "MISSES", "REFUSED",
    "RESPONSES", "SERIES", "STALE_USES", "STATUSES", "VERIFIED", "Series", "find_series",
    "label_series",
]  # fmt: skip

# Why a shared document is not used.
DOCUMENT_REFUSALS = ("unreadable", "malformed", "signature", "dated_ahead", "too_old")

# Classes of HTTP status, and those of the alarms. A 503 that an anonymous caller can cause is
# apart: it must page no one.
STATUSES = ("2xx", "3xx", "401", "403", "4xx", "503", "keys_busy", "5xx")

_COUNTERS: tuple[tuple[str, str, Mapping[str, tuple[str, ...]]], ...] = (
    (VERIFIED := "jwt_verifications_success", "Tokens that were verified", {"mode": MODES}),
    (
        REFUSED := "jwt_verifications_failure",
        "Tokens that were refused or could not be checked, by error code",
        {"code": CODES, "mode": MODES},
    ),
    (
        DENIED := "clerk_auth_permission_refusals",
        "Requests that a permission of ours refused with 403, by error code",
        {"code": REFUSAL_CODES},
    ),
    (HITS := "jwks_cache_hits", "Tokens whose key the process held", {}),
    (MISSES := "jwks_cache_misses", "Tokens whose key the process did not hold", {}),
    (
        FETCH_ERRORS := "jwks_fetch_errors",
        "Fetches of the key set that failed, by reason",
        {"reason": FETCH_REASONS},
    ),
    (
        STALE_USES := "jwks_stale_uses",
        "Tokens verified with a key set that is due for a refresh",
        {},
    ),
    (
        KEYS_SKIPPED := "jwks_keys_skipped",
        "Keys of a fetched document that were left out, by reason",
        {"reason": SKIP_REASONS},
    ),
    (
        DOCUMENTS_REFUSED := "jwks_documents_refused",
        "Reads of a shared document that could not be used, by reason",
        {"reason": DOCUMENT_REFUSALS},
    ),
    (
        RESPONSES := "clerk_auth_responses",
        "Responses of the whole project, by class of status",
        {"status": STATUSES},
    ),
)
_GAUGES = (
    (
        FETCHED_AT := "jwks_fetched_timestamp_seconds",
        "When the key set in use was fetched, Unix seconds; 0 without one",
    ),
    (
        EXPIRES_AT := "jwks_expiry_timestamp_seconds",
        "When the key set in use can no longer be used, Unix seconds; 0 without one",
    ),
)

COUNTERS = {name: labels for name, _, labels in _COUNTERS}
GAUGES = tuple(name for name, _ in _GAUGES)
DESCRIPTIONS = {name: description for name, description, _ in _COUNTERS} | dict(_GAUGES)

# A metric's name, then the values of its labels in their order.
Series = tuple[str, ...]
# Every series of the counters where there is one instance: its labels, as sinks are told them.
SERIES: Mapping[Series, Mapping[str, str]] = {
    (name, *values): MappingProxyType(dict(zip(labels, values, strict=True)))
    for name, labels in COUNTERS.items()
    for values in product(*labels.values())
}
_LABELS: Mapping[Series, Mapping[str, str]] = {
    **SERIES,
    **{(name,): MappingProxyType({}) for name in GAUGES},
}
# What is counted for the whole project.
_WITHOUT_INSTANCE = frozenset({DENIED, RESPONSES})


def label_series(series: Series, instance: str | None) -> tuple[Series, Mapping[str, str]]:
    """Return ``series`` as that of an instance, with its labels.

    ``instance`` is ``None`` where there is only one. ``KeyError`` if there is no such series.
    """
    labels = _LABELS[series]
    if instance is None or series[0] in _WITHOUT_INSTANCE:
        return series, labels
    return _add_instance(series, instance)


# Aliases come from the settings, so it is bounded.
@cache
def _add_instance(series: Series, instance: str) -> tuple[Series, Mapping[str, str]]:
    return (*series, instance), MappingProxyType({**_LABELS[series], "instance": instance})


@derived
def find_series() -> Mapping[Series, Mapping[str, str]]:
    """Return the series of counters and gauges with their labels, for each instance there is."""
    aliases = get_aliases()
    instances = aliases if len(aliases) > 1 else (None,)
    return MappingProxyType(
        dict(label_series(series, alias) for series in _LABELS for alias in instances)
    )
