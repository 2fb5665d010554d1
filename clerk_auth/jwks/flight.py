"""One trip to cache and issuer: read, lock, reserve, fetch, publish.

A flight fetches only where the shared document does not help. It must hold the fleet's lock, have
read the document again under it and, if a token forces it, have reserved the cooldown. That happens
under the lock only: a process that is refused the cooldown knows that no fetch still serves it.

Lock and failure in the cache are not signed. A process without keys lets them keep it from fetching
for one lease and for one pause; then it fetches for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from clerk_auth import metrics
from clerk_auth.core.errors import KeySetInvalid
from clerk_auth.core.keys import parse_jwks
from clerk_auth.jwks.fleet import Fleet
from clerk_auth.jwks.held import KEY_ID, SIGNATURE, Failure, Held, Snapshot
from clerk_auth.jwks.waiting import End
from clerk_auth.logs import log
from clerk_auth.transport import FetchFailed

__all__ = ["LOOK", "OPERATOR", "WAIT_SECONDS", "Fetch", "Flight", "Outcome"]

# What else a flight is for: a look that is due, which fetches when the set is older than
# JWKS_REFRESH_SECONDS; an operator, who fetches past cooldown and backoff.
LOOK, OPERATOR = "look", "operator"
# How long a request, and the flight for it, waits for a fetch of another process.
WAIT_SECONDS = {LOOK: 3.0, KEY_ID: 1.5, SIGNATURE: 1.5}
POLL_SECONDS, MAX_POLL_SECONDS = 0.025, 0.2
# A fetch that ends so shortly before its lease publishes nothing: another may hold the lock.
FENCE_SECONDS = 0.5

# Returns the key document, or raises ``FetchFailed``.
Fetch = Callable[[], bytes]


class Outcome(Enum):
    """How a flight ended."""

    SATISFIED = auto()  # by what the fleet shares
    FINAL = auto()  # as far as its purpose may go: another one is pointless for now
    LATE = auto()  # it waited in vain for the fetch of another process


@dataclass(eq=False)
class Flight:
    """A trip for ``purpose`` until ``is_satisfied``; ``found`` is what came of a fetch."""

    held: Held
    fleet: Fleet
    fetch: Fetch
    purpose: str
    is_satisfied: Callable[[], bool]
    outcome: Outcome | None = None
    found: Snapshot | Failure | None = None
    done: End = field(default_factory=End)

    def fly(self) -> Outcome:
        """Go as far as the purpose may go, and wait for another process's fetch on the way."""
        held, clock, poll_seconds = self.held, self.held.clock, POLL_SECONDS
        deadline = clock.monotonic() + WAIT_SECONDS.get(self.purpose, self.fleet.lease_seconds)
        self._read()
        while not self.is_satisfied():
            is_early = self.purpose != OPERATOR and held.is_backing_off() and not held.is_usable()
            if is_early or held.is_cooling(self.purpose):
                return Outcome.FINAL
            lock = self.fleet.acquire(kept_seconds=held.count_kept_seconds())
            if lock is not None:
                return self._lead(lock)
            # Another process fetches: wait only where there is nothing to answer with.
            if self.purpose == SIGNATURE or (self.purpose == LOOK and held.is_usable()):
                return Outcome.FINAL
            if clock.monotonic() + poll_seconds > deadline:
                return Outcome.LATE
            clock.sleep(poll_seconds * held.jitter(0.5, 1.0))
            poll_seconds = min(2 * poll_seconds, MAX_POLL_SECONDS)
            self._read()
        return Outcome.SATISFIED

    def _read(self) -> None:
        """Take the shared document, or put what is held in its place if that is newer."""
        held, shared = self.held, self.fleet.load()
        if shared is None:
            return
        if held.snapshot and held.is_usable() and held.generation > shared.generation:
            # Of a leader that was stopped past its lease, or brought back by an attacker.
            self.fleet.store(held.snapshot)
        else:
            held.take(shared)

    def _lead(self, lock: str) -> Outcome:
        """Fetch, unless the document under the lock, the backoff or the cooldown say no."""
        locked_at = self.held.clock.monotonic()
        try:
            self._read()
            if self.is_satisfied():
                return Outcome.SATISFIED
            if failure := self.fleet.load_failure():
                self.held.back_off(failure)
            is_free = self.purpose == OPERATOR
            if not is_free and (self.held.is_backing_off() or not self._reserve()):
                return Outcome.FINAL
            found = self.found = self._fetch_document()
            fence = locked_at + self.fleet.lease_seconds - FENCE_SECONDS
            if lock and self.held.clock.monotonic() <= fence:
                if isinstance(found, Snapshot):
                    self.fleet.store(found)
                self.fleet.store_failure(found if isinstance(found, Failure) else None)
            return Outcome.FINAL
        finally:
            self.fleet.release(lock)

    def _reserve(self) -> bool:
        """Reserve the cooldown, where a fetch is not due anyway; ``False`` if it is taken."""
        if self.purpose == LOOK or not self.held.is_fresh():
            return True
        seconds = self.fleet.reserve(self.purpose)
        self.held.cool(self.purpose, seconds or self.fleet.cooldown_seconds)
        return not seconds

    def _fetch_document(self) -> Snapshot | Failure:
        fetched_at = self.held.clock.now()
        generation, label = max(int(fetched_at * 1000), self.held.generation + 1), self.held.label
        try:
            key_set = parse_jwks(self.fetch())
        except (FetchFailed, KeySetInvalid) as error:
            failure = self.held.fail(error.reason)
            metrics.increment(metrics.FETCH_ERRORS, error.reason, instance=label)
            reason, count = error.reason, failure.count
            log(logging.WARNING, "keys_fetch_failed", instance=label, reason=reason, count=count)
            return failure
        for reason, count in key_set.skipped.items():
            metrics.increment(metrics.KEYS_SKIPPED, reason, instance=label, by=count)
            log(logging.WARNING, "keys_skipped", instance=label, reason=reason, count=count)
        snapshot = Snapshot(key_set, generation, fetched_at)
        self.held.take(snapshot)
        return snapshot
