"""What this process holds: the snapshot, the last failure, and how old they are."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from clerk_auth import metrics
from clerk_auth.conf import Config
from clerk_auth.core.errors import FETCH_REASONS
from clerk_auth.core.keys import KeySet, VerifyingKey
from clerk_auth.logs import log

__all__ = [
    "FAILURE_SECONDS", "KEY_ID", "MAX_CLOCK_SKEW_SECONDS", "SIGNATURE", "Clock", "Failure", "Held",
    "Jitter", "Snapshot",
]  # fmt: skip

# What a token forces a flight for; each has a cooldown of its own.
KEY_ID, SIGNATURE = "key_id", "signature"
MAX_CLOCK_SKEW_SECONDS = 60
MAX_BACKOFF_SECONDS, MAX_FAILURES = 60, 16
# How long the fleet keeps a failure.
FAILURE_SECONDS = 300
# No backoff of ours ends later than this, with jitter and clocks that differ.
MAX_PAUSE_SECONDS = 1.2 * MAX_BACKOFF_SECONDS + MAX_CLOCK_SKEW_SECONDS

# Draws a number between two, to spread the load.
Jitter = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the key source sees it: Unix seconds, a clock that only advances, and waiting."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A key set, and the start of its fetch in Unix seconds; nothing in it changes.

    ``generation`` orders them across the fleet: a process never goes back to a lower one.
    """

    key_set: KeySet
    generation: int
    fetched_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The last fetch failed, ``count`` times in a row; the next may start at ``until``."""

    reason: str
    count: int
    until: float

    def may_be_ours(self, now: float) -> bool:
        """Tell whether a process of ours can have told it; what was read may have any type."""
        is_count = type(self.count) is int and 1 <= self.count <= MAX_FAILURES
        # An instant that is cut short at each reading would never end.
        earliest, latest = now - FAILURE_SECONDS - MAX_CLOCK_SKEW_SECONDS, now + MAX_PAUSE_SECONDS
        is_instant = type(self.until) in (int, float) and earliest <= self.until <= latest
        return self.reason in FETCH_REASONS and is_count and is_instant


class Held:
    """Snapshot and failure of one process. A question changes nothing, and costs no I/O."""

    def __init__(self, config: Config, clock: Clock, jitter: Jitter) -> None:
        self.refresh_seconds = config.jwks_refresh_seconds
        self.max_age_seconds = config.jwks_max_age_seconds
        self.local_seconds = config.jwks_local_seconds
        self.instance, self.label = config.instance, config.label
        self.clock, self.jitter = clock, jitter
        self.snapshot: Snapshot | None = None
        self.failure: Failure | None = None
        # By the clock that only advances: until when a forced fetch is not ours to make, and
        # since when others keep this process, which has no keys, from fetching.
        self._cooling_until = dict.fromkeys((KEY_ID, SIGNATURE), -math.inf)
        self._kept_since = math.inf
        self._own_failures = 0  # of its own fetches, in a row

    def keys_for(self, kid: str) -> tuple[VerifyingKey, ...]:
        return self.snapshot.key_set.by_kid.get(kid, ()) if self.snapshot else ()

    @property
    def generation(self) -> int:
        return self.snapshot.generation if self.snapshot else 0

    def age_seconds(self) -> float:
        return self.clock.now() - self.snapshot.fetched_at if self.snapshot else math.inf

    def is_usable(self) -> bool:
        return self.age_seconds() < self.max_age_seconds

    def is_fresh(self) -> bool:
        """Tell whether no refresh is due; it is, when the clock was set back behind the fetch."""
        return -MAX_CLOCK_SKEW_SECONDS <= self.age_seconds() < self.refresh_seconds

    def is_cooling(self, purpose: str) -> bool:
        """Tell whether the cooldown of ``purpose`` runs, and no refresh is due anyway."""
        until = self._cooling_until.get(purpose, -math.inf)
        return self.clock.monotonic() < until and self.is_fresh()

    def is_backing_off(self) -> bool:
        """Tell whether it is too early to fetch again; not, when the clock was set back."""
        failure = self.failure
        return failure is not None and 0 < failure.until - self.clock.now() <= MAX_PAUSE_SECONDS

    def take(self, snapshot: Snapshot) -> None:
        """Hold ``snapshot`` from now on, unless what is held is as new."""
        before = self.snapshot
        if before is not None and snapshot.generation <= before.generation:
            return
        self.snapshot, self._own_failures, self._kept_since = snapshot, 0, math.inf
        metrics.set_gauge(metrics.FETCHED_AT, snapshot.fetched_at, self.label)
        expires_at = snapshot.fetched_at + self.max_age_seconds
        metrics.set_gauge(metrics.EXPIRES_AT, expires_at, self.label)
        thumbprints = snapshot.key_set.thumbprints
        if before is None or before.key_set.thumbprints != thumbprints:
            names = ",".join(sorted(thumbprints))
            log(logging.INFO, "keys_changed", instance=self.label, thumbprints=names)
        if self.failure is not None:
            self.failure = None
            log(logging.WARNING, "keys_recovered", instance=self.label)

    def cool(self, purpose: str, seconds: float) -> None:
        """Force no fetch for ``purpose`` for so long."""
        self._cooling_until[purpose] = self.clock.monotonic() + seconds

    def count_kept_seconds(self) -> float:
        """Count from now, if not yet, for how long others keep us without keys from fetching."""
        now = self.clock.monotonic()
        self._kept_since = math.inf if self.is_usable() else min(self._kept_since, now)
        return max(0.0, now - self._kept_since)

    def back_off(self, failure: Failure) -> None:
        """Back off as the fleet does; without keys, for one pause in all."""
        if not self.is_usable():
            seconds = max(0.0, self.jitter(0.8, 1.2) - self.count_kept_seconds())
            failure = replace(failure, until=min(failure.until, self.clock.now() + seconds))
        held = self.failure
        if held is None or failure.until >= held.until or not self.is_backing_off():
            self.failure = failure

    def fail(self, reason: str) -> Failure:
        """Back off from a fetch of our own; return what the fleet is told.

        Without keys only our own failures count: what the fleet says of others may be forged.
        """
        count = min(self.failure.count + 1 if self.failure else 1, MAX_FAILURES)
        self._own_failures = min(self._own_failures + 1, MAX_FAILURES)
        self._kept_since = math.inf
        now, jitter = self.clock.now(), self.jitter(0.8, 1.2)
        pauses = [min(2.0 ** (n - 1), MAX_BACKOFF_SECONDS) for n in (count, self._own_failures)]
        until, own_until = (now + jitter * pause for pause in pauses)
        failure = Failure(reason, count, until)
        self.failure = failure if self.is_usable() else replace(failure, until=own_until)
        return failure
