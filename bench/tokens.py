"""The tokens that a subject is given: new ones that no token cache has kept, and one repeated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

# What clerk_auth keeps by default; those who fill its cache must know.
TOKEN_CACHE_SIZE = 4096


class Tokens:
    """Hands out tokens in turn, to each cache of verified tokens from the first to the last.

    A token comes again after all others, when no cache has it any more. At most ``at_once`` tokens
    of a cache are taken before the first of them is verified.

    Raises:
        ValueError: there are too few tokens for that.
    """

    def __init__(self, tokens: Sequence[str], *, at_once: int) -> None:
        if len(tokens) - at_once <= TOKEN_CACHE_SIZE:
            raise ValueError(f"{len(tokens)} tokens are too few to be new when they come again")
        self._tokens = tokens
        self._taken: dict[str, count[int]] = {}

    def take(self, cache: str, number: int) -> list[str]:
        """Return as many tokens as are not in the cache of this name."""
        position = self._taken.setdefault(cache, count())
        return [make_anew(self._tokens[next(position) % len(self._tokens)]) for _ in range(number)]


def make_anew(token: str) -> str:
    """Return an equal string that is another object.

    A string keeps its hash once it was asked for, and a server makes a string of each request: the
    same object twice would be cheaper than what it stands for.
    """
    head, dot, signature = token.rpartition(".")
    return head + dot + signature
