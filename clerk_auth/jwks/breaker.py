"""A Django cache that may fail: its answers are absent, failed or a value.

A cache that fails causes no outage: its callers see an empty one that stores nothing, and the
breaker avoids it for 2 seconds, doubling to 30.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from threading import Event
from typing import Any, Final

from django.core.cache import BaseCache

from clerk_auth.jwks.held import Clock
from clerk_auth.logs import log

BREAKER_SECONDS, MAX_BREAKER_SECONDS = 2.0, 30
# A read that raises sooner may have met bytes that cannot be decoded, while the cache works: the
# next call shows which. One that takes longer has met a cache that does not answer.
SLOW_SECONDS = 0.25
# Begins the names that only ``probe`` writes.
_PROBE = "probe:"
# Nothing is under that name; the cache did not answer, or is avoided.
ABSENT: Final = object()
FAILED: Final = object()

# Called for each use, because Django's caches belong to a thread.
GetCache = Callable[[], BaseCache]


class Breaker:
    """Calls of a cache that never raise, under names that begin with ``prefix``.

    ``note_unread`` is told of a name whose value cannot be read from a cache that works.
    """

    def __init__(
        self, get_cache: GetCache, prefix: str, clock: Clock, note_unread: Callable[[str], None]
    ) -> None:
        self._get_cache = get_cache
        self._prefix = prefix
        self._clock = clock
        self._note_unread = note_unread
        self._unread: set[str] = set()
        self._avoid_seconds = 0.0
        self._avoid_until = float("-inf")
        self._hung: Event | None = None
        self._error = ""

    @property
    def is_open(self) -> bool:
        """Whether the cache is avoided."""
        hung = self._hung is not None and not self._hung.is_set()
        return hung or self._clock.monotonic() < self._avoid_until

    @property
    def error(self) -> str | None:
        """Why it is: the class of an error, or what the cache did not do."""
        return (self._error or "hangs") if self.is_open else None

    def avoid_until(self, done: Event | None) -> None:
        """Keep off the cache until ``done`` is set: a thread hangs in it."""
        self._hung = done

    def get(self, name: str) -> object:
        return self._call("get", name, ABSENT)

    def has(self, name: str) -> object:
        return self._call("has_key", name)

    def set(self, name: str, value: str, seconds: int) -> None:
        self._call("set", name, value, seconds)

    def delete(self, name: str) -> None:
        self._call("delete", name)

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

    def probe(self) -> None:
        """Find out whether the cache works, where nothing else has: open if it does not."""
        name = f"{_PROBE}{secrets.token_hex(8)}"
        self.add(name, "", 2)
        self.get(name)
        self.delete(name)

    def _call(self, method: str, name: str, *arguments: Any) -> Any:
        if self.is_open:
            return FAILED
        started_at = self._clock.monotonic()
        try:
            result = getattr(self._get_cache(), method)(f"{self._prefix}:{name}", *arguments)
        # Backends raise what they like, up to UnicodeDecodeError for foreign bytes.
        except Exception as error:
            may_be_foreign = method == "get" and not name.startswith(_PROBE)
            if may_be_foreign and not self._is_slow(started_at):
                self._unread.add(name)
            else:
                self._open(type(error).__name__)
            return FAILED
        while self._unread:
            self._note_unread(self._unread.pop())
        # An answer that a cache which swallows its errors gives too shows nothing.
        is_shown = result not in (None, False) if method != "get" else result is not ABSENT
        if self._avoid_seconds and is_shown:
            self._avoid_seconds = 0.0
            log(logging.WARNING, "cache_available")
        return result

    def _is_slow(self, started_at: float) -> bool:
        return self._clock.monotonic() - started_at >= SLOW_SECONDS

    def _open(self, reason: str) -> None:
        self._unread.clear()
        self._error = reason
        if not self._avoid_seconds:
            log(logging.WARNING, "cache_unavailable", reason=reason)
        seconds = max(BREAKER_SECONDS, 2 * self._avoid_seconds)
        self._avoid_seconds = min(seconds, MAX_BREAKER_SECONDS)
        self._avoid_until = self._clock.monotonic() + self._avoid_seconds
