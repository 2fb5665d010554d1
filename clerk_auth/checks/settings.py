"""System checks, tagged ``clerk_auth`` and ``security``; ``docs/settings.md`` has a row per id.

They read settings alone: no cache, no network, no database. Whatever the settings hold, no check
raises: it would stand between a project and its ``migrate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.settings import api_settings

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.checks.registration import check, read_config, read_user_model
from clerk_auth.conf import find_problems, is_debug, is_observing
from clerk_auth.conf.imports import import_named
from clerk_auth.users import columns, database_user, existing_user, get_user_resolver
from clerk_auth.users.profile import find_problems as find_profile_problems

FOREIGN_DISTRIBUTION = "clerk-auth-django"
RESPONSE_COUNTER = "clerk_auth.middleware.ResponseCounter"


@check()
def check_settings(**_: Any) -> list[CheckMessage]:
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


@check(deploy=True)
def check_parties(**_: Any) -> Iterator[CheckMessage]:
    """W002: tokens made for any origin of the instance are accepted."""
    config = read_config()
    if config and not config.authorized_parties:
        yield Warning(
            "CLERK_AUTH['AUTHORIZED_PARTIES'] is empty: a token made for any origin is accepted.",
            hint='List your front end\'s origins, as in ["https://app.example.com"].',
            id="clerk_auth.W002",
        )


@check()
def check_instance(**_: Any) -> Iterator[CheckMessage]:
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


@check()
def check_authenticators(**_: Any) -> Iterator[CheckMessage]:
    """W004, W005, W012: neighbours in DEFAULT_AUTHENTICATION_CLASSES, or the lack of them."""
    try:
        classes: list[Any] = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
        ours = [index for index, cls in enumerate(classes) if issubclass(cls, ClerkAuthentication)]
    except Exception:  # REST framework's own error is clearer
        return
    if not ours:
        return
    if is_observing():
        yield from _check_observed([cls.__name__ for cls in classes], ours)
        return
    if ours[0] > 0 and not _challenge(classes[0]):
        yield Warning(
            f"{classes[0].__name__} comes before ClerkAuthentication and has no challenge: "
            "refused tokens are answered with 403 instead of 401.",
            hint="Put ClerkAuthentication first in DEFAULT_AUTHENTICATION_CLASSES.",
            id="clerk_auth.W004",
        )
    for index, cls in enumerate(classes):
        if index not in ours and _challenge(cls).lower().startswith("bearer"):
            yield Warning(
                f"{cls.__name__} claims Bearer tokens too: it and ClerkAuthentication refuse "
                "each other's.",
                hint="Keep one of them, or give the other one a scheme of its own.",
                id="clerk_auth.W005",
            )


def _check_observed(names: list[str], ours: list[int]) -> Iterator[CheckMessage]:
    if len(ours) == len(names):
        yield Warning(
            "CLERK_AUTH['MODE'] is 'observe', and no other authenticator is there: nobody can "
            "sign in.",
            hint="Keep the class that authenticates now after ClerkAuthentication.",
            id="clerk_auth.W012",
        )
    elif ours[0] > 0:
        yield Warning(
            f"CLERK_AUTH['MODE'] is 'observe', and {names[0]} comes before ClerkAuthentication: "
            "what it accepts is not observed, and would not be refused by enforcing.",
            hint="Put ClerkAuthentication first in DEFAULT_AUTHENTICATION_CLASSES.",
            id="clerk_auth.W012",
        )


@check(deploy=True)
def check_mode(**_: Any) -> Iterator[CheckMessage]:
    """W013: our verdicts decide nothing."""
    if is_observing():
        yield Warning(
            "CLERK_AUTH['MODE'] is 'observe': tokens are verified, and nobody is refused for it.",
            hint="Follow docs/rollout.md to 'enforce'; silence this for as long as it is meant.",
            id="clerk_auth.W013",
        )


@check(deploy=True)
def check_development_mode(**_: Any) -> Iterator[CheckMessage]:
    """W017: a key of this machine signs anybody in."""
    config = read_config()
    if config and config.dev_mode:
        yield Warning(
            "CLERK_AUTH['DEV_MODE'] is on: whoever has the development key can sign in as anybody.",
            hint="Remove DEV_MODE, and DEBUG, from what is deployed.",
            id="clerk_auth.W017",
        )


@check()
def check_users(**_: Any) -> Iterator[CheckMessage]:
    """E006, E007, E012, E013, E015, W009, W014, W015: users are found by Clerk's id, in one row."""
    config = read_config()
    if config is None:
        return
    sinks = [("METRICS", path) for path in config.metrics]
    for key, path in [("USER_RESOLVER", config.user_resolver), *sinks]:
        try:
            import_named(key, path)
        except Exception as error:  # its module may raise what it likes
            why = error if isinstance(error, ImportError) else f"it raises {type(error).__name__}."
            yield Error(
                f"CLERK_AUTH[{key!r}] cannot be imported: {why}",
                hint="Correct the dotted path, or install what it needs.",
                id="clerk_auth.E006",
            )
            return
    try:
        resolver = get_user_resolver()
    except ImproperlyConfigured as error:
        yield Error(str(error), hint="Name a function (Claims) -> user.", id="clerk_auth.E006")
        return
    finds_rows = resolver in (database_user, existing_user)
    model = read_user_model()
    if model is None:
        if finds_rows:
            yield Error(
                "CLERK_AUTH['USER_RESOLVER'] finds rows of AUTH_USER_MODEL, which is not a model "
                "of an installed app.",
                hint="Install its app, or use clerk_auth.users.stateless_user.",
                id="clerk_auth.E015",
            )
        return
    if (name := model.USERNAME_FIELD) in config.user_fields:
        yield Warning(
            f"CLERK_AUTH['USER_FIELDS'] writes {name}, by which a password login or another single "
            "sign-on finds users: a claim could make one person another.",
            hint="Map a field that nobody signs in by, or silence this where nothing else does.",
            id="clerk_auth.W014",
        )
    if finds_rows:
        creates = resolver is database_user
        yield from columns.find_problems(creates=creates)
        yield from columns.find_doubts(creates=creates)


