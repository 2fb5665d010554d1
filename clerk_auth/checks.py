"""System checks, tagged ``security``; each id has its row in ``docs/settings.md``.

They read settings alone: no cache, no network, no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string
from rest_framework.request import Request
from rest_framework.settings import api_settings

from clerk_auth import columns
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.conf import (
    Config,
    Problem,
    find_cache_problem,
    find_problems,
    get_config,
    is_debug,
    is_observing,
)
from clerk_auth.profile import find_problems as find_profile_problems
from clerk_auth.users import database_user, existing_user

FOREIGN_DISTRIBUTION = "clerk-auth-django"
RESPONSE_COUNTER = "clerk_auth.middleware.ResponseCounter"

_DJANGO_REDIS = "django_redis.cache.RedisCache"
_REDIS = "django.core.cache.backends.redis.RedisCache"
_PER_PROCESS = (
    "django.core.cache.backends.locmem.LocMemCache",
    "django.core.cache.backends.dummy.DummyCache",
)
_UNPICKLING = (
    "django.core.cache.backends.filebased.FileBasedCache",
    "django.core.cache.backends.db.DatabaseCache",
    "django.core.cache.backends.memcached.BaseMemcachedCache",
)


@register(Tags.security)
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
    return _errors(find_problems())


@register(Tags.security, deploy=True)
def check_parties(**_: Any) -> Iterator[CheckMessage]:
    """W002: tokens made for any origin of the instance are accepted."""
    config = _config()
    if config and not config.authorized_parties:
        yield Warning(
            "CLERK_AUTH['AUTHORIZED_PARTIES'] is empty: a token made for any origin is accepted.",
            hint='List your front end\'s origins, as in ["https://app.example.com"].',
            id="clerk_auth.W002",
        )


@register(Tags.security)
def check_instance(**_: Any) -> Iterator[CheckMessage]:
    """W003: a development instance behind a production API."""
    config = _config()
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


@register(Tags.security)
def check_authenticators(**_: Any) -> Iterator[CheckMessage]:
    """W004, W005, W012: neighbours in DEFAULT_AUTHENTICATION_CLASSES, or the lack of them."""
    try:
        classes: list[Any] = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
    except ImportError:  # REST framework's own error is clearer
        return
    ours = [index for index, cls in enumerate(classes) if issubclass(cls, ClerkAuthentication)]
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


@register(Tags.security, deploy=True)
def check_mode(**_: Any) -> Iterator[CheckMessage]:
    """W013: our verdicts decide nothing."""
    if is_observing():
        yield Warning(
            "CLERK_AUTH['MODE'] is 'observe': tokens are verified, and nobody is refused for it.",
            hint="Follow docs/rollout.md to 'enforce'; silence this for as long as it is meant.",
            id="clerk_auth.W013",
        )


@register(Tags.security, deploy=True)
def check_cache_is_shared(**_: Any) -> Iterator[CheckMessage]:
    """W006: the key set is not shared between processes."""
    alias, backends, _options = _cache()
    if not set(_PER_PROCESS).isdisjoint(backends):
        yield Warning(
            f"CACHES[{alias!r}] belongs to one process: each worker fetches Clerk's keys for "
            "itself.",
            hint="Use Redis through django-redis: see docs/deployment.md.",
            id="clerk_auth.W006",
        )


@register(Tags.security)
def check_cache(**_: Any) -> Iterator[CheckMessage]:
    """E008, W007, W008: the alias that holds the shared key set."""
    if (config := _config()) and (problem := find_cache_problem(config)):
        yield from _errors([problem])
    alias, backends, options = _cache()
    if _unpickles(backends, options):
        yield Warning(
            f"CACHES[{alias!r}] unpickles what it reads: whoever can write to that server can run "
            "code here.",
            hint="Add an alias for the keys alone, with a database number of its own and "
            "django-redis' JSONSerializer, and name it in CLERK_AUTH['CACHE_ALIAS'].",
            id="clerk_auth.W007",
        )
    if not {_REDIS, _DJANGO_REDIS}.isdisjoint(backends) and not _has_timeouts(alias, options):
        yield Warning(
            f"CACHES[{alias!r}] has no socket time-outs: a silent Redis holds a thread for as long "
            "as it likes.",
            hint="Set SOCKET_CONNECT_TIMEOUT and SOCKET_TIMEOUT (django-redis) or "
            "socket_connect_timeout and socket_timeout (Django) in OPTIONS, 1 second or less.",
            id="clerk_auth.W008",
        )


@register(Tags.security)
def check_users(**_: Any) -> Iterator[CheckMessage]:
    """E006, E007, E016, E017, W009, W014, W018: users are found by Clerk's id, in one row each."""
    config = _config()
    if config is None:
        return
    for key, paths in (("USER_RESOLVER", [config.user_resolver]), ("METRICS", config.metrics)):
        for path in paths:
            try:
                import_string(path)
            except ImportError as error:
                yield Error(
                    f"CLERK_AUTH[{key!r}] names {path!r}, which cannot be imported: {error}",
                    hint="Correct the dotted path, or install what it needs.",
                    id="clerk_auth.E006",
                )
                return
    if (name := get_user_model().USERNAME_FIELD) in config.user_fields:
        yield Warning(
            f"CLERK_AUTH['USER_FIELDS'] writes {name}, by which a password login or another single "
            "sign-on finds users: a claim could make one person another.",
            hint="Map a field that nobody signs in by, or silence this where nothing else does.",
            id="clerk_auth.W014",
        )
    resolver = import_string(config.user_resolver)
    if resolver in (database_user, existing_user):
        creates = resolver is database_user
        yield from _errors(columns.find_problems(creates=creates))
        yield from _errors(columns.find_doubts(creates=creates), Warning)


