"""The user resolver: what ``USER_RESOLVER`` names, and whom it may let in.

Permissions and throttles go by ``request.user``, so only an authenticated user may be one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf import DEFAULT_INSTANCE, derived, get_config, get_path
from clerk_auth.conf.imports import import_named
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import UserInactive
from clerk_auth.error_reports import hide_locals
from clerk_auth.users.stateless import stateless_user

__all__ = [
    "UserResolver", "admit_user", "aresolve_user", "check_resolver", "get_user_resolver",
    "resolve_user",
]  # fmt: skip

UserResolver = Callable[[Claims], Any]


@derived
def get_user_resolver(alias: str = DEFAULT_INSTANCE) -> UserResolver:
    """Return what an instance's ``USER_RESOLVER`` names: a function, or a coroutine function.

    Raises:
        ImportError: it cannot be imported.
        ImproperlyConfigured: it is no function, or one that returns no user.
    """
    config = get_config(alias)
    resolver: UserResolver = import_named(f"{config.path}USER_RESOLVER", config.user_resolver)
    check_resolver(resolver, alias)
    return resolver


def check_resolver(resolver: object, alias: str = DEFAULT_INSTANCE) -> None:
    """Raise ``ImproperlyConfigured`` unless ``resolver`` is a function that can return a user."""
    setting = _name_setting(alias)
    if not callable(resolver):
        raise ImproperlyConfigured(f"{setting} names {_kind(resolver)}, which is not a function.")
    if _is_any(resolver, inspect.isasyncgenfunction):
        raise ImproperlyConfigured(
            f"{setting} names an asynchronous generator function, which returns no user."
        )


def _is_any(resolver: object, is_kind: Callable[[Any], bool]) -> bool:
    """Tell whether what a call of ``resolver`` runs is of a kind of function."""
    while isinstance(resolver, partial):
        resolver = resolver.func
    return is_kind(resolver) or is_kind(type(resolver).__call__)


@derived
def _get_resolver_for_threads(alias: str) -> UserResolver:
    resolver = get_user_resolver(alias)
    if not _is_any(resolver, iscoroutinefunction):
        return resolver

    # Known as a coroutine function to asgiref, whatever the resolver is.
    async def resolve(claims: Claims) -> Any:
        return await resolver(claims)

    return async_to_sync(resolve)


def resolve_user(claims: Claims) -> Any:
    """Return the user of ``claims``, as ``USER_RESOLVER`` of their instance finds it.

    Raises:
        UserInactive: there is no user who may come in; a resolver may refuse otherwise, too.
        ImproperlyConfigured: what the setting names is no resolver.
    """
    user = _get_resolver_for_threads(claims.instance)(claims)
    # Asked here as well: a call less for each request.
    if getattr(user, "is_authenticated", None) is True:
        return user
    return admit_user(user, claims.instance)


@hide_locals
async def aresolve_user(claims: Claims) -> Any:
    """Return what :func:`resolve_user` does, in a coroutine.

    A coroutine function is awaited; another one runs in the thread of sync code (asgiref,
    ``thread_sensitive``), except ``stateless_user``, which waits for nothing.
    """
    resolver = get_user_resolver(claims.instance)
    if resolver is stateless_user:
        return resolve_user(claims)
    if _is_any(resolver, iscoroutinefunction):
        return admit_user(await resolver(claims), claims.instance)
    return await sync_to_async(resolve_user)(claims)


def admit_user(user: Any, alias: str = DEFAULT_INSTANCE) -> Any:
    """Return ``user``, which an instance's resolver returned, if it is an authenticated user.

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
        f"{_name_setting(alias)} returned {_kind(user)}, which is not a user: its "
        "is_authenticated must be True or False."
    )


def _name_setting(alias: str) -> str:
    return f"CLERK_AUTH['{get_path(alias)}USER_RESOLVER']"


def _kind(value: object) -> str:
    # Not the value itself: it may hold a secret.
    return f"an object of type {type(value).__qualname__!r}"
