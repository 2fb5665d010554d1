"""A Django cache that may fail: its answers are absent, failed or a value.

A cache that fails causes no outage: its callers see an empty one that stores nothing, and the
breaker avoids it for 2 seconds, doubling to 30.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Any, Final

from django.core.cache import BaseCache

from clerk_auth.jwks.held import Clock
from clerk_auth.logs import log

__all__ = ["ABSENT", "FAILED", "MAX_BREAKER_SECONDS", "PROBE", "Breaker", "GetCache"]

BREAKER_SECONDS, MAX_BREAKER_SECONDS = 2.0, 30
# A read that raises sooner may have met bytes that cannot be decoded, while the cache works. One
# that takes longer has met a cache that does not answer.
SLOW_SECONDS = 0.25
# Begins names that only we write: a read of one that raises has met no foreign bytes.
PROBE = "probe:"
# Nothing is under that name; the cache did not answer, or is avoided.
ABSENT: Final = object()
FAILED: Final = object()

# Called for each use, because Django's caches belong to a thread.
GetCache = Callable[[], BaseCache]


class Breaker:
    """Calls of a cache that never raise, under names that begin with ``prefix``."""

    def __init__(self, get_cache: GetCache, prefix: str, clock: Clock) -> None:
        self._get_cache = get_cache
        self._prefix = prefix
        self._clock = clock
        self._avoid_seconds = 0.0
        self._avoid_until = float("-inf")
        # The end of a call in which a thread hangs.
        self.hung_until: Event | None = None
        self._error = ""

    @property
    def is_open(self) -> bool:
        """Whether the cache is avoided."""
        is_hung = self.hung_until is not None and not self.hung_until.is_set()
        return is_hung or self._clock.monotonic() < self._avoid_until

    @property
    def error(self) -> str | None:
        """Why it is: the class of an error, or what the cache did not do."""
        return (self._error or "hangs") if self.is_open else None

    def get(self, name: str) -> object:
        return self._call("get", name, ABSENT)

    def has(self, name: str) -> object:
        """Ask whether it is there: what fails now, or is slow, is not the fault of its value."""
        return self._call("has_key", name)

    def set(self, name: str, value: str, seconds: int) -> None:
        self._call("set", name, value, seconds)

    def delete(self, name: str) -> object:
        return self._call("delete", name)

    def add(self, name: str, value: str, seconds: int) -> object:
        """Store ``value`` if the name is free: return what was there, ``ABSENT`` if it was.

        An ``add`` that is not true is a question: backends answer so when something is there, when
        they swallow errors, and when the answer to a stored value was lost. What is there may be
        gone when it is read, so both are done twice.
        """
        started_at = self._clock.monotonic()
        for _attempt in range(2):
            added = self._call("add", name, value, seconds)
            if added is FAILED:
                return FAILED
            if added:
                return ABSENT
            # Nothing, after a time: a time-out that was swallowed, and a request may wait for us.
            if added is None and self._is_slow(started_at):
                break
            found = self.get(name)
            if self.is_open:
                return FAILED
            if found is FAILED:
                return None  # something is there that cannot be read
            if found is not ABSENT:
                return ABSENT if isinstance(found, str) and found == value else found
            if self._is_slow(started_at):
                break
        self._open("add_without_effect")
        return FAILED

    def _call(self, method: str, name: str, *arguments: Any) -> Any:
        if self.is_open:
            return FAILED
        started_at = self._clock.monotonic()
        try:
            result = getattr(self._get_cache(), method)(f"{self._prefix}:{name}", *arguments)
        # Backends raise what they like, up to UnicodeDecodeError for foreign bytes.
        except Exception as error:
            may_be_foreign = method == "get" and not name.startswith(PROBE)
            if not may_be_foreign or self._is_slow(started_at):
                self._open(type(error).__name__)
            return FAILED
        # An answer that a cache which swallows its errors gives too shows nothing.
        is_shown = result not in (None, False) if method != "get" else result is not ABSENT
        if self._avoid_seconds and is_shown:
            self._avoid_seconds = 0.0
            log(logging.WARNING, "cache_available")
        return result

    def _is_slow(self, started_at: float) -> bool:
        return self._clock.monotonic() - started_at >= SLOW_SECONDS

    def _open(self, reason: str) -> None:
        self._error = reason
        if not self._avoid_seconds:
            log(logging.WARNING, "cache_unavailable", reason=reason)
        seconds = max(BREAKER_SECONDS, 2 * self._avoid_seconds)
        self._avoid_seconds = min(seconds, MAX_BREAKER_SECONDS)
        self._avoid_until = self._clock.monotonic() + self._avoid_seconds
