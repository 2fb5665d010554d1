"""The system checks of the alias that holds the shared key set."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Warning

from clerk_auth.checks.registration import check, read_config
from clerk_auth.conf import find_cache_problem
from clerk_auth.conf.caches import CacheSettings

__all__ = ["check_cache", "check_cache_is_shared"]

# Not by its name: an alias is a value of a setting.
_KEY_CACHE = "CACHES[CLERK_AUTH['CACHE_ALIAS']]"


@check()
def check_cache() -> Iterator[CheckMessage]:
    """E008, W007, W008: the alias that holds the shared key set."""
    config = read_config()
    if config is None or config.jwks_url is None:
        return
    if problem := find_cache_problem(config):
        yield problem
    cache = CacheSettings(config.cache_alias)
    if cache.backend is None:  # Django says so itself
        return
    if cache.may_unpickle:
        yield Warning(
            f"{_KEY_CACHE} may unpickle what it reads: anyone who can write to that server could "
            "run code here.",
            hint="Add an alias only for the keys, with a database number of its own and "
            "django-redis' JSONSerializer, and name it in CLERK_AUTH['CACHE_ALIAS']. Silence this "
            "where your own serializer or backend makes no objects of what it reads.",
            id="clerk_auth.W007",
        )
    if cache.may_wait:
        yield Warning(
            f"{_KEY_CACHE} may have no time-outs: a server that does not answer can hold a thread "
            "indefinitely.",
            hint="Set SOCKET_CONNECT_TIMEOUT and SOCKET_TIMEOUT (django-redis) or "
            "socket_connect_timeout and socket_timeout (Django) in OPTIONS, 1 second or less, and "
            "timeout for a BlockingConnectionPool. Silence this where your backend is bounded.",
            id="clerk_auth.W008",
        )


@check(deploy=True)
def check_cache_is_shared() -> Iterator[CheckMessage]:
    """W006: the key set is not shared between processes."""
    config = read_config()
    if config and config.jwks_url and CacheSettings(config.cache_alias).belongs_to_one_process:
        yield Warning(
            f"{_KEY_CACHE} belongs to one process: each worker fetches Clerk's keys for itself.",
            hint="Use Redis through django-redis: see docs/deployment.md.",
            id="clerk_auth.W006",
        )
