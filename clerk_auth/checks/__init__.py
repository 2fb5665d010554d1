"""System checks by subject, tagged ``clerk_auth`` and ``security``.

They read settings only: no cache, no network, no database. They are loaded when Django runs them,
because a process that serves requests never does. ``docs/settings.md`` has a row for each id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.checks import CheckMessage, Tags, register

__all__ = ["TAG", "load_checks", "register_checks"]

# Of our checks only; Django's own are tagged ``security`` too.
TAG = "clerk_auth"


def register_checks() -> None:
    """Tell Django of the two functions that run ours."""
    register(_check, Tags.security, TAG)
    register(_check_deployment, Tags.security, TAG, deploy=True)


def load_checks(*, deploy: bool) -> list[Callable[[], list[CheckMessage]]]:
    """Return the checks that ``--deploy`` adds, or all others."""
    from clerk_auth.checks import (  # noqa: F401
        caches,
        environment,
        instances,
        registration,
        rest_framework,
        settings,
        users,
    )

    return registration.CHECKS[deploy]


def _check(**_: Any) -> list[CheckMessage]:
    return [message for check in load_checks(deploy=False) for message in check()]


def _check_deployment(**_: Any) -> list[CheckMessage]:
    return [message for check in load_checks(deploy=True) for message in check()]
