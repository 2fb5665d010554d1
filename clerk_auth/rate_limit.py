"""A limit on how often something is said, that threads share without a lock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import count

MAX_KINDS = 1000


class _Kind:
    """What is known of one kind: how many there were, until when it is quiet, and whose turn it is.

    ``turn`` holds the number of the last one admitted. Whoever takes it out decides, alone.
    """

    __slots__ = ("next_number", "quiet_until", "turn")

    def __init__(self) -> None:
        self.next_number: Callable[[], int] = count().__next__
        self.quiet_until = -math.inf
        self.turn = [-1]


class RateLimit:
    """Admits one event of each kind per ``seconds``, the first at once, and counts the others.

    Threads share it without a lock: ``next`` of a counter and ``pop`` of a list are one step each.
    Kinds should come from closed lists. A project's own resolver or permission may make up more:
    beyond ``MAX_KINDS`` all new ones are one.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._kinds: dict[tuple[str | None, ...], _Kind] = {}

    def admit(self, *kind: str | None) -> int | None:
        """Return how many of ``kind`` were left out since the last; ``None``: leave it out too."""
        now = self._now()
        if len(self._kinds) >= MAX_KINDS and kind not in self._kinds:
            kind = ()
        state = self._kinds.get(kind) or self._kinds.setdefault(kind, _Kind())
        number = state.next_number()
        if now < state.quiet_until:
            return None
        try:
            last = state.turn.pop()
        except IndexError:  # another thread decides
            return None
        admitted = last
        try:
            if now < state.quiet_until:  # another thread has decided meanwhile
                return None
            state.quiet_until = now + self._seconds
            admitted = number
            return number - last - 1
        finally:
            # Whatever interrupts us here: a turn that is lost would silence the kind for good.
            state.turn.append(admitted)

    def forget(self) -> None:
        """Start anew, as a forked child must: a turn may have been taken at that moment."""
        self._kinds = {}
