"""Tokens that this process has verified, so that a burst of requests verifies one once.

A key is the SHA-256 of the exact token. Only verified tokens enter, and an entry proves
nothing by itself: the verifier asks for the current keys and checks the time again at each hit.
"""

from __future__ import annotations

from hashlib import sha256

from clerk_auth.core.claims import Verified
from clerk_auth.core.keys import VerifyingKey

__all__ = ["ENTRY_BYTES", "MAX_BYTES", "Entry", "TokenCache"]

MAX_BYTES = 16 * 1024 * 1024
# What an entry takes beside its payload: digest, tuple, strings. Measured; see docs/performance.md.
ENTRY_BYTES = 1024
# A verified token: under which key id, by which key, and what it says.
Entry = tuple[str, VerifyingKey, Verified]


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
        self._old: dict[bytes, Entry] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @staticmethod
    def digest(token: str) -> bytes:
        """Return what stands for ``token``."""
        return sha256(token.encode("utf-8", "surrogatepass")).digest()

    def get(self, digest: bytes) -> Entry | None:
        """Return the entry of a token, if it was verified lately."""
        return self._young.get(digest) or self._old.get(digest)

    def put(self, digest: bytes, entry: Entry) -> None:
        """Remember a token that has been verified; too large a one is not kept."""
        entry_bytes = ENTRY_BYTES + len(entry[2].payload)
        if entry_bytes > self._half_bytes:
            return
        if (
            len(self._young) >= self._half_size
            or self._young_bytes + entry_bytes > self._half_bytes
        ):
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[digest] = entry
        self._young_bytes += entry_bytes
