"""What ``USER_RESOLVER`` may name, and what may become ``request.user``.

Permissions and throttles go by ``request.user``, so only an authenticated user may be one.
"""

from __future__ import annotations

import inspect
from functools import partial
from types import NoneType
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from clerk_auth.core.errors import UserInactive

_SETTING = "CLERK_AUTH['USER_RESOLVER']"


def check(resolver: object) -> None:
    """Raise ``ImproperlyConfigured`` unless ``resolver`` is a function that can return a user."""
    if not callable(resolver):
        raise ImproperlyConfigured(f"{_SETTING} names {_kind(resolver)}, which is no function.")
    while isinstance(resolver, partial):
        resolver = resolver.func
    for function in (resolver, type(resolver).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ImproperlyConfigured(
                f"{_SETTING} names a coroutine function, and nothing awaits it: name a plain one."
            )


def admit(user: Any) -> Any:
    """Return what a resolver returned, if it is an authenticated user.

    Raises:
        UserInactive: it is ``None``, ``False``, or a user who is not authenticated.
        ImproperlyConfigured: it is no user at all.
    """
    is_authenticated = getattr(user, "is_authenticated", None)
    if is_authenticated is True:
        return user
    # Not by identity: a lazy object stands for what is inside.
    if is_authenticated is False or isinstance(user, NoneType) or _is_false(user):
        raise UserInactive("the resolver returned no authenticated user")
    if inspect.iscoroutine(user):
        user.close()  # or Python warns that it was never awaited
    raise ImproperlyConfigured(
        f"{_SETTING} returned {_kind(user)}, which is no user: its is_authenticated must be True "
        "or False."
    )


def _is_false(value: object) -> bool:
    return isinstance(value, bool) and not value


def _kind(value: object) -> str:
    # Never the value itself, which may hold anything.
    return f"an object of type {type(value).__qualname__!r}"
