"""The system checks of the caches that hold shared key sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.core.checks import CheckMessage, Warning

from clerk_auth.checks.registration import check, read_configs
from clerk_auth.conf import Config, find_cache_problem
from clerk_auth.conf.caches import CacheSettings

__all__ = ["check_cache", "check_cache_is_shared"]


@check()
def check_cache() -> Iterator[CheckMessage]:
    """E008, W007, W008: the alias that holds a shared key set."""
    for config in _read_fetching():
        if problem := find_cache_problem(config):
            yield problem
        cache = CacheSettings(config.cache_alias)
        if cache.backend is None:  # Django says so itself
            continue
        if cache.may_unpickle:
            yield _judge(
                "clerk_auth.W007",
                config,
                "may unpickle what it reads: anyone who can write to that server could run code "
                "here.",
                "Add an alias only for the keys, with a database number of its own and "
                "django-redis' JSONSerializer, and name it in CLERK_AUTH['CACHE_ALIAS']. Silence "
                "this where your own serializer or backend makes no objects of what it reads.",
            )
        if cache.may_wait:
            yield _judge(
                "clerk_auth.W008",
                config,
                "may have no time-outs: a server that does not answer can hold a thread "
                "indefinitely.",
                "Set SOCKET_CONNECT_TIMEOUT and SOCKET_TIMEOUT (django-redis) or "
                "socket_connect_timeout and socket_timeout (Django) in OPTIONS, 1 second or less, "
                "and timeout for a BlockingConnectionPool. Silence this where your backend is "
                "bounded.",
            )


@check(deploy=True)
def check_cache_is_shared() -> Iterator[CheckMessage]:
    """W006: a key set is not shared between processes."""
    for config in _read_fetching():
        if CacheSettings(config.cache_alias).belongs_to_one_process:
            message = "belongs to one process: each worker fetches Clerk's keys for itself."
            hint = "Use Redis through django-redis: see docs/deployment.md."
            yield _judge("clerk_auth.W006", config, message, hint)


def _read_fetching() -> Iterable[Config]:
    """Return the first instance that fetches its keys for each cache: instances may share one."""
    first: dict[str, Config] = {}
    for config in read_configs():
        if config.jwks_url is not None:
            first.setdefault(config.cache_alias, config)
    return first.values()


def _judge(check_id: str, config: Config, message: str, hint: str) -> Warning:
    # Not by the name in CACHES: an alias is a value of a setting.
    key = f"{config.path}CACHE_ALIAS"
    subject = key if config.is_one_of_several else None
    message = f"CACHES[CLERK_AUTH[{key!r}]] {message}"
    return Warning(message, hint=hint, obj=subject, id=check_id)
