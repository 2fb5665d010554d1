"""How threads and coroutines wait for the end of a flight: one text, which two drivers run.

What may have to wait is a generator, ``Steps``. It yields the end that it waits for and the seconds
that it has, and is told whether the end came. A coroutine waits by a future, and takes no thread.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from threading import Event
from typing import Any, TypeVar

# asyncio itself can open sockets, which only `transport` may.
from django.utils.asyncio import get_running_loop  # type: ignore[attr-defined]

from clerk_auth.error_reports import clear_locals

__all__ = ["End", "Steps", "afinish", "finish"]

# How many coroutines one turn of a loop wakes; between two turns it serves what does not wait.
WOKEN_AT_ONCE = 8

T = TypeVar("T")


class End(Event):
    """An event that the coroutines of any number of loops can wait for, too."""

    def __init__(self) -> None:
        super().__init__()
        self._futures: dict[Any, Any] = {}  # each with its loop, in order

    def set(self) -> None:
        super().set()
        futures, self._futures = [*self._futures.items()], {}
        for loop in {loop for _, loop in futures}:
            with suppress(RuntimeError):  # it is closed, and nothing waits there
                own = [future for future, its_loop in futures if its_loop is loop]
                loop.call_soon_threadsafe(_wake, loop, own)

    async def await_set(self, seconds: float) -> bool:
        """Wait in a coroutine as ``wait`` does in a thread; 0 seconds suspend nothing."""
        loop = get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(seconds, _wake, loop, [future])
        self._futures[future] = loop
        try:
            # Asked once it is among the futures: no end comes unnoticed between the two.
            if seconds > 0 and not self.is_set():
                await future
            return self.is_set()
        finally:
            timer.cancel()
            self._futures.pop(future, None)


def _wake(loop: Any, futures: list[Any]) -> None:
    for future in futures[:WOKEN_AT_ONCE]:
        if not future.done():
            future.set_result(None)
    if later := futures[WOKEN_AT_ONCE:]:
        loop.call_soon(_wake, loop, later)


# Yields what it waits for and for how many seconds; is sent whether that is set.
Steps = Generator[tuple[End, float], bool, T]


@clear_locals
def finish(steps: Steps[T]) -> T:
    """Take ``steps`` to their end in this thread; return what they return."""
    with closing(steps):
        try:
            end, seconds = next(steps)
            while True:
                end, seconds = steps.send(end.wait(seconds))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


async def afinish(steps: Steps[T]) -> T:
    """Take ``steps`` to their end in this coroutine; return what they return."""
    with closing(steps):
        try:
            end, seconds = next(steps)
            while True:
                end, seconds = steps.send(await end.await_set(seconds))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
