"""What requests ask of keys that are fetched, and how long they wait.

A process holds one immutable snapshot (L1), the fleet shares one document in the Django cache
(L2), and Clerk has the truth (L3). One rule: a request that knows its key does no I/O and takes no
lock. Cache and network are the work of one short flight per process, in a thread of its own.

=======================  =========================  ===========================================
snapshot                 known key id               unknown key id (``search``)
=======================  =========================  ===========================================
fresh                    use it                     forced flight, then ``KeyNotFound``
older than refresh       use it; look in background as above; a routine fetch needs no cooldown
refresh failing          use it until max age       ``KeysUnavailable``: not knowing is not denying
none, or past max age    wait (``load``), 3 s       same
=======================  =========================  ===========================================
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import random
import sys
import threading
import weakref
from collections.abc import Callable

from django.core.cache import caches
from django.db import connections

from clerk_auth import metrics, signals
from clerk_auth.conf import Config
from clerk_auth.core.errors import KeyNotFound, KeysBusy, KeysUnavailable
from clerk_auth.core.keys import hash_kid
from clerk_auth.jwks.fleet import Fleet
from clerk_auth.jwks.flight import LOOK, OPERATOR, WAIT_SECONDS, Fetch, Flight, Outcome
from clerk_auth.jwks.held import KEY_ID, SIGNATURE, Failure, Held, Jitter
from clerk_auth.jwks.source import Keys, SourceStatus
from clerk_auth.jwks.waiting import Steps
from clerk_auth.logs import log

__all__ = ["CachedKeySource", "Desk", "Unwaiting"]

# How many requests of a process may wait for a flight of this purpose.
WAITERS = {LOOK: sys.maxsize, KEY_ID: 2, SIGNATURE: 1}
# How long a process answers from memory after a look that found nothing.
QUIET_SECONDS = 1.0
# A flight that takes longer hangs in a call without a time-out; the process goes on without it.
HUNG_SECONDS = 15

# Runs a flight beside its caller.
Spawn = Callable[[Callable[[], None]], None]
# Of the system, and not the shared generator of `random`: a flight beside a project's tests must
# not change what a seed gives them, and forked workers must not draw the same.
_jitter = random.SystemRandom().uniform


def _spawn(work: Callable[[], None]) -> None:
    """Do ``work`` in a thread of its own, and close what is the thread's, as a request does."""

    def run() -> None:
        try:
            work()
        finally:
            for handler in (caches, connections):
                with contextlib.suppress(Exception):  # the server is gone: nothing is left to close
                    handler.close_all()

    threading.Thread(target=run, name="clerk_auth-keys", daemon=True).start()


