"""Signals: facts for receivers; nothing is sent while there are none.

No receiver changes a verdict: what it raises is logged and goes no further. Signals are sent with
``send_robust``, which cannot be called on a thread whose event loop runs: there functions are
called one by one, and a coroutine function becomes a task of the loop. A coroutine sends them with
``asend_robust``, which calls functions in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.dispatch import Signal

# asyncio itself can open sockets, which only `transport` may.
from django.utils.asyncio import get_running_loop  # type: ignore[attr-defined]

from clerk_auth.logs import defects, is_defect, log

__all__ = [
    "asend", "keys_refresh_failed", "keys_refreshed", "send", "token_rejected", "token_verified",
]  # fmt: skip

token_verified = Signal()
"""A token was verified. Sender: ``Verifier``; ``claims``: the ``Claims``."""

token_rejected = Signal()
"""A token was refused, or could not be checked. Sender: ``Verifier``; ``error``, ``instance``."""

keys_refreshed = Signal()
"""A key set was fetched. Sender: the key source; ``instance``, ``key_set``, ``generation``."""

keys_refresh_failed = Signal()
"""A fetch failed. Sender: the key source; ``instance``; ``reason``, as of ``jwks_fetch_errors``."""

# A loop holds only a weak reference to a task.
_tasks: set[Any] = set()


def send(signal: Signal, sender: type, **facts: object) -> None:
    """Send ``signal`` if it has receivers; no error of a receiver is raised here."""
    # Not has_listeners, which takes a lock at each call.
    if signal.receivers:
        # send_robust catches only an Exception, and only of a receiver that has a name.
        with _guarded(signal.send_robust):
            loop = _running_loop()
            if loop is None:
                signal.send_robust(sender, **facts)
            else:
                _send_on(loop, signal, {"signal": signal, "sender": sender, **facts})


async def asend(signal: Signal, sender: type, **facts: object) -> None:
    """Send as :func:`send` does, from a coroutine, which waits for the receivers."""
    if signal.receivers:
        loop = get_running_loop()
        told = loop.create_future()
        task = _start(loop, signal.asend_robust, {"sender": sender, **facts})
        # Not the task is awaited: it logs a CancelledError, which must not hide one of the caller.
        task.add_done_callback(lambda _: told.done() or told.set_result(None))
        await told


def _running_loop() -> Any:
    try:
        return get_running_loop()
    except RuntimeError:
        return None


def _send_on(loop: Any, signal: Signal, facts: dict[str, Any]) -> None:
    functions, coroutine_functions = signal._live_receivers(facts["sender"])
    for function in functions:
        with _guarded(function):
            function(**facts)
    for function in coroutine_functions:
        _start(loop, function, facts)


def _start(loop: Any, receiver: Callable[..., Awaitable[object]], facts: dict[str, Any]) -> Any:
    task = loop.create_task(_await(receiver, facts))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def _await(receiver: Callable[..., Awaitable[object]], facts: dict[str, Any]) -> None:
    with _guarded(receiver):
        await receiver(**facts)


@contextmanager
def _guarded(receiver: Callable[..., object]) -> Iterator[None]:
    """Log what a receiver raises, and go on; what ends a thread or a greenlet is raised."""
    try:
        yield
    except BaseException as error:
        if not is_defect(error):
            raise
        name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
        if defects.admit("receiver_failed", name, type(error).__name__) is not None:
            log(logging.ERROR, "receiver_failed", receiver=name, error=type(error).__name__)
