"""The keys that the fleet shares, as an operator asks: show them, or have them fetched now."""

from __future__ import annotations

from dataclasses import dataclass

from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.flight import Outcome
from clerk_auth.jwks.source import SourceStatus

# A replica may be so late with a document that was just stored.
READ_BACK_SECONDS, POLL_SECONDS = 1.0, 0.2


@dataclass(frozen=True, slots=True)
class Refresh:
    """What became of a refresh for the whole fleet.

    ``outcome`` is ``shared``, or what has failed: ``fetch_failed``, ``locked`` (another process
    holds the lock, and nothing was fetched) or ``not_shared`` (what was fetched cannot be read
    from the cache, and only this process has it).
    """

    outcome: str
    status: SourceStatus


def load_shared(source: CachedKeySource) -> SourceStatus:
    """Take what the fleet shares out of the cache, and describe it."""
    source.fleet.connect()
    if shared := source.fleet.load():
        source.held.take(shared)
    else:
        source.fleet.breaker.probe()
    source.held.failure = source.fleet.load_failure() or source.held.failure
    return source.status()


def refresh_fleet(source: CachedKeySource) -> Refresh:
    """Fetch past cooldown and backoff, and read back what other processes will find."""
    outcome = source.refresh()
    if outcome is not Outcome.FETCHED:
        failed = "locked" if outcome is Outcome.LATE else "fetch_failed"
        return Refresh(failed, source.status())
    if _is_read_back(source):
        return Refresh("shared", source.status())
    source.fleet.breaker.probe()
    return Refresh("not_shared", source.status())


def _is_read_back(source: CachedKeySource) -> bool:
    clock, fleet = source.held.clock, source.fleet
    deadline = clock.monotonic() + READ_BACK_SECONDS
    while True:
        shared = fleet.load()
        if shared is not None and shared.generation >= source.held.generation:
            return True
        if clock.monotonic() >= deadline or fleet.breaker.is_open:
            return False
        clock.sleep(POLL_SECONDS)