@check()
def check_responses_are_counted(**_: Any) -> Iterator[CheckMessage]:
    """W011: metrics go somewhere, and nobody counts what the alarms need."""
    config = read_config()
    if config and config.metrics and RESPONSE_COUNTER not in (settings.MIDDLEWARE or ()):
        yield Warning(
            "CLERK_AUTH['METRICS'] names sinks, but responses are not counted: alarms on "
            "clerk_auth_responses stay silent.",
            hint=f"Put {RESPONSE_COUNTER!r} first in MIDDLEWARE.",
            id="clerk_auth.W011",
        )


@check()
def check_user_fields(**_: Any) -> list[CheckMessage]:
    """E010, E011: profile fields are plain columns, and grant nobody anything."""
    config = read_config()
    if config is None or not config.user_fields or read_user_model() is None:
        return []
    # Whichever resolver: one of the project's own may call ``database_user``.
    return find_profile_problems()


@check()
def check_environment(**_: Any) -> Iterator[CheckMessage]:
    """E009, W010: what else is installed, and what runs us."""
    try:
        version = metadata.version(FOREIGN_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pass
    else:
        yield Error(
            f"{FOREIGN_DISTRIBUTION} {version} is installed: it writes into the same package, "
            "clerk_auth, and whichever came last has overwritten the other.",
            hint=f"pip uninstall {FOREIGN_DISTRIBUTION}, then reinstall django-clerk-auth.",
            id="clerk_auth.E009",
        )
    try:
        import uwsgi  # type: ignore[import-untyped]
    except ImportError:
        return
    if not {"enable-threads", "threads"} & {_text(name) for name in uwsgi.opt}:
        yield Warning(
            "uWSGI runs without threads of the application: keys cannot be fetched.",
            hint="Add enable-threads = true to its configuration.",
            id="clerk_auth.W010",
        )


def _challenge(cls: type[Any]) -> str:
    try:
        return cls().authenticate_header(Request(HttpRequest())) or ""
    except Exception:  # another project's class, asked without a real request
        return ""


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