class Desk:
    """Where requests start, join and await the flights of a process, one at a time."""

    def __init__(self, held: Held, fleet: Fleet, fetch: Fetch, spawn: Spawn) -> None:
        self.begin = functools.partial(Flight, held, fleet, fetch)
        self.spawn = spawn
        self._held, self._breaker = held, fleet.breaker
        # By the clock that only advances: until when no look is due, since when the flight is under
        # way, and until when a flight is pointless for a purpose.
        self.look_at = self._started_at = -math.inf
        self.quiet_until = dict.fromkeys(WAIT_SECONDS, -math.inf)
        self.start_without_threads()
        _desks.add(self)

    def start_without_threads(self) -> None:
        """Begin with new locks and no flight, as a forked child must; the snapshot is kept."""
        self._lock = threading.Lock()
        self.flight: Flight | None = None
        self.places = {purpose: threading.Semaphore(n) for purpose, n in WAITERS.items()}
        self._breaker.hung_until = None

    def wait(self, purpose: str, is_satisfied: Callable[[], bool], seconds: float) -> Steps[bool]:
        """Wait until satisfied or a flight of ``purpose`` is final; ``False``: no place or time."""
        places, monotonic = self.places[purpose], self._held.clock.monotonic
        deadline = monotonic() + seconds
        if not places.acquire(blocking=False):
            return False
        try:
            while not is_satisfied():
                flight = self.join(purpose, is_satisfied, blocking=seconds > 0)
                if flight is None or not (yield flight.done, max(0.0, deadline - monotonic())):
                    return False
                if flight.purpose == purpose and flight.outcome in (Outcome.FINAL, Outcome.LATE):
                    return flight.outcome is Outcome.FINAL
            return True
        finally:
            places.release()

    def join(self, purpose: str, is_satisfied: Callable[[], bool], blocking: bool) -> Flight | None:
        """Return the flight under way, or start one; ``None``: another request is starting one."""
        if not self._lock.acquire(blocking=blocking):
            return None
        try:
            flight, now = self.flight, self._held.clock.monotonic()
            if flight is not None and not flight.done.is_set():
                if now - self._started_at < HUNG_SECONDS:
                    return flight
                log(
                    logging.ERROR,
                    "keys_flight_hangs",
                    instance=self._held.label,
                    purpose=flight.purpose,
                )
                self._breaker.hung_until = flight.done
            flight = self.flight = self.begin(purpose, is_satisfied)
            self._started_at, self.look_at = now, now + self._held.local_seconds
        finally:
            self._lock.release()
        # Without the lock: gevent runs other requests while a thread starts, and a lock that is
        # older than its patches would stop them all.
        try:
            self.spawn(lambda: self.run(flight))
        except RuntimeError:  # no thread can be had: out of resources, or shutting down
            flight.outcome = Outcome.FINAL
            flight.done.set()
        return flight

    def run(self, flight: Flight) -> None:
        """Fly in this thread, and say when the next look is due."""
        try:
            flight.outcome = flight.fly()
        except Exception as error:
            name, label = type(error).__name__, self._held.label
            log(logging.ERROR, "keys_flight_failed", instance=label, error=name)
            flight.outcome = Outcome.FINAL
        finally:
            now, is_satisfied = self._held.clock.monotonic(), flight.is_satisfied()
            # A document that helped, but is old, is refreshed by the next look: at once.
            is_due = is_satisfied and not self._held.is_fresh()
            pause = 0.0 if is_due else self._held.local_seconds * self._held.jitter(0.8, 1)
            self.look_at = now + pause
            if flight.outcome is Outcome.FINAL and not is_satisfied:
                self.quiet_until[flight.purpose] = now + QUIET_SECONDS
            flight.done.set()
        found = flight.found
        send = functools.partial(signals.send, sender=CachedKeySource, instance=self._held.instance)
        if isinstance(found, Failure):  # last: no request waits for a receiver
            send(signals.keys_refresh_failed, reason=found.reason)
        elif found is not None:
            send(signals.keys_refreshed, key_set=found.key_set, generation=found.generation)


