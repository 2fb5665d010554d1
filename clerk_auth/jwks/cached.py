"""The key source: which keys may have signed a token.

A process holds one immutable snapshot (L1), the fleet shares one document in the Django cache
(L2), and Clerk has the truth (L3). One rule: a request that knows its key does no I/O and takes no
lock. Cache and network are the work of one short flight per process, in a thread of its own.

=======================  =========================  ===========================================
snapshot                 known key id               unknown key id (``search``)
=======================  =========================  ===========================================
fresh                    use it                     forced flight, then ``KeyNotFound``
older than refresh       use it; look in background as above; a routine fetch needs no cooldown
refresh failing          use it until max age       ``KeysUnavailable``: not knowing is not denying
none, or past max age    wait for the flight, 3 s   same
=======================  =========================  ===========================================

Who must not wait starts or joins the same flight, and gets ``KeysBusy`` where the others would
have waited for its end.

A flight reads the shared document first, and fetches only where that does not help:

- ``look``: each ``JWKS_LOCAL_SECONDS``, and when there is nothing to use. Fetches when the set is
  older than ``JWKS_REFRESH_SECONDS``.
- ``key_id``, ``signature``: forced by a token. Fetch once per cooldown and fleet.
- ``operator``: fetches past cooldown and backoff.

To fetch is to hold the fleet's lock, to have read the document again under it and, if forced, to
have claimed the cooldown. Claims are made under the lock alone, so whoever holds the lock and is
refused the claim knows that no fetch still serves it. A failure replaces nothing and backs the
fleet off, 1 second doubling to 60. Without a cache a process does all of this for itself.

Lock and failure in the cache are not signed. A process without keys lets them keep it from
fetching for one lease and for one pause; then it fetches for itself, and backs off from its own
failures alone.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import random
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

from django.core.cache import caches
from django.db import connections

from clerk_auth import metrics, signals
from clerk_auth.conf import Config
from clerk_auth.core.errors import KeyNotFound, KeysBusy, KeySetInvalid, KeysUnavailable
from clerk_auth.core.keys import hash_kid, parse_jwks
from clerk_auth.jwks.fleet import (
    MAX_BACKOFF_SECONDS,
    MAX_CLOCK_SKEW_SECONDS,
    MAX_FAILURES,
    MAX_PAUSE_SECONDS,
    Clock,
    SharedKeys,
    Snapshot,
)
from clerk_auth.jwks.source import Failure, Keys, SourceStatus
from clerk_auth.logs import log
from clerk_auth.transport import FetchFailed

LOOK, KEY_ID, SIGNATURE, OPERATOR = "look", "key_id", "signature", "operator"
# How many requests of a process may wait for a flight of this purpose, and how long.
WAITERS = {KEY_ID: 2, SIGNATURE: 1}
WAIT_SECONDS = {LOOK: 3.0, KEY_ID: 1.5, SIGNATURE: 1.5}
# How long a process answers from memory after a look that found nothing.
QUIET_SECONDS = 1.0
# The lease outlives the fetch by this much; a fetch that ends within the last half second of it
# publishes nothing, since the lock may be somebody else's by then.
LEASE_MARGIN_SECONDS, FENCE_SECONDS = 1, 0.5
# A flight that takes longer hangs in a call without a time-out; the process goes on without it.
HUNG_SECONDS = 15
POLL_SECONDS, MAX_POLL_SECONDS = 0.025, 0.2
# A replica may be so late with a document that was just stored.
READ_BACK_SECONDS = 1.0


class _Flight:
    """One trip to cache and issuer.

    ``is_final``: it went as far as its purpose may go. ``is_late``: it waited in vain for a fetch
    of somebody else. ``has_fetched``: it has a set from the issuer. ``tell`` sends the signal of
    what it found.
    """

    def __init__(self, purpose: str, is_satisfied: Callable[[], bool], started_at: float) -> None:
        self.purpose = purpose
        self.is_satisfied = is_satisfied
        self.started_at = started_at
        self.is_final = False
        self.is_late = False
        self.has_fetched = False
        self.tell: Callable[[], None] | None = None
        self.done = threading.Event()


@dataclass(frozen=True, slots=True)
class Refresh:
    """What became of a refresh for the whole fleet.

    ``outcome`` is ``shared``, or what has failed: ``fetch_failed``, ``locked`` (somebody else
    holds the lock, and nothing was fetched) or ``not_shared`` (what was fetched cannot be read
    from the cache, and this process alone has it).
    """

    outcome: str
    status: SourceStatus


# Of the system, and not the shared generator of `random`: a flight beside a project's tests must
# not change what a seed gives them, and forked workers must not draw the same.
_jitter = random.SystemRandom().uniform


def _spawn(work: Callable[[], None]) -> None:
    threading.Thread(target=_work, args=[work], name="clerk_auth-keys", daemon=True).start()


def _work(work: Callable[[], None]) -> None:
    """Do ``work``, and close what belongs to this thread alone, as Django does after a request."""
    try:
        work()
    finally:
        for handler in (caches, connections):
            with contextlib.suppress(Exception):  # the server is gone: nothing is left to close
                handler.close_all()


class CachedKeySource:
    """Keys fetched from Clerk, shared through the cache, held in the process.

    ``fetch`` returns the key document or raises ``FetchFailed``; ``spawn`` runs a flight beside
    the caller; ``jitter`` draws a number between two, to spread the load.
    """

    def __init__(
        self,
        config: Config,
        fetch: Callable[[], bytes],
        shared: SharedKeys,
        *,
        clock: Clock,
        spawn: Callable[[Callable[[], None]], None] = _spawn,
        jitter: Callable[[float, float], float] = _jitter,
    ) -> None:
        self._refresh_seconds = config.jwks_refresh_seconds
        self._max_age_seconds = config.jwks_max_age_seconds
        self._local_seconds = config.jwks_local_seconds
        self._cooldown_seconds = config.jwks_cooldown_seconds
        self._lease_seconds = math.ceil(config.jwks_timeout_seconds) + LEASE_MARGIN_SECONDS
        self._fetch = fetch
        self._shared = shared
        self._clock = clock
        self._spawn = spawn
        self._jitter = jitter
        self._snapshot: Snapshot | None = None
        self._failure: Failure | None = None
        # Since when others keep this process, which has no keys, from fetching; and how many
        # fetches of its own have failed in a row.
        self._kept_since: float | None = None
        self._own_failures = 0
        # Until when, by the clock that only advances: no look is due; a look of that purpose is
        # pointless; a fetch that it forces is not ours to make.
        self._look_at = -math.inf
        self._quiet_until = dict.fromkeys(WAIT_SECONDS, -math.inf)
        self._cooling_until = dict.fromkeys(WAITERS, -math.inf)
        self._start_without_threads()
        _sources.add(self)

    def _start_without_threads(self) -> None:
        """Begin with new locks and no flight, as a forked child must; the snapshot is kept."""
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._waiters = {purpose: threading.Semaphore(n) for purpose, n in WAITERS.items()}
        self._shared.avoid_until(None)

    # What requests ask

    def keys_for(self, kid: str, *, wait: bool = True) -> Keys:
        """Return the keys under ``kid``, empty when the set does not have it.

        Raises:
            KeysUnavailable: there is no set that may be used, after 3 seconds at most.
            KeysBusy: the same at once, while no fetch has failed; only without ``wait``.
        """
        snapshot = self._snapshot
        age_seconds = math.inf if snapshot is None else self._clock.now() - snapshot.fetched_at
        if snapshot is None or age_seconds >= self._max_age_seconds:
            metrics.increment(metrics.MISSES)
            return self._wait_for_snapshot(wait).key_set.keys_for(kid)
        if self._clock.monotonic() >= self._look_at:
            self._join(LOOK, self._is_fresh, blocking=False)
        if age_seconds >= self._refresh_seconds:
            metrics.increment(metrics.STALE_USES)
        keys = snapshot.key_set.keys_for(kid)
        metrics.increment(metrics.HITS if keys else metrics.MISSES)
        return keys

    def search(self, kid: str, *, wait: bool = True) -> Keys:
        """Look further for a ``kid`` that the set does not have, 1.5 seconds at most.

        Raises:
            KeyNotFound: a set fetched since, or within a cooldown, does not have it.
            KeysBusy: two requests wait already, or the answer takes too long.
            KeysUnavailable: fetching fails, so that nobody knows.
        """
        in_time = self._force(KEY_ID, lambda: bool(self._held_keys(kid)), wait)
        if keys := self._held_keys(kid):
            return keys
        if self._failure is not None:
            raise self._unavailable()
        if not in_time:
            raise KeysBusy("busy", cause="key_id")
        raise KeyNotFound("not_in_key_set", kid_sha256=hash_kid(kid))

    def keys_after(self, kid: str, tried: Keys, *, wait: bool = True) -> Keys:
        """Return other keys under ``kid`` than ``tried``, empty when there are none.

        Clerk may replace a key under its id. One request of a process looks, and waits for a fetch
        if it claims the cooldown, 1.5 seconds at most; all others are answered at once.

        Raises:
            KeysBusy: the look has not ended; only without ``wait``.
        """
        in_time = self._force(SIGNATURE, lambda: self._held_keys(kid) != tried, wait)
        keys = self._held_keys(kid)
        if keys != tried:
            return keys
        if not (wait or in_time):
            raise KeysBusy("busy", cause="signature")
        return ()

    def status(self) -> SourceStatus:
        """Describe what this process holds; no I/O."""
        snapshot, failure = self._snapshot, self._failure
        if not self._is_usable():
            state = "cold"
        elif failure is not None:
            state = "degraded"
        else:
            state = "fresh" if self._is_fresh() else "stale"
        return SourceStatus(
            state=state,
            keys=snapshot.key_set.keys if snapshot else (),
            generation=snapshot.generation if snapshot else None,
            fetched_at=snapshot.fetched_at if snapshot else None,
            expires_at=snapshot.fetched_at + self._max_age_seconds if snapshot else None,
            failure=failure,
            is_cache_avoided=self._shared.is_avoided,
            cache_error=self._shared.error,
            document_refused=self._shared.refused,
        )

    def refresh(self) -> SourceStatus:
        """Fetch now, in this thread: past cooldown and backoff, but not past the lock."""
        self._refresh()
        return self.status()

    def refresh_fleet(self) -> Refresh:
        """Fetch as :meth:`refresh` does, and read back what other processes will find."""
        flight = self._refresh()
        if not flight.has_fetched:
            outcome = "locked" if flight.is_late else "fetch_failed"
        elif self._is_read_back():
            outcome = "shared"
        else:
            outcome = "not_shared"
            self._shared.probe()
        return Refresh(outcome, self.status())

    def _refresh(self) -> _Flight:
        self._shared.connect()
        self._adopt_shared()
        # A set that somebody else has fetched meanwhile may be older than this call.
        flight = _Flight(OPERATOR, lambda: flight.has_fetched, self._clock.monotonic())
        self._run(flight)
        return flight

    def _is_read_back(self) -> bool:
        deadline = self._clock.monotonic() + READ_BACK_SECONDS
        while True:
            shared = self._shared.load()
            if shared is not None and shared.generation >= self._generation():
                return True
            if self._clock.monotonic() >= deadline or self._shared.is_avoided:
                return False
            self._clock.sleep(MAX_POLL_SECONDS)

    def load_shared(self) -> SourceStatus:
        """Take what the fleet shares out of the cache, and describe it."""
        self._shared.connect()
        if not self._adopt_shared():
            self._shared.probe()
        self._failure = self._shared.load_failure() or self._failure
        return self.status()

    # Waiting

    def _wait_for_snapshot(self, wait: bool) -> Snapshot:
        if self._clock.monotonic() >= self._quiet_until[LOOK]:
            self._wait(LOOK, self._is_usable, wait)
        snapshot = self._snapshot
        if snapshot is None or not self._is_usable():
            if not wait and self._failure is None:
                raise KeysBusy("busy", cause="first_look")
            raise self._unavailable()
        return snapshot

    def _force(self, purpose: str, is_satisfied: Callable[[], bool], wait: bool) -> bool:
        """Wait for a forced flight; ``False`` when there is no place to wait, or no time left.

        Who does not wait takes the last forced fetch for the answer, while its cooldown lasts.
        """
        is_answered = not wait and self._is_answered(purpose)
        if is_satisfied() or self._clock.monotonic() < self._quiet_until[purpose]:
            return True
        waiter = self._waiters[purpose]
        if not waiter.acquire(blocking=False):
            return is_answered
        try:
            return self._wait(purpose, is_satisfied, wait) or is_answered
        finally:
            waiter.release()

    def _wait(self, purpose: str, is_satisfied: Callable[[], bool], wait: bool) -> bool:
        """Wait until satisfied, or a flight of ``purpose`` is final; ``False``: no time left."""
        deadline = self._clock.monotonic() + (WAIT_SECONDS[purpose] if wait else 0.0)
        while not is_satisfied():
            flight = self._join(purpose, is_satisfied, blocking=wait)
            if flight is None or not flight.done.wait(max(0.0, deadline - self._clock.monotonic())):
                return False
            if flight.purpose == purpose and (flight.is_final or flight.is_late):
                return flight.is_final
        return True

    def _join(
        self, purpose: str, is_satisfied: Callable[[], bool], *, blocking: bool = True
    ) -> _Flight | None:
        """Return the flight under way, or start one; ``None``: another request is starting one."""
        if not self._lock.acquire(blocking=blocking):
            return None
        try:
            flight, now = self._flight, self._clock.monotonic()
            if flight is not None and not flight.done.is_set():
                if now - flight.started_at < HUNG_SECONDS:
                    return flight
                log(logging.ERROR, "keys_flight_hangs", purpose=flight.purpose)
                self._shared.avoid_until(flight.done)
            flight = self._flight = _Flight(purpose, is_satisfied, now)
            self._look_at = now + self._local_seconds
        finally:
            self._lock.release()
        # Without the lock: gevent runs other requests while a thread starts, and a lock that is
        # older than its patches would stop them all.
        try:
            self._spawn(lambda: self._run(flight))
        except RuntimeError:  # no thread can be had: out of resources, or shutting down
            flight.is_final = True
            flight.done.set()
        return flight

    # Flying

    def _run(self, flight: _Flight) -> None:
        try:
            self._fly(flight)
        except Exception as error:
            log(logging.ERROR, "keys_flight_failed", error=type(error).__name__)
            flight.is_final = True
        finally:
            now = self._clock.monotonic()
            is_satisfied = flight.is_satisfied()
            # A document that helped, but is old, is refreshed by the next look: at once.
            is_due = is_satisfied and not self._is_fresh()
            self._look_at = now + self._local_seconds * (0 if is_due else self._jitter(0.8, 1))
            if flight.is_final and not is_satisfied:
                self._quiet_until[flight.purpose] = now + QUIET_SECONDS
            flight.done.set()
        if flight.tell is not None:  # last: nobody waits for a receiver
            flight.tell()

    def _fly(self, flight: _Flight) -> None:
        deadline = self._clock.monotonic() + WAIT_SECONDS.get(flight.purpose, self._lease_seconds)
        poll_seconds = POLL_SECONDS
        self._adopt_shared()
        while not flight.is_satisfied():
            is_pausing = not self._is_usable() and self._is_pausing()
            if self._is_cooling(flight.purpose) or (is_pausing and flight.purpose != OPERATOR):
                flight.is_final = True
                return
            lock = self._shared.acquire(
                lease_seconds=self._lease_seconds, waited_seconds=self._kept_seconds()
            )
            if lock is not None:
                self._lead(flight, lock)
                return
            # Somebody else fetches: wait only where there is nothing to answer with.
            if flight.purpose == SIGNATURE or (flight.purpose == LOOK and self._is_usable()):
                flight.is_final = True
                return
            if self._clock.monotonic() + poll_seconds > deadline:
                flight.is_late = True
                return
            self._clock.sleep(poll_seconds * self._jitter(0.5, 1.0))
            poll_seconds = min(2 * poll_seconds, MAX_POLL_SECONDS)
            self._adopt_shared()

    def _lead(self, flight: _Flight, lock: str) -> None:
        """Fetch, unless the document under the lock, the backoff or the cooldown say no."""
        locked_at = self._clock.monotonic()
        try:
            self._adopt_shared()
            if flight.is_satisfied():
                return
            if self._may_fetch(flight.purpose):
                self._fetch_and_publish(flight, lock, locked_at)
            flight.is_final = True
        finally:
            self._shared.release(lock)

    def _may_fetch(self, purpose: str) -> bool:
        self._adopt_failure()
        if purpose == OPERATOR:
            return True
        if self._is_pausing():
            return False
        if purpose == LOOK or not self._is_fresh():
            return True
        seconds = self._shared.claim(purpose, cooldown_seconds=self._cooldown_seconds)
        cooling_seconds = seconds or self._cooldown_seconds
        self._cooling_until[purpose] = self._clock.monotonic() + cooling_seconds
        return not seconds

    def _kept_seconds(self) -> float:
        """Return for how long others keep this process from fetching; 0 while it has keys."""
        now = self._clock.monotonic()
        if self._is_usable():
            self._kept_since = None
        elif self._kept_since is None:
            self._kept_since = now
        return now - self._kept_since if self._kept_since is not None else 0.0

    def _adopt_failure(self) -> None:
        """Back off as the fleet does; without keys, for one pause in all."""
        failure, held = self._shared.load_failure(), self._failure
        if failure is None:
            return
        if not self._is_usable():
            seconds = max(0.0, self._jitter(0.8, 1.2) - self._kept_seconds())
            failure = replace(failure, until=min(failure.until, self._clock.now() + seconds))
        if held is None or failure.until >= held.until or not self._is_pausing():
            self._failure = failure

    def _is_pausing(self) -> bool:
        """Tell whether it is too early to fetch again; not, when the clock was set back."""
        failure = self._failure
        return failure is not None and 0 < failure.until - self._clock.now() <= MAX_PAUSE_SECONDS

    def _fetch_and_publish(self, flight: _Flight, lock: str, locked_at: float) -> None:
        self._kept_since = None
        fetched_at = self._clock.now()
        generation = max(int(fetched_at * 1000), self._generation() + 1)
        snapshot = failure = None
        try:
            snapshot = Snapshot(parse_jwks(self._fetch()), generation, fetched_at)
        except (FetchFailed, KeySetInvalid) as error:
            failure = self._note_failure(flight, error.reason)
        else:
            self._note_success(flight, snapshot)
        is_fenced = self._clock.monotonic() > locked_at + self._lease_seconds - FENCE_SECONDS
        if lock and not is_fenced:
            if snapshot is not None:
                self._shared.store(snapshot)
            self._shared.store_failure(failure)

    def _note_success(self, flight: _Flight, snapshot: Snapshot) -> None:
        key_set, flight.has_fetched = snapshot.key_set, True
        for reason, count in key_set.skipped.items():
            metrics.increment(metrics.KEYS_SKIPPED, reason, by=count)
            log(logging.WARNING, "keys_skipped", reason=reason, count=count)
        self._install(snapshot)
        facts: dict[str, object] = {"key_set": key_set, "generation": snapshot.generation}
        flight.tell = functools.partial(signals.send, signals.keys_refreshed, type(self), **facts)

    def _note_failure(self, flight: _Flight, reason: str) -> Failure:
        """Back off, and return what the fleet is told; without keys only what is ours counts."""
        count = min(self._failure.count + 1 if self._failure else 1, MAX_FAILURES)
        self._own_failures = min(self._own_failures + 1, MAX_FAILURES)
        now, jitter = self._clock.now(), self._jitter(0.8, 1.2)
        failure = Failure(reason, count, now + _pause_seconds(count) * jitter)
        own_until = now + _pause_seconds(self._own_failures) * jitter
        self._failure = failure if self._is_usable() else replace(failure, until=own_until)
        metrics.increment(metrics.FETCH_ERRORS, reason)
        log(logging.WARNING, "keys_fetch_failed", reason=reason, count=count)
        flight.tell = functools.partial(
            signals.send, signals.keys_refresh_failed, type(self), reason=reason
        )
        return failure

    # The snapshot

    def _adopt_shared(self) -> bool:
        """Take over what the fleet shares; return whether there is anything that may be used."""
        snapshot, held = self._shared.load(), self._snapshot
        if snapshot is None:
            return False
        if held is not None and snapshot.generation < held.generation and self._is_usable():
            # Of a leader that was stopped past its lease, or brought back by somebody.
            self._shared.store(held)
        else:
            self._install(snapshot)
        return True

    def _install(self, snapshot: Snapshot) -> None:
        before = self._snapshot
        if before is not None and snapshot.generation <= before.generation:
            return
        self._snapshot, self._own_failures, self._kept_since = snapshot, 0, None
        metrics.set_gauge(metrics.FETCHED_AT, snapshot.fetched_at)
        metrics.set_gauge(metrics.EXPIRES_AT, snapshot.fetched_at + self._max_age_seconds)
        thumbprints = snapshot.key_set.thumbprints
        if before is None or before.key_set.thumbprints != thumbprints:
            log(logging.INFO, "keys_changed", thumbprints=",".join(sorted(thumbprints)))
        if self._failure is not None:
            self._failure = None
            log(logging.WARNING, "keys_recovered")

    def _generation(self) -> int:
        return self._snapshot.generation if self._snapshot else 0

    def _held_keys(self, kid: str) -> Keys:
        return self._snapshot.key_set.keys_for(kid) if self._snapshot else ()

    def _age_seconds(self) -> float:
        return self._clock.now() - self._snapshot.fetched_at if self._snapshot else math.inf

    def _is_usable(self) -> bool:
        return self._age_seconds() < self._max_age_seconds

    def _is_fresh(self) -> bool:
        """Tell whether no refresh is due; it is, when the clock was set back behind the fetch."""
        return -MAX_CLOCK_SKEW_SECONDS <= self._age_seconds() < self._refresh_seconds

    def _is_cooling(self, purpose: str) -> bool:
        until = self._cooling_until.get(purpose, -math.inf)
        return self._clock.monotonic() < until and self._is_fresh()

    def _is_answered(self, purpose: str) -> bool:
        flight = self._flight
        return self._is_cooling(purpose) and (flight is None or flight.done.is_set())

    def _unavailable(self) -> KeysUnavailable:
        failure = self._failure
        seconds = failure.until - self._clock.now() if failure else 1.0
        retry_after = min(max(seconds, 1.0), 30.0)
        if failure:
            return KeysUnavailable("fetch_failed", cause=failure.reason, retry_after=retry_after)
        return KeysUnavailable("no_keys", retry_after=retry_after)


def _pause_seconds(failures: int) -> float:
    return min(2.0 ** (failures - 1), MAX_BACKOFF_SECONDS)


_sources: weakref.WeakSet[CachedKeySource] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for source in list(_sources):
        source._start_without_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
