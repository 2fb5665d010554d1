"""The Django app: it reads no setting and opens no connection when it is loaded."""

from __future__ import annotations

from django.apps import AppConfig

from clerk_auth import conf


class ClerkAuthConfig(AppConfig):
    name = "clerk_auth"
    verbose_name = "Clerk authentication"

    def ready(self) -> None:
        from clerk_auth import checks  # noqa: F401 - registers the system checks

        conf.remember_debug()
