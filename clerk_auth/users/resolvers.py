"""The user resolver: what ``USER_RESOLVER`` names, and whom it may let in.

Permissions and throttles go by ``request.user``, so only an authenticated user may be one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf import derived, get_config
from clerk_auth.conf.imports import import_named
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import UserInactive

__all__ = ["UserResolver", "admit_user", "check_resolver", "get_user_resolver"]

UserResolver = Callable[[Claims], Any]

_SETTING = "CLERK_AUTH['USER_RESOLVER']"


@derived
def get_user_resolver() -> UserResolver:
    """Return what ``USER_RESOLVER`` names.

    Raises:
        ImportError: it cannot be imported.
        ImproperlyConfigured: it is a coroutine function, or no function at all.
    """
    resolver: UserResolver = import_named("USER_RESOLVER", get_config().user_resolver)
    check_resolver(resolver)
    return resolver


def check_resolver(resolver: object) -> None:
    """Raise ``ImproperlyConfigured`` unless ``resolver`` is a function that can return a user."""
    if not callable(resolver):
        raise ImproperlyConfigured(f"{_SETTING} names {_kind(resolver)}, which is not a function.")
    while isinstance(resolver, partial):
        resolver = resolver.func
    for function in (resolver, type(resolver).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ImproperlyConfigured(
                f"{_SETTING} names a coroutine function, which is never awaited."
            )


def admit_user(user: Any) -> Any:
    """Return ``user``, which a resolver returned, if it is an authenticated user.

    Raises:
        UserInactive: it is ``None``, ``False``, or a user who is not authenticated.
        ImproperlyConfigured: it is not a user.
    """
    is_authenticated = getattr(user, "is_authenticated", None)
    if is_authenticated is True:
        return user
    # Not `user is None`: it may be a lazy object that stands for None.
    is_none = isinstance(user, NoneType | bool) and not user
    if is_authenticated is False or is_none:
        raise UserInactive("not_authenticated")
    if inspect.iscoroutine(user):
        user.close()  # or Python warns that it was never awaited
    raise ImproperlyConfigured(
        f"{_SETTING} returned {_kind(user)}, which is not a user: its is_authenticated must be "
        "True or False."
    )


def _kind(value: object) -> str:
    # Not the value itself: it may hold a secret.
    return f"an object of type {type(value).__qualname__!r}"