class CachedKeySource:
    """Keys fetched from Clerk, shared through the cache, held in the process."""

    def __init__(
        self,
        config: Config,
        fetch: Fetch,
        fleet: Fleet,
        *,
        spawn: Spawn = _spawn,
        jitter: Jitter = _jitter,
    ) -> None:
        self.fleet = fleet
        self.held = Held(config, fleet.clock, jitter)
        self._clock, self._wait_seconds, label = fleet.clock, WAIT_SECONDS, config.label
        self._count_hit = metrics.counter(metrics.HITS, instance=label)
        self._count_miss = metrics.counter(metrics.MISSES, instance=label)
        self._desk = Desk(self.held, fleet, fetch, spawn)

    def keys_for(self, kid: str) -> Keys | None:
        """Return keys under ``kid``, if any, at once; ``None`` without a set that may be used."""
        held = self.held
        snapshot = held.snapshot
        age_seconds = math.inf if snapshot is None else self._clock.now() - snapshot.fetched_at
        if snapshot is None or age_seconds >= held.max_age_seconds:
            return None
        if self._clock.monotonic() >= self._desk.look_at:
            self._desk.join(LOOK, held.is_fresh, blocking=False)
        if age_seconds >= held.refresh_seconds:
            metrics.increment(metrics.STALE_USES, instance=held.label)
        keys = snapshot.key_set.by_kid.get(kid, ())
        (self._count_hit if keys else self._count_miss)()
        return keys

    def load(self, kid: str) -> Steps[Keys]:
        """Return keys under ``kid``, if any; ``KeysUnavailable`` after 3 seconds without a set."""
        self._count_miss()
        yield from self._ask(LOOK, self.held.is_usable)
        if not self.held.is_usable():
            raise self._unavailable()
        return self.held.keys_for(kid)

    def search(self, kid: str) -> Steps[Keys]:
        """Look further for a ``kid`` that the set does not have; never returns empty.

        Raises:
            KeyNotFound: a set fetched since, or within a cooldown, does not have it.
            KeysBusy: two requests wait already, or it would take more than 1.5 seconds.
            KeysUnavailable: fetching fails, so that it is not known.
        """
        in_time = yield from self._ask(KEY_ID, lambda: bool(self.held.keys_for(kid)))
        if keys := self.held.keys_for(kid):
            return keys
        if self.held.failure is not None:
            raise self._unavailable()
        if not in_time:
            raise KeysBusy("busy", cause="key_id")
        raise KeyNotFound("not_in_key_set", kid_sha256=hash_kid(kid))

    def keys_after(self, kid: str, tried: Keys) -> Steps[Keys]:
        """Return other keys under ``kid`` than ``tried``: Clerk may replace one under its id.

        One request of a process waits, 1.5 seconds at most.
        """
        yield from self._ask(SIGNATURE, lambda: self.held.keys_for(kid) != tried)
        keys = self.held.keys_for(kid)
        return () if keys == tried else keys

    def unwaiting(self) -> Unwaiting:
        """Return a view of this source for a caller that must not wait."""
        return Unwaiting(self)

    def refresh(self) -> Flight:
        """Fetch now, in this thread: past cooldown and backoff, but not past the lock."""
        self.fleet.breaker.has("document")
        # Never satisfied: a set that another process fetched may be older than this call.
        flight = self._desk.begin(OPERATOR, lambda: False)
        self._desk.run(flight)
        return flight

    def status(self) -> SourceStatus:
        """Describe what this process holds; no I/O."""
        held, snapshot = self.held, self.held.snapshot
        state = "degraded" if held.failure else "fresh" if held.is_fresh() else "stale"
        return SourceStatus(
            state=state if held.is_usable() else "cold",
            keys=snapshot.key_set.keys if snapshot else (),
            generation=snapshot.generation if snapshot else None,
            fetched_at=snapshot.fetched_at if snapshot else None,
            expires_at=snapshot.fetched_at + held.max_age_seconds if snapshot else None,
            failure=held.failure,
            cache_error=self.fleet.breaker.error,
            document_refused=self.fleet.refused,
        )

    def _ask(self, purpose: str, is_satisfied: Callable[[], bool]) -> Steps[bool]:
        """Tell whether what is held now is the answer, after a flight if that is of use."""
        if is_satisfied() or self._clock.monotonic() < self._desk.quiet_until[purpose]:
            return True
        return (yield from self._desk.wait(purpose, is_satisfied, self._wait_seconds[purpose]))

    def _unavailable(self) -> KeysUnavailable:
        failure = self.held.failure
        if failure is None:
            return KeysUnavailable("no_keys", retry_after=1.0)
        seconds = min(max(failure.until - self._clock.now(), 1.0), 30.0)
        return KeysUnavailable("fetch_failed", cause=failure.reason, retry_after=seconds)


class Unwaiting(CachedKeySource):
    """Starts and joins the same flights; ``KeysBusy`` where only the end of one can tell."""

    def __init__(self, source: CachedKeySource) -> None:
        vars(self).update(vars(source), _wait_seconds=dict.fromkeys(WAIT_SECONDS, 0.0))

    def _ask(self, purpose: str, is_satisfied: Callable[[], bool]) -> Steps[bool]:
        """Take the last forced fetch for the answer, while its cooldown lasts."""
        flight = self._desk.flight
        is_answered = (flight is None or flight.done.is_set()) and self.held.is_cooling(purpose)
        in_time = (yield from super()._ask(purpose, is_satisfied)) or is_answered
        if purpose == SIGNATURE and not (in_time or is_satisfied()):
            raise KeysBusy("busy", cause="signature")
        return in_time

    def _unavailable(self) -> KeysUnavailable:
        if self.held.failure is None:
            return KeysBusy("busy", cause="first_look")
        return super()._unavailable()


_desks: weakref.WeakSet[Desk] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: [*map(Desk.start_without_threads, [*_desks])])
