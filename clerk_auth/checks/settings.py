"""System checks of ``CLERK_AUTH`` itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from clerk_auth.checks.registration import check, judge, read_config, read_configs
from clerk_auth.conf import (
    DEFAULT_INSTANCE,
    Config,
    find_problems,
    get_aliases,
    get_path,
    is_debug,
    is_observing,
)
from clerk_auth.conf.aliases import read_instances
from clerk_auth.conf.imports import import_named

__all__ = [
    "check_development_mode", "check_instance", "check_mode", "check_parties", "check_paths",
    "check_settings", "check_uncategorized",
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
    configs = read_configs()
    named = [(config.instance, "USER_RESOLVER", config.user_resolver) for config in configs]
    named += [
        (DEFAULT_INSTANCE, "METRICS", path) for config in configs[:1] for path in config.metrics
    ]
    for alias, key, path in named:
        try:
            import_named(f"{get_path(alias)}{key}", path)
        except Exception as error:  # its module may raise what it likes
            why = error if isinstance(error, ImportError) else f"it raises {type(error).__name__}."
            message = f"cannot be imported: {why}"
            hint = "Correct the dotted path, or install what it needs."
            yield judge("clerk_auth.E006", alias, key, message, hint)


@check(deploy=True)
def check_parties() -> Iterator[CheckMessage]:
    """W002: tokens made for any origin of an instance are accepted."""
    message = "is empty: a token made for any origin is accepted."
    hint = 'List your front end\'s origins, as in ["https://app.example.com"].'
    for config in read_configs():
        if not config.authorized_parties:
            alias = config.instance
            yield judge("clerk_auth.W002", alias, "AUTHORIZED_PARTIES", message, hint)


@check()
def check_instance() -> Iterator[CheckMessage]:
    """W003: a development instance behind a production API."""
    check_id, hint = (
        "clerk_auth.W003",
        "Use the production instance's FRONTEND_API, or its pk_live_ key.",
    )
    for config in [] if is_debug() else read_configs():
        key = _find_development(config)
        if key and config.is_one_of_several:
            message = (
                "is of a Clerk development instance, whose tokens are accepted, with DEBUG = False."
            )
            yield judge(check_id, config.instance, key, message, hint)
        elif key:
            message = "Tokens of a Clerk development instance are accepted, with DEBUG = False."
            yield Warning(message, hint=hint, id=check_id)


def _find_development(config: Config) -> str | None:
    """Return the setting that says that an instance is one for development."""
    values = _get_values(config.instance)
    if str(values.get("PUBLISHABLE_KEY")).startswith("pk_test_"):
        return "PUBLISHABLE_KEY"
    if any(issuer.endswith(".clerk.accounts.dev") for issuer in config.issuers):
        return "ISSUER" if values.get("ISSUER") else "FRONTEND_API"
    return None


@check()
def check_uncategorized() -> Iterator[CheckMessage]:
    """W019: the bound on long-lived tokens stands at the top level, and instances lack it."""
    key = "UNCATEGORIZED_TOKEN_MAX_SECONDS"
    configs = read_configs()
    if not configs or key not in _get_values(DEFAULT_INSTANCE):
        return
    seconds = configs[0].uncategorized_token_max_seconds
    lacking = [
        config
        for config in configs
        if key not in _get_values(config.instance)
        and config.uncategorized_token_max_seconds != seconds
    ]
    if lacking:
        names = ", ".join(config.instance for config in lacking)
        default = lacking[0].uncategorized_token_max_seconds
        message = f"is not inherited: for {names} it is the default, {default}."
        hint = f"Set it in each of them, if only to {default}."
        yield judge("clerk_auth.W019", DEFAULT_INSTANCE, key, message, hint)


@check(deploy=True)
def check_mode() -> Iterator[CheckMessage]:
    """W013: our verdicts decide nothing."""
    message = "is 'observe': tokens are verified, and no caller is refused."
    hint = "Follow docs/rollout.md up to 'enforce'. Silence this while you observe."
    for alias in filter(is_observing, get_aliases()):
        yield judge("clerk_auth.W013", alias, "MODE", message, hint)


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


def _get_values(alias: str) -> Mapping[Any, Any]:
    """Return the dict of an instance, of settings that have no problem."""
    top: Mapping[Any, Any] = settings.CLERK_AUTH
    return top if alias == DEFAULT_INSTANCE else read_instances(top)[alias]
