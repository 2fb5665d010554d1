"""What is timed: batches of one operation, and the tokens they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from bench.inside.settings import WORK

Work = Callable[[Sequence[Any]], None]


@dataclass(frozen=True)
class Batch:
    """``work`` is timed with shares of ``arguments``, in the context that ``around`` returns."""

    kind: str
    subject: str
    work: Work
    arguments: Sequence[Any]
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    is_repeated: bool = False


class Measured(Protocol):
    """Subjects that are measured in turn."""

    def batches(self) -> list[Batch]:
        """Return the batches of a round."""

    def titles(self) -> dict[str, str]: ...

    def lets_in(self) -> dict[str, list[str]]:
        """Return which bad tokens ours accept, where that is asked."""


def read_tokens() -> list[str]:
    return (WORK / "tokens.txt").read_text().split()