@register(Tags.security)
def check_responses_are_counted(**_: Any) -> Iterator[CheckMessage]:
    """W011: metrics go somewhere, and nobody counts what the alarms need."""
    config = _config()
    if config and config.metrics and RESPONSE_COUNTER not in settings.MIDDLEWARE:
        yield Warning(
            "CLERK_AUTH['METRICS'] names sinks, but responses are not counted: alarms on "
            "clerk_auth_responses stay silent.",
            hint=f"Put {RESPONSE_COUNTER!r} first in MIDDLEWARE.",
            id="clerk_auth.W011",
        )


@register(Tags.security)
def check_user_fields(**_: Any) -> list[CheckMessage]:
    """E010, E011: profile fields are plain columns, and grant nobody anything."""
    config = _config()
    # Whichever resolver: one of the project's own may call ``database_user``.
    return _errors(find_profile_problems()) if config and config.user_fields else []


@register(Tags.security)
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


def _errors(problems: Iterable[Problem], kind: type[Error | Warning] = Error) -> list[CheckMessage]:
    return [
        kind(
            f"CLERK_AUTH[{problem.key!r}] {problem.message}", hint=problem.hint, id=problem.check_id
        )
        for problem in problems
    ]


def _config() -> Config | None:
    """Return the configuration; ``None`` while ``check_settings`` has something to say."""
    try:
        return get_config()
    except ImproperlyConfigured:
        return None


def _challenge(cls: type[Any]) -> str:
    try:
        return cls().authenticate_header(Request(HttpRequest())) or ""
    except Exception:  # another project's class, asked without a real request
        return ""


def _cache() -> tuple[str, Sequence[str], dict[str, Any]]:
    """Return alias, names of its backend and base classes, and options; empty if not used."""
    config = _config()
    if config is None or config.jwks_url is None:
        return "", (), {}
    cache: dict[str, Any] = settings.CACHES.get(config.cache_alias, {})
    try:
        backend = import_string(cache["BACKEND"])
    except (ImportError, KeyError):  # Django says so itself
        return config.cache_alias, (), {}
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in backend.__mro__]
    return config.cache_alias, names, cache.get("OPTIONS", {})


def _unpickles(backends: Sequence[str], options: dict[str, Any]) -> bool:
    if _DJANGO_REDIS in backends:
        return "pickle" in str(options.get("SERIALIZER", "pickle")).lower()
    if _REDIS in backends:
        return "pickle" in str(options.get("serializer", "pickle")).lower()
    return not set(_UNPICKLING).isdisjoint(backends)


def _has_timeouts(alias: str, options: dict[str, Any]) -> bool:
    location: Any = settings.CACHES[alias].get("LOCATION", "")
    locations = [location] if isinstance(location, str) else list(location)
    options = {**options, **options.get("CONNECTION_POOL_KWARGS", {})}
    found = {name.lower() for name, value in options.items() if value is not None}
    for url in locations[:1]:
        found |= parse_qs(urlsplit(str(url)).query).keys()
    return {"socket_timeout", "socket_connect_timeout"} <= found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
