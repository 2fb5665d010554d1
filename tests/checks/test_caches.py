"""The checks of the cache that holds the key set."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django_redis.serializers.json import JSONSerializer
from django_redis.serializers.pickle import PickleSerializer
from redis import BlockingConnectionPool

from clerk_auth.checks import TAG
from clerk_auth.verifier import get_verifier
from tests.checks.conftest import (
    JSON,
    SECURE,
    SHARED,
    STAFF,
    TIMEOUTS,
    found,
    messages_of,
    subjects,
)

pytestmark = pytest.mark.integration

LOWER = {"socket_connect_timeout": 0.5, "socket_timeout": 1}
QUERY = "socket_timeout=1&socket_connect_timeout=0.5"
BLOCKING = "redis.BlockingConnectionPool"
BLOCKING_FOR = {
    timeout: {
        "CONNECTION_POOL_CLASS": BLOCKING,
        "CONNECTION_POOL_KWARGS": {"max_connections": 50, "timeout": timeout},
    }
    for timeout in (1, 20, None)
}


class UnheardOf(BaseCache):
    """A shared backend of the host project."""


class OurMemory(LocMemCache):
    pass


class Renamed(PickleSerializer):
    """What its name does not say."""


class Overridden(JSONSerializer):
    def loads(self, value):
        return value


class Mixed(PickleSerializer, JSONSerializer):
    pass


class Foreign:
    def loads(self, value):
        return value


class OwnEncoder(JSONSerializer):
    encoder_class = json.JSONEncoder


class OwnBlockingPool(BlockingConnectionPool):
    pass


def with_options(**options: Any) -> dict[str, Any]:
    return {**SHARED, "OPTIONS": options}


def django_redis(**changes: Any) -> dict[str, Any]:
    return {**SHARED, "OPTIONS": {"SERIALIZER": JSON, **TIMEOUTS}, **changes}


DJANGO = "django.core.cache.backends."


@pytest.mark.parametrize(
    ("cache", "ids"),
    [
        pytest.param({"BACKEND": DJANGO + "locmem.LocMemCache"}, ["W006"], id="locmem"),
        pytest.param({"BACKEND": DJANGO + "dummy.DummyCache"}, ["W006"], id="dummy"),
        pytest.param(
            {"BACKEND": DJANGO + "filebased.FileBasedCache", "LOCATION": "/var/tmp/keys"},
            ["W007"],
            id="file",
        ),
        pytest.param(
            {"BACKEND": DJANGO + "db.DatabaseCache", "LOCATION": "keys"}, ["W007"], id="database"
        ),
        pytest.param(
            {"BACKEND": DJANGO + "memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:11211"},
            ["W007", "W008"],
            id="memcached",
        ),
        pytest.param(
            {
                "BACKEND": DJANGO + "memcached.PyMemcacheCache",
                "LOCATION": "127.0.0.1:11211",
                "OPTIONS": {"connect_timeout": 1, "timeout": 1},
            },
            ["W007"],
            id="memcached-with-timeouts",
        ),
        pytest.param(
            {"BACKEND": DJANGO + "memcached.PyLibMCCache", "LOCATION": "127.0.0.1:11211"},
            ["W007"],
            id="libmemcached",
        ),
        pytest.param({"BACKEND": f"{__name__}.UnheardOf"}, ["W007", "W008"], id="unheard-of"),
        pytest.param(
            {"BACKEND": f"{__name__}.UnheardOf", "OPTIONS": {"SERIALIZER": JSON, **TIMEOUTS}},
            ["W007", "W008"],
            id="unheard-of-whatever-its-options",
        ),
        *(
            pytest.param(with_options(SERIALIZER=serializer, **TIMEOUTS), ids, id=str(serializer))
            for serializer, ids in [
                (f"{__name__}.Renamed", ["W007"]),
                (f"{__name__}.Overridden", ["W007"]),
                (f"{__name__}.Mixed", ["W007"]),
                (f"{__name__}.Foreign", ["W007"]),
                (f"{__name__}.OwnEncoder", []),
                ("host.serializers.JsonSerializer", []),
                ("host.serializers.FastPickle", ["W007"]),
                ("clerk_auth.users.no_such", []),
                (None, ["W007"]),
                ("", []),
                (5, ["W007"]),
            ]
        ),
        *(
            pytest.param(
                {
                    "BACKEND": DJANGO + "redis.RedisCache",
                    "OPTIONS": {"serializer": serializer, **LOWER},
                },
                ids,
                id=f"django-{number}",
            )
            for number, (serializer, ids) in enumerate(
                [
                    (json, []),
                    (PickleSerializer, ["W007"]),
                    (f"{__name__}.Renamed", ["W007"]),
                    (Foreign(), ["W007"]),
                    ("django.core.cache.backends.redis.RedisSerializer", ["W007"]),
                ]
            )
        ),
        *(
            pytest.param(with_options(SERIALIZER=JSON, **options), ids, id=str(options))
            for options, ids in [
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 5}, []),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 5.1}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 0}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": -1}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": None}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": True}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": "soon"}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": float("nan")}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 10**400}, ["W008"]),
                (LOWER, ["W008"]),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": BLOCKING}, ["W008"]),
                ({**TIMEOUTS, **BLOCKING_FOR[1]}, []),
                ({**TIMEOUTS, **BLOCKING_FOR[20]}, ["W008"]),
                ({**TIMEOUTS, **BLOCKING_FOR[None]}, ["W008"]),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": f"{__name__}.OwnBlockingPool"}, ["W008"]),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": "redis.ConnectionPool"}, []),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": "no_such_module.Pool"}, ["W008"]),
            ]
        ),
        *(
            pytest.param(
                {**with_options(SERIALIZER=JSON), "LOCATION": location}, ids, id=str(location)
            )
            for location, ids in [
                ([f"redis://a.example/5?{QUERY}", f"redis://b.example/5?{QUERY}"], []),
                ([f"redis://a.example/5?{QUERY}", "redis://b.example/5"], ["W008"]),
                (f"redis://a.example/5?{QUERY},redis://b.example/5?{QUERY}", []),
                (f"redis://a.example/5?{QUERY},redis://b.example/5", ["W008"]),
                ("redis://a.example/5?socket_timeout=60&socket_connect_timeout=1", ["W008"]),
            ]
        ),
        pytest.param(with_options(**TIMEOUTS), ["W007"], id="django-redis-default-serializer"),
        pytest.param(
            with_options(SERIALIZER="django_redis.serializers.pickle.PickleSerializer", **TIMEOUTS),
            ["W007"],
            id="django-redis-pickle",
        ),
        pytest.param(
            with_options(
                SERIALIZER="django_redis.serializers.msgpack.MSGPackSerializer", **TIMEOUTS
            ),
            [],
            id="django-redis-msgpack",
        ),
        pytest.param(with_options(SERIALIZER=JSON), ["W008"], id="no-timeouts"),
        pytest.param(
            with_options(SERIALIZER=JSON, SOCKET_TIMEOUT=1), ["W008"], id="no-connect-timeout"
        ),
        pytest.param(
            with_options(SERIALIZER=JSON, SOCKET_CONNECT_TIMEOUT=1), ["W008"], id="no-read-timeout"
        ),
        pytest.param(
            with_options(
                SERIALIZER=JSON,
                CONNECTION_POOL_KWARGS={"socket_timeout": 1, "socket_connect_timeout": 1},
            ),
            [],
            id="timeouts-of-the-pool",
        ),
        pytest.param(
            {
                **with_options(SERIALIZER=JSON),
                "LOCATION": "redis://a.example/5?socket_timeout=1&socket_connect_timeout=1",
            },
            [],
            id="timeouts-in-the-url",
        ),
        pytest.param(
            {
                **with_options(SERIALIZER=JSON),
                "LOCATION": ["redis://a.example/5", "redis://b.example/5"],
            },
            ["W008"],
            id="no-timeouts-in-a-list",
        ),
        pytest.param(
            {"BACKEND": DJANGO + "redis.RedisCache", "LOCATION": "redis://a.example/5"},
            ["W007", "W008"],
            id="django-default",
        ),
        pytest.param(
            {
                "BACKEND": DJANGO + "redis.RedisCache",
                "LOCATION": "redis://a.example/5",
                "OPTIONS": {
                    "serializer": "host.JsonSerializer",
                    "socket_timeout": 1,
                    "socket_connect_timeout": 1,
                },
            },
            [],
            id="django-json-with-timeouts",
        ),
    ],
)
def test_cache_of_the_keys(cache, ids, secure):
    secure.CACHES = {"default": {"BACKEND": DJANGO + "dummy.DummyCache"}, "keys": cache}
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys"}
    assert found(deploy=True) == ids
    assert found() == [check_id for check_id in ids if check_id != "W006"]


# The names that django-valkey has; its rules are those of django-redis.
VALKEY = """
from django.core.cache.backends.base import BaseCache
class BaseValkeyCache(BaseCache): pass
class ValkeyCache(BaseValkeyCache): pass
class JSONSerializer:
    def loads(self, value): return value
