"""How long a process keeps what it derives from the settings: until a test changes one of them."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

from django.core.signals import setting_changed
from django.dispatch import receiver

__all__ = ["derived", "forget"]

P = ParamSpec("P")
T = TypeVar("T")

# What is derived depends on these, and on no other setting.
_DEPENDS_ON = frozenset({"CLERK_AUTH", "CACHES", "SECRET_KEY", "DEBUG", "AUTH_USER_MODEL"})
_derived: list[functools._lru_cache_wrapper[Any]] = []
# In a list, so that a forked child can replace it: another thread may have held it.
_making = [threading.RLock()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _making.__setitem__(0, threading.RLock()))


def derived(make: Callable[P, T]) -> Callable[P, T]:
    """Remember what ``make`` returns until the settings change.

    It is called once per process for the same arguments, even if many threads ask first at the same
    time. What it raises is not remembered. Arguments come from the project, never from a caller.
    """
    made_once, signature = functools.cache(make), inspect.signature(make)

    # A cache of its own would let two threads make one value each; the lock costs each call.
    @functools.cache
    @functools.wraps(make)
    def get(*args: Hashable, **kwargs: Hashable) -> T:
        # However they are passed: a default is the same argument.
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        with _making[0]:
            return made_once(*given.args, **given.kwargs)

    # Forgotten in this order: the outer one must not take an old value from the inner one.
    _derived.extend((made_once, get))
    return cast("Callable[P, T]", get)


def forget() -> None:
    """Forget everything derived, as when a setting changes."""
    for cache in _derived:
        cache.cache_clear()


@receiver(setting_changed, dispatch_uid="clerk_auth.conf.lifetime")
def _forget(*, setting: str, **_: object) -> None:
    if setting in _DEPENDS_ON:
        forget()
