"""The Django app: loading it needs no setting and opens no connection."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from pathlib import Path

from django.apps import AppConfig, apps

from clerk_auth import conf
from clerk_auth.checks import register_checks
from clerk_auth.logs import log

__all__ = ["ClerkAuthConfig"]


class ClerkAuthConfig(AppConfig):
    name = "clerk_auth"
    verbose_name = "Clerk authentication"

    def ready(self) -> None:
        from clerk_auth.metrics import sinks

        register_checks()
        conf.remember_debug()
        if conf.is_developing() and _serves(getattr(sys, "argv", [])):
            directory = import_module("clerk_auth.issuer.development").find_dev_directory()
            log(logging.WARNING, "development_mode", directory=str(directory))
        if apps.is_installed("drf_spectacular"):
            import_module("clerk_auth.contrib.spectacular")  # registers itself
        sinks.connect_early()


def _serves(argv: list[str]) -> bool:
    """Tell whether a process may serve requests: any but that of a command, servers aside."""
    script, *arguments = argv or [""]
    is_command = Path(script).name in ("manage.py", "django-admin") or Path(script).match(
        "django/__main__.py"
    )
    return not is_command or "server" in "".join(arguments[:1])
