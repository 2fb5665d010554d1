"""The keys that the fleet shares, as an operator asks: show them, or have them fetched now."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from clerk_auth.jwks.breaker import PROBE, Breaker
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.flight import Outcome
from clerk_auth.jwks.held import Snapshot
from clerk_auth.jwks.source import SourceStatus

__all__ = ["READ_BACK_SECONDS", "Refresh", "explain_cache", "load_shared", "refresh_fleet"]

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


def explain_cache(status: SourceStatus) -> str:
    """Say why the cache does not have what it was given, as far as that is known."""
    return status.cache_error or status.document_refused or "another set is there, or none"


def load_shared(source: CachedKeySource) -> SourceStatus:
    """Take what the fleet shares out of the cache, and describe it."""
    source.fleet.breaker.has("document")
    if shared := source.fleet.load():
        source.held.take(shared)
    else:
        _probe(source.fleet.breaker)
    source.held.failure = source.fleet.load_failure() or source.held.failure
    return source.status()


def refresh_fleet(source: CachedKeySource) -> Refresh:
    """Fetch past cooldown and backoff, and read back what other processes will find."""
    flight = source.refresh()
    if not isinstance(flight.found, Snapshot):
        failed = "locked" if flight.outcome is Outcome.LATE else "fetch_failed"
        return Refresh(failed, source.status())
    if _is_read_back(source):
        return Refresh("shared", source.status())
    _probe(source.fleet.breaker)
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


def _probe(breaker: Breaker) -> None:
    """Find out whether the cache works, where nothing else has: open if it does not."""
    name = f"{PROBE}{secrets.token_hex(8)}"
    breaker.add(name, "", 2)
    breaker.get(name)
    breaker.delete(name)
