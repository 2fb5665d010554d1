"""Registering a system check of ours: under both tags, and so that it never raises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf import Config, get_config

# Of our checks alone; ``security`` is Django's, and holds its own too.
TAG = "clerk_auth"
_Check = Callable[..., Iterable[CheckMessage]]


def check(*, deploy: bool = False) -> Callable[[_Check], _Check]:
    """Register a check of ours under both tags; one that raises becomes W018."""

    def decorate(find: _Check) -> _Check:
        @functools.wraps(find)
        def run(**kwargs: Any) -> list[CheckMessage]:
            try:
                return list(find(**kwargs))
            except Exception as error:  # other packages' settings and classes, in any state
                return [
                    Warning(
                        f"{find.__name__} of clerk_auth could not be made: {type(error).__name__}.",
                        hint="Correct what Django or REST framework says of its settings first.",
                        id="clerk_auth.W018",
                    )
                ]

        register(Tags.security, TAG, deploy=deploy)(run)
        return run

    return decorate


def read_config() -> Config | None:
    """Return the configuration; ``None`` while ``check_settings`` reports problems with it."""
    try:
        return get_config()
    except ImproperlyConfigured:
        return None


def read_user_model() -> type[Any] | None:
    """Return the user model; ``None`` where there is none, and Django says so if it is wanted."""
    try:
        return get_user_model()
    except Exception:  # whatever AUTH_USER_MODEL holds
        return None
