"""What the settings say of a Django cache: does it unpickle what it reads, can it hold a thread?

Classes are imported, and nothing is connected to. What is not known to be safe counts as unsafe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

__all__ = ["MAX_TIMEOUT_SECONDS", "CacheSettings"]

# No call to a cache should take longer; the hint of W008 asks for less.
MAX_TIMEOUT_SECONDS = 5

_DJANGO = "django.core.cache.backends."
_REDIS = _DJANGO + "redis.RedisCache"
_PYMEMCACHE = _DJANGO + "memcached.PyMemcacheCache"
# Two packages with the same options, in capital letters.
_WITH_OPTIONS = ("django_redis.cache.RedisCache", "django_valkey.base.BaseValkeyCache")
_IN_PROCESS = {_DJANGO + "locmem.LocMemCache", _DJANGO + "dummy.DummyCache"}
# Files and databases have time-outs of their own, and libmemcached has them by default.
_BOUNDED = _IN_PROCESS | {
    _DJANGO + "filebased.FileBasedCache",
    _DJANGO + "db.DatabaseCache",
    _DJANGO + "memcached.PyLibMCCache",
}
# Their ``loads`` makes only what JSON or MessagePack can express.
_SAFE_SERIALIZERS = {
    f"{package}.serializers.{name}"
    for package in ("django_redis", "django_valkey")
    for name in ("json.JSONSerializer", "msgpack.MSGPackSerializer")
}


class CacheSettings:
    """One alias of ``CACHES``; ``backend`` is ``None`` where it cannot be imported."""

    def __init__(self, alias: str) -> None:
        caches: Any = settings.CACHES
        known: Mapping[Any, Any] = caches if isinstance(caches, Mapping) else {}
        values = known.get(alias)
        self._values: Mapping[Any, Any] = values if isinstance(values, Mapping) else {}
        options = self._values.get("OPTIONS")
        self._options: Mapping[Any, Any] = options if isinstance(options, Mapping) else {}
        self.backend = _load(self._values.get("BACKEND"))
        self._names = set(_names(self.backend))

    @property
    def belongs_to_one_process(self) -> bool:
        """Whether no other process sees what is in it."""
        return not _IN_PROCESS.isdisjoint(self._names)

    @property
    def may_unpickle(self) -> bool:
        """Whether anyone who can write to its server might run code here."""
        if self.belongs_to_one_process:
            return False
        if self._has_capital_options:
            return not _is_safe(self._options.get("SERIALIZER"))
        return _REDIS not in self._names or not _is_safe(self._options.get("serializer"))

    @property
    def may_wait(self) -> bool:
        """Whether a server that does not answer might hold a thread."""
        if not _BOUNDED.isdisjoint(self._names):
            return False
        options = self._options
        if _PYMEMCACHE in self._names:
            return not all(map(_is_bound, (options.get("connect_timeout"), options.get("timeout"))))
        if self._has_capital_options:
            pool = options.get("CONNECTION_POOL_CLASS")
            keywords = options.get("CONNECTION_POOL_KWARGS")
            names = ("socket_connect_timeout", "socket_timeout")
            given = {name: options.get(name.upper()) for name in names}
            given |= keywords if isinstance(keywords, Mapping) else {}
        elif _REDIS in self._names:
            pool = options.get("pool_class")
            given = dict(options)
        else:
            return True
        wanted = {"socket_connect_timeout", "socket_timeout"} | _timeouts_of(pool)
        bound = {name for name, value in given.items() if _is_bound(value)}
        return not wanted <= bound | self._bound_by_location()

    @property
    def _has_capital_options(self) -> bool:
        return not self._names.isdisjoint(_WITH_OPTIONS)

    def _bound_by_location(self) -> set[str]:
        """Return the time-outs that every URL of ``LOCATION`` sets."""
        location = self._values.get("LOCATION")
        urls = re.split("[;,]", location) if isinstance(location, str) else location
        if not isinstance(urls, list | tuple) or not urls:
            return set()
        return set.intersection(*({*_bound_by_url(url)} for url in urls))


def _bound_by_url(url: object) -> list[str]:
    try:
        query = parse_qs(urlsplit(str(url)).query)
    except ValueError:
        return []
    return [name for name, values in query.items() if _is_bound(values[-1])]


def _is_bound(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return 0 < float(value) <= MAX_TIMEOUT_SECONDS
    except (ValueError, OverflowError):
        return False


def _is_safe(serializer: object) -> bool:
    """Tell whether ``loads`` is that of a serializer that is known; the default is pickle's."""
    if serializer is None:
        return False
    if isinstance(serializer, str) and serializer in _SAFE_SERIALIZERS:
        return True
    loaded = _load(serializer)
    if loaded is None:  # what cannot be imported here reads nothing here
        return "pickle" not in str(serializer).lower()
    if loaded is json:
        return True
    kind = loaded if isinstance(loaded, type) else type(loaded)
    owner = next((cls for cls in kind.__mro__ if "loads" in vars(cls)), None)
    return owner is not None and _name(owner) in _SAFE_SERIALIZERS


def _timeouts_of(pool: object) -> set[str]:
    """Return what must be bounded beside the sockets: a blocking pool waits for a connection."""
    if pool is None:
        return set()
    names = _names(_load(pool))
    is_known = any(name.endswith(".connection.ConnectionPool") for name in names)
    is_blocking = any(name.endswith(".BlockingConnectionPool") for name in names)
    return {"timeout"} if is_blocking or not is_known else set()


def _load(value: object) -> Any:
    """Return what ``value`` names, or itself; ``None`` where it cannot be imported."""
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except Exception:  # its module may raise what it likes; Django says so itself
        return None


def _names(kind: object) -> list[str]:
    return [_name(cls) for cls in kind.__mro__] if isinstance(kind, type) else []


def _name(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
