"""Tokens that this process has verified, so that a burst of requests verifies one once.

A key is the SHA-256 of the exact token. Only verified tokens enter, and an entry proves
nothing by itself: the verifier asks for the current keys and checks the time again at each hit.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import getsizeof

from clerk_auth.core.claims import Verified
from clerk_auth.core.keys import VerifyingKey

__all__ = ["ENTRY_BYTES", "MAX_BYTES", "Entry", "TokenCache"]

MAX_BYTES = 16 * 1024 * 1024
# What an entry takes beside its origin, which can be long. Measured; see docs/performance.md.
ENTRY_BYTES = 640
# A verified token: by which key, and what it says.
Entry = tuple[VerifyingKey, Verified]


def _make_room(left: int) -> Callable[[int], bool]:
    """Return a function that takes so many bytes of those that are left, if there are so many."""

    def take(size: int) -> bool:
        nonlocal left
        if size > left:
            return False
        left -= size
        return True

    return take


class TokenCache:
    """A bounded map in two generations: when the young one is full, the old one is dropped.

    Dropping one generation is one assignment, where an exact order of use would cost a lock at
    each hit. Two threads that fill it at once may drop a generation early: that costs a check of a
    signature, and nothing else.
    """

    def __init__(self, size: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._half_size = (size + 1) // 2
        self._half_bytes = max_bytes // 2
        self._young: dict[bytes, Entry] = {}
        self._begin_generation()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _begin_generation(self) -> None:
        self._old, self._young = self._young, {}
        self._take = _make_room(self._half_bytes)

    def get(self, digest: bytes) -> Entry | None:
        """Return the entry of a token, by its SHA-256, if it was verified lately."""
        return self._young.get(digest) or self._old.get(digest)

    def put(self, digest: bytes, entry: Entry) -> None:
        """Remember a token that has been verified; too large a one is not kept."""
        verified = entry[1]
        size = ENTRY_BYTES + getsizeof(verified.authorized_party)
        if size > self._half_bytes:
            return
        if len(self._young) >= self._half_size or not self._take(size):
            self._begin_generation()
            self._take(size)
        verified.has_room = self._take
        self._young[digest] = entry
