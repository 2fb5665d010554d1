"""What each system check of ours has in common: it has a place in a list, and never raises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf import Config, get_config

__all__ = ["CHECKS", "check", "read_config", "read_user_model"]

_Check = Callable[[], list[CheckMessage]]
# By whether a check is for ``--deploy`` only.
CHECKS: dict[bool, list[_Check]] = {False: [], True: []}


def check(*, deploy: bool = False) -> Callable[[Callable[[], Iterable[CheckMessage]]], _Check]:
    """Make a function a check. If it raises, W018 says so: it must not stop a ``migrate``."""

    def decorate(find: Callable[[], Iterable[CheckMessage]]) -> _Check:
        @functools.wraps(find)
        def run() -> list[CheckMessage]:
            try:
                return list(find())
            except Exception as error:  # other packages' settings and classes, in any state
                return [
                    Warning(
                        f"The check {find.__name__} failed: {type(error).__name__}.",
                        hint="Correct first what Django or REST framework reports.",
                        id="clerk_auth.W018",
                    )
                ]

        CHECKS[deploy].append(run)
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
