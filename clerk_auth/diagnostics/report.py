"""What a diagnosis has found: statuses, verdicts, the results of probes, and the JSON of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from clerk_auth.conf import ENFORCE
from clerk_auth.core.keys import describe_key
from clerk_auth.jwks.source import Keys

__all__ = [
    "ACCEPTED", "FAILED", "NOT_CHECKED", "PASSED", "REFUSED", "SCHEMA_VERSION", "SKIPPED",
    "STATUSES", "UNKNOWN", "WARNED", "Report", "Result", "TokenReport",
]  # fmt: skip

# Of every JSON document that a command prints; new members do not change it.
SCHEMA_VERSION = 1
# Of a probe, and of a rule that is applied to a token: a rule is passed, failed or not checked.
PASSED, WARNED, FAILED, SKIPPED = STATUSES = "passed", "warning", "failed", "skipped"
NOT_CHECKED = "not_checked"
# On a token as a whole.
ACCEPTED, REFUSED, UNKNOWN = "accepted", "refused", "unknown"


class TokenReport(Protocol):
    """What a report needs of an ``inspection.Inspection``."""

    @property
    def verdict(self) -> str: ...

    def as_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Result:
    """What one probe found; ``remedy`` says what to do if it did not pass."""

    group: str
    name: str
    status: str
    detail: str
    remedy: str = ""


@dataclass(slots=True)
class Report:
    """Results in the order of the probes, the keys in use, and the mode of the settings.

    ``proves`` says what it means that all passed. ``inspection`` is that of a token, if one was
    given.
    """

    results: list[Result] = field(default_factory=list)
    keys: Keys = ()
    mode: str = ENFORCE
    proves: str = "The lock is locked"
    inspection: TokenReport | None = None

    @property
    def passed(self) -> bool:
        is_accepted = self.inspection is None or self.inspection.verdict == ACCEPTED
        return is_accepted and all(result.status != FAILED for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        """How many results have each status."""
        return {s: sum(result.status == s for result in self.results) for s in STATUSES}

    @property
    def first_failure(self) -> str:
        """What failed first, in one line; empty if nothing did."""
        for result in self.results:
            if result.status == FAILED:
                return f"{result.group}, {result.name}: {result.detail}"
        return "" if self.passed else f"the token is {self.inspection and self.inspection.verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Return a dict that can be written as JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "counts": self.counts,
            "probes": [asdict(result) for result in self.results],
            "keys": [describe_key(key) for key in self.keys],
            "token": self.inspection and self.inspection.as_dict(),
        }