class PickleSerializer(JSONSerializer):
    def loads(self, value): return value
"""


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["W007", "W008"]),
        (TIMEOUTS, ["W007"]),
        ({"SERIALIZER": "django_valkey.serializers.json.JSONSerializer"}, ["W008"]),
        ({"SERIALIZER": "django_valkey.serializers.json.JSONSerializer", **TIMEOUTS}, []),
        ({"SERIALIZER": "django_valkey.serializers.pickle.PickleSerializer", **TIMEOUTS}, ["W007"]),
    ],
)
def test_valkey_unpickles_by_default(options, ids, secure, monkeypatch):
    for name in ("", ".base", ".cache", ".serializers", ".serializers.json", ".serializers.pickle"):
        module = types.ModuleType(f"django_valkey{name}")
        source = VALKEY if name != ".cache" else "from django_valkey.base import ValkeyCache"
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(source, vars(module))
    backend = "django_valkey.cache.ValkeyCache"
    secure.CACHES = {"default": {"BACKEND": backend, "OPTIONS": options}}
    assert found(deploy=True) == ids


def test_subclass_of_a_backend_is_judged_as_the_backend(secure):
    secure.CACHES = {"default": {"BACKEND": f"{__name__}.OurMemory"}}
    assert found(deploy=True) == ["W006"]


def test_other_aliases_are_not_looked_at(secure):
    secure.CACHES = {"default": SHARED, "pages": with_options()}
    assert found(deploy=True) == []


@pytest.mark.parametrize(("alias", "ids"), [("default", []), ("keys", ["E008"])])
def test_alias_must_be_there(alias, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": alias}
    assert found(deploy=True) == ids


def test_aliases_that_are_there_are_named(secure):
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys"}
    secure.CACHES = {"default": SHARED, "pages": SHARED, "redis://:password@a.example": SHARED}
    (error,) = messages_of(TAG)
    assert error.hint == "Use one of: default, pages."


def test_alias_that_is_missing_stops_the_first_use_too(secure):
    """Servers run no checks, and each process would fetch for itself in silence."""
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys"}
    with pytest.raises(ImproperlyConfigured, match=r"CACHE_ALIAS.*default"):
        get_verifier()
    secure.CACHES = {"default": SHARED, "keys": SHARED}
    get_verifier()


def test_cache_is_not_looked_at_where_no_keys_are_fetched(secure, local_issuer):
    secure.CACHES = {"default": {"BACKEND": DJANGO + "locmem.LocMemCache"}}
    assert found(deploy=True) == ["W006"]
    secure.CLERK_AUTH = {**SECURE, "JWT_KEY": local_issuer.public_pem.strip()}
    assert found(deploy=True) == []


def test_backend_that_cannot_be_imported_is_left_to_django(secure):
    secure.CACHES = {"default": {"BACKEND": "no_such_module.Cache"}}
    assert found(deploy=True) == []


# Several instances


MEMCACHED = {"BACKEND": DJANGO + "memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:11211"}
LOCAL = {"BACKEND": DJANGO + "locmem.LocMemCache"}


def test_cache_of_several_instances_is_reported_once(secure):
    secure.CACHES = {"default": MEMCACHED}
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": STAFF}}
    assert subjects(deploy=True) == [("W007", "CACHE_ALIAS"), ("W008", "CACHE_ALIAS")]
    secure.CACHES = {"default": LOCAL}
    assert subjects(deploy=True) == [("W006", "CACHE_ALIAS")]


def test_cache_of_another_instance_is_judged_by_itself(secure):
    secure.CACHES = {"default": SHARED, "staff": MEMCACHED, "local": LOCAL}
    staff = "INSTANCES.staff.CACHE_ALIAS"
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": {**STAFF, "CACHE_ALIAS": "staff"}}}
    assert subjects(deploy=True) == [("W007", staff), ("W008", staff)]
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": {**STAFF, "CACHE_ALIAS": "local"}}}
    assert subjects(deploy=True) == [("W006", staff)]


def test_alias_that_is_missing_is_named_once_where_it_is_inherited(secure):
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys", "INSTANCES": {"staff": STAFF}}
    assert subjects() == [("E008", "CACHE_ALIAS")]
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": {**STAFF, "CACHE_ALIAS": "keys"}}}
    assert subjects() == [("E008", "INSTANCES.staff.CACHE_ALIAS")]
    with pytest.raises(ImproperlyConfigured, match=r"INSTANCES\.staff\.CACHE_ALIAS"):
        get_verifier("staff")
    get_verifier()


def test_message_about_the_cache_of_one_instance_names_none(secure):
    secure.CACHES = {"default": LOCAL}
    (warning,) = messages_of(TAG, deploy=True)
    assert (warning.obj, warning.msg) == (
        None,
        "CACHES[CLERK_AUTH['CACHE_ALIAS']] belongs to one process: each worker fetches Clerk's "
        "keys for itself.",
    )
