"""System checks of ``CLERK_AUTH`` itself."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from clerk_auth.checks.registration import check, read_config
from clerk_auth.conf import find_problems, is_debug, is_observing
from clerk_auth.conf.imports import import_named

__all__ = [
    "check_development_mode", "check_instance", "check_mode", "check_parties", "check_paths",
    "check_settings",
]  # fmt: skip


@check()
def check_settings() -> list[CheckMessage]:
    """E001 to E005, W001: the setting itself."""
    if not hasattr(settings, "CLERK_AUTH"):
        # Migrations and collected files need no Clerk instance, so this stops none of them.
        return [
            Warning(
                "CLERK_AUTH is not set: every bearer token is answered with an error.",
                hint='Set CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}.',
                id="clerk_auth.W001",
            )
        ]
    return find_problems()


@check()
def check_paths() -> Iterator[CheckMessage]:
    """E006: what dotted paths name is there."""
    config = read_config()
    if config is None:
        return
    named = [("USER_RESOLVER", config.user_resolver)]
    for key, path in [*named, *(("METRICS", path) for path in config.metrics)]:
        try:
            import_named(key, path)
        except Exception as error:  # its module may raise what it likes
            why = error if isinstance(error, ImportError) else f"it raises {type(error).__name__}."
            yield Error(
                f"CLERK_AUTH[{key!r}] cannot be imported: {why}",
                hint="Correct the dotted path, or install what it needs.",
                id="clerk_auth.E006",
            )


@check(deploy=True)
def check_parties() -> Iterator[CheckMessage]:
    """W002: tokens made for any origin of the instance are accepted."""
    config = read_config()
    if config and not config.authorized_parties:
        yield Warning(
            "CLERK_AUTH['AUTHORIZED_PARTIES'] is empty: a token made for any origin is accepted.",
            hint='List your front end\'s origins, as in ["https://app.example.com"].',
            id="clerk_auth.W002",
        )


@check()
def check_instance() -> Iterator[CheckMessage]:
    """W003: a development instance behind a production API."""
    config = read_config()
    if config is None or is_debug():
        return
    key = settings.CLERK_AUTH.get("PUBLISHABLE_KEY")
    if str(key).startswith("pk_test_") or any(
        issuer.endswith(".clerk.accounts.dev") for issuer in config.issuers
    ):
        yield Warning(
            "Tokens of a Clerk development instance are accepted, with DEBUG = False.",
            hint="Use the production instance's FRONTEND_API, or its pk_live_ key.",
            id="clerk_auth.W003",
        )


@check(deploy=True)
def check_mode() -> Iterator[CheckMessage]:
    """W013: our verdicts decide nothing."""
    if is_observing():
        yield Warning(
            "CLERK_AUTH['MODE'] is 'observe': tokens are verified, and no caller is refused.",
            hint="Follow docs/rollout.md up to 'enforce'. Silence this while you observe.",
            id="clerk_auth.W013",
        )


@check(deploy=True)
def check_development_mode() -> Iterator[CheckMessage]:
    """W017: a key on this machine signs tokens of any user."""
    config = read_config()
    if config and config.dev_mode:
        yield Warning(
            "CLERK_AUTH['DEV_MODE'] is on: anyone who has the development key can sign in as any "
            "user.",
            hint="Remove DEV_MODE, and DEBUG, from what is deployed.",
            id="clerk_auth.W017",
        )
