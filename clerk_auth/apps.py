"""The Django app: loading it needs no setting and opens no connection."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig, apps

from clerk_auth import conf


class ClerkAuthConfig(AppConfig):
    name = "clerk_auth"
    verbose_name = "Clerk authentication"

    def ready(self) -> None:
        # The checks register themselves.
        from clerk_auth import checks, resolver_checks, sinks  # noqa: F401

        conf.remember_debug()
        if apps.is_installed("drf_spectacular"):
            import_module("clerk_auth.contrib.spectacular")  # registers itself
        sinks.connect_early()
