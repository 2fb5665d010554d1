"""The fleet's lock, cooldown and document over every cache backend that runs here.

Backends differ in what ``add`` answers when something is there, and when it cannot say. What is not
true means nothing by itself, so that each of them is asked what is there.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connection

from clerk_auth.conf import read_configs
from clerk_auth.core.keys import KeySet
from clerk_auth.jwks import fleet as jwks_fleet
from clerk_auth.jwks.held import Clock, Snapshot
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.fleet import ISSUER, JWKS_URL, Fleet, ScriptedIssuer, keys_for

pytestmark = pytest.mark.integration

LEASE = 5
DJANGO_REDIS = "django_redis.cache.RedisCache"
JSON = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}


class AnswersNone(LocMemCache):
    """Its ``add`` answers nothing when something is there."""

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return super().add(*args, **kwargs) or None


class AnswersFalse(LocMemCache):
    """Its ``add`` stores, and says that it did not."""

    def add(self, *args: Any, **kwargs: Any) -> Any:
        super().add(*args, **kwargs)
        return False


class AnswersOne(LocMemCache):
    """Its ``add`` answers a number."""

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return int(super().add(*args, **kwargs))


class KeepsNothing(LocMemCache):
    """As a client that swallows its errors, or a database that may only be read."""

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return False

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return False

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return default


def locmem(cls: type = LocMemCache) -> dict[str, Any]:
    return {"BACKEND": f"{cls.__module__}.{cls.__qualname__}", "LOCATION": "backends"}


def use_redis(request: pytest.FixtureRequest, **options: Any) -> dict[str, Any]:
    return {"LOCATION": request.getfixturevalue("redis").url, "KEY_PREFIX": "backends", **options}


def use_database(request: pytest.FixtureRequest) -> dict[str, Any]:
    request.getfixturevalue("db")
    return {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "backends_cache",
    }


def use_valkey(request: pytest.FixtureRequest) -> dict[str, Any]:
    pytest.importorskip("django_valkey")
    url = request.getfixturevalue("redis").url.replace("redis://", "valkey://")
    return use_redis(request, BACKEND="django_valkey.cache.ValkeyCache", LOCATION=url)


Make = Callable[[pytest.FixtureRequest], dict[str, Any]]
BACKENDS: dict[str, Make] = {
    "locmem": lambda request: locmem(),
    "file": lambda request: {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(request.getfixturevalue("tmp_path")),
    },
    "answers-none": lambda request: locmem(AnswersNone),
    "answers-false": lambda request: locmem(AnswersFalse),
    "answers-one": lambda request: locmem(AnswersOne),
}
SERVED: dict[str, Make] = {
    "database": use_database,
    "django-redis": lambda request: use_redis(request, BACKEND=DJANGO_REDIS),
    "django-redis-json": lambda request: use_redis(request, BACKEND=DJANGO_REDIS, OPTIONS=JSON),
    "django": lambda request: use_redis(
        request, BACKEND="django.core.cache.backends.redis.RedisCache"
    ),
    "django-valkey": use_valkey,
}
served = [pytest.param(name, marks=[pytest.mark.integration, pytest.mark.redis]) for name in SERVED]


@pytest.fixture
def cache(request, settings) -> Iterator[Any]:
    make = {**BACKENDS, **SERVED}[request.param]
    settings.CACHES = {"default": make(request)}
    if request.param == "database":
        call_command("createcachetable", verbosity=0)
    caches["default"].clear()
    yield caches["default"]
    caches["default"].clear()


def share(cache: Any) -> jwks_fleet.Fleet:
    """What one process sees of the cache."""
    config = read_configs({"ISSUER": ISSUER, "JWKS_URL": JWKS_URL}, debug=False)["default"]
    return jwks_fleet.Fleet(lambda: cache, config, secret_key="s" * 50, clock=Clock())


@pytest.mark.parametrize("cache", [*BACKENDS, *served], indirect=True)
def test_backend_keeps_the_contract(cache, local_issuer):
    first, second = share(cache), share(cache)
    assert first.load() is None
    snapshot = Snapshot(KeySet((local_issuer.verifying_key,)), 7, Clock().now())
    first.store(snapshot)
    assert second.load().generation == 7

    lock = first.acquire(lease_seconds=LEASE)
    assert lock
    assert second.acquire(lease_seconds=LEASE) is None
    second.release("somebody else's")
    assert second.acquire(lease_seconds=LEASE) is None
    first.release(lock)
    assert second.acquire(lease_seconds=LEASE)
    assert [first.breaker.is_open, second.breaker.is_open] == [False, False]


@pytest.mark.parametrize("cache", [*BACKENDS, *served], indirect=True)
def test_backend_lets_one_process_reserve_a_cooldown(cache):
    first, second = share(cache), share(cache)
    assert first.reserve("key_id") == 0
    assert 28 < second.reserve("key_id") <= 30
    assert [first.breaker.is_open, second.breaker.is_open] == [False, False]


@pytest.mark.parametrize("cache", [*BACKENDS, *served], indirect=True)
def test_backend_has_one_fetch_for_many_processes(cache, local_issuer):
    issuer = ScriptedIssuer(local_issuer.acting_as(ISSUER, kid="ins_1"))
    fleet = Fleet(issuer, Clock())
    fleet.cache = cache
    for process in [fleet.source() for _ in range(4)]:
        assert keys_for(process, "ins_1")
        assert not process.status().is_cache_avoided
    assert issuer.fetches == 1


@pytest.mark.parametrize(
    "backend",
    [locmem(KeepsNothing), {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}],
    ids=["nothing", "dummy"],
)
def test_cache_that_takes_no_orders_is_no_outage(backend, settings, local_issuer, caplog):
    settings.CACHES = {"default": backend}
    issuer = ScriptedIssuer(local_issuer.acting_as(ISSUER, kid="ins_1"))
    fleet = Fleet(issuer, Clock())
    fleet.cache = caches["default"]
    started_at = time.monotonic()
    for process in [fleet.source() for _ in range(3)]:
        assert keys_for(process, "ins_1")
    assert issuer.fetches == 3
    assert time.monotonic() - started_at < 1
    is_dummy = "Dummy" in backend["BACKEND"]
    assert (caplog.text.count("cache_unavailable reason=add_without_effect") == 0) is is_dummy


def test_memcached_that_is_gone_is_no_outage_where_errors_are_swallowed(settings, local_issuer):
    pytest.importorskip("pymemcache")
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": "127.0.0.1:1",
            "OPTIONS": {"ignore_exc": True},
        }
    }
    issuer = ScriptedIssuer(local_issuer.acting_as(ISSUER, kid="ins_1"))
    fleet = Fleet(issuer, Clock())
    fleet.cache = caches["default"]
    source = fleet.source()
    assert keys_for(source, "ins_1")
    assert source.status().cache_error == "add_without_effect"


@pytest.mark.django_db
def test_database_cache_that_may_only_be_read_is_no_outage(settings, local_issuer):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "backends_cache",
        }
    }
    call_command("createcachetable", verbosity=0)
    if connection.vendor != "sqlite":
        pytest.skip("the database is made read-only by a pragma of SQLite")
    issuer = ScriptedIssuer(local_issuer.acting_as(ISSUER, kid="ins_1"))
    fleet = Fleet(issuer, Clock())
    fleet.cache = caches["default"]
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        try:
            assert keys_for(fleet.source(), "ins_1")
        finally:
            cursor.execute("PRAGMA query_only = OFF")
    assert issuer.fetches == 1


# What happens between `add` and the look at what is there


class Scripted(LocMemCache):
    """``before`` is called with the name of each method, and may change what is there."""

    before: Callable[[str], Any] = staticmethod(lambda method: None)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        self.before("add")
        return super().add(*args, **kwargs)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        self.before("get")
        return super().get(key, default, version)


@pytest.fixture
def scripted(settings) -> Iterator[Scripted]:
    settings.CACHES = {"default": locmem(Scripted)}
    cache = caches["default"]
    yield cache
    cache.before = lambda method: None
    cache.clear()


def test_lock_that_is_released_before_it_is_read_is_taken(scripted):
    holder, other = share(scripted), share(scripted)
    lock = holder.acquire(lease_seconds=LEASE)

    def release(method: str) -> None:
        if method == "get":
            scripted.before = lambda method: None
            holder.release(lock)

    scripted.before = release
    taken = other.acquire(lease_seconds=LEASE)
    assert taken
    assert not other.breaker.is_open
    assert holder.acquire(lease_seconds=LEASE) is None


class Replica:
    """Reads from a copy that knows nothing for its first ``late`` reads; writes to the primary."""

    def __init__(self, primary: LocMemCache, late: int) -> None:
        self.primary, self.late = primary, late

    def get(self, key: str, default: Any = None) -> Any:
        self.late -= 1
        return default if self.late >= 0 else self.primary.get(key, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.primary, name)


@pytest.mark.parametrize(
    ("late", "taken"),
    [
        pytest.param(1, None, id="soon-there"),
        # It cannot be told from a cache that takes no orders: one more fetch, and no outage.
        pytest.param(2, "", id="still-late"),
    ],
)
def test_replica_that_lags_costs_at_most_a_fetch(scripted, late, taken):
    share(scripted).acquire(lease_seconds=LEASE)
    other = share(Replica(scripted, late))
    assert other.acquire(lease_seconds=LEASE) == taken
    assert other.breaker.is_open is (taken == "")


def test_none_that_is_stored_is_something(scripted):
    shared = share(scripted)
    scripted.set(f"{shared._prefix}:lock", None, None)
    assert shared.acquire(lease_seconds=LEASE) is None
    assert not shared.breaker.is_open


# Whatever a flight has opened


def test_flight_closes_the_connections_of_a_database_cache(configured, settings, tmp_path):
    """On a thread of its own, and no request ends there."""
    databases = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "database")}
    }
    cache = {
        "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}
    }
    code = f"""
import gc, threading, warnings
warnings.simplefilter("error")
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="s" * 50,
    INSTALLED_APPS=["clerk_auth"],
    DATABASES={databases!r},
    CACHES={cache!r},
    CLERK_AUTH={settings.CLERK_AUTH!r},
)
django.setup()
from django.core.management import call_command
from django.db.backends.signals import connection_created
call_command("createcachetable", verbosity=0)
opened = []
def note(connection, **_):
    opened.append(connection)
connection_created.connect(note)
from clerk_auth.verifier import get_verifier
from tests.fleet import keys_for
source = get_verifier().source
for _ in range(3):
    source._desk.look_at = 0.0
    keys_for(source, "ins_server")
    for thread in threading.enumerate():
        if thread.name == "clerk_auth-keys":
            thread.join(10)
gc.collect()
print(len(opened), [c.connection for c in opened if c.connection is not None])
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert (run.stdout.strip(), run.stderr) == ("3 []", "")
    assert configured.fetches == 1


def test_refresh_leaves_the_callers_connections_open(configured, db):
    """An operator's command, or a test, fetches in its own thread."""
    connection.ensure_connection()
    get_verifier().source.refresh()
    assert connection.connection is not None
    assert threading.current_thread() is threading.main_thread()
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
