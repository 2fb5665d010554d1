"""Signals: facts for whoever subscribed; nothing is sent when nobody did.

No receiver changes a verdict: whatever it raises is logged and goes no further. They are sent with
``send_robust``, which a thread with a running event loop rules out: there a coroutine function
becomes a task of the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.dispatch import Signal

from clerk_auth.logs import RAISED_BY_LISTENERS, defects, log

token_verified = Signal()
"""A token was verified. Sender: ``Verifier``; ``claims``: the ``Claims``."""

token_rejected = Signal()
"""A token was refused, or could not be checked. Sender: ``Verifier``; ``error``."""

keys_refreshed = Signal()
"""A key set was fetched from Clerk. Sender: the key source; ``key_set``, ``generation``."""

keys_refresh_failed = Signal()
"""A fetch failed. Sender: the key source; ``reason``: a label of ``jwks_fetch_errors``."""

# A loop keeps no task alive by itself.
_tasks: set[asyncio.Task[None]] = set()


def send(signal: Signal, sender: type, **facts: object) -> None:
    """Send ``signal`` if somebody listens; no error of a receiver comes out of here."""
    # Not has_listeners, which takes a lock at each call.
    if signal.receivers:
        try:
            if _is_loop_running():
                _send_on_loop(signal, {"signal": signal, "sender": sender, **facts})
            else:
                signal.send_robust(sender, **facts)
        # It catches an Exception of a receiver that has a name, and no other.
        except RAISED_BY_LISTENERS as error:
            _report(signal.send_robust, error)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _send_on_loop(signal: Signal, facts: dict[str, Any]) -> None:
    functions, coroutine_functions = signal._live_receivers(facts["sender"])
    for function in functions:
        try:
            function(**facts)
        except RAISED_BY_LISTENERS as error:
            _report(function, error)
    for function in coroutine_functions:
        task = asyncio.create_task(_await(function, facts))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def _await(receiver: Callable[..., Awaitable[object]], facts: dict[str, Any]) -> None:
    try:
        await receiver(**facts)
    except Exception as error:
        _report(receiver, error)


def _report(receiver: Callable[..., object], error: BaseException) -> None:
    name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
    if defects.admit("receiver_failed", name, type(error).__name__) is not None:
        log(logging.ERROR, "receiver_failed", receiver=name, error=type(error).__name__)
