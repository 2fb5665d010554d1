"""What each system check of ours has in common: it has a place in a list, and never raises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf import Config, get_aliases, get_config, get_path
from clerk_auth.conf.problems import make_problem

__all__ = ["CHECKS", "check", "judge", "read_config", "read_configs", "read_user_model"]

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


def judge(check_id: str, alias: str, key: str, message: str, hint: str) -> CheckMessage:
    """Say what is wrong with the setting ``key`` of an instance: an error or a warning, by its id.

    Its path is in the message, and where there are several instances it is the ``obj`` too.
    """
    found = make_problem(check_id, f"{get_path(alias)}{key}", message, hint)
    if len(get_aliases()) == 1:
        found.obj = None
    return found


def read_config() -> Config | None:
    """Return the configuration; ``None`` while ``check_settings`` reports problems with it."""
    return next(iter(read_configs()), None)


def read_configs() -> list[Config]:
    """Return that of each instance, the default first; none while there are problems with one."""
    try:
        return [get_config(alias) for alias in get_aliases()]
    except ImproperlyConfigured:
        return []


def read_user_model() -> type[Any] | None:
    """Return the user model; ``None`` where there is none, and Django says so if it is wanted."""
    try:
        return get_user_model()
    except Exception:  # whatever AUTH_USER_MODEL holds
        return None
