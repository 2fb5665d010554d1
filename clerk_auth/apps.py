"""The Django app: it reads no setting and opens no connection when it is loaded."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig, apps

from clerk_auth import conf


class ClerkAuthConfig(AppConfig):
    name = "clerk_auth"
    verbose_name = "Clerk authentication"

    def ready(self) -> None:
        from clerk_auth import checks  # noqa: F401 - registers the system checks

        conf.remember_debug()
        if apps.is_installed("drf_spectacular"):
            import_module("clerk_auth.contrib.spectacular")  # registers itself
