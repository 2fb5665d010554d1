"""The shared document: who can write to the cache cannot put a key in."""

from __future__ import annotations

import json
import pickle

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.signing import Signer

from clerk_auth import metrics
from clerk_auth.conf import read_configs
from clerk_auth.core.errors import FETCH_REASONS, KeysUnavailable
from clerk_auth.core.keys import MAX_KEYS, KeySet, parse_jwks
from clerk_auth.issuer.development import LocalIssuer
from clerk_auth.jwks import fleet as jwks_fleet
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.held import Clock, Failure, Snapshot
from tests.conftest import NOW
from tests.core.conftest import make_jwk
from tests.fleet import ISSUER, JWKS_URL, Fleet, ScriptedIssuer, keys_for

pytestmark = pytest.mark.integration

# The time to fetch, and a second.
LEASE_SECONDS = 5


@pytest.fixture
def fleet(local_issuer: LocalIssuer, clock) -> Fleet:
    return Fleet(ScriptedIssuer(local_issuer), clock)


@pytest.fixture
def shared(fleet: Fleet) -> jwks_fleet.Fleet:
    return fleet.shared()


@pytest.fixture
def snapshot(local_issuer: LocalIssuer) -> Snapshot:
    return Snapshot(KeySet((local_issuer.verifying_key,)), NOW * 1000, NOW)


def test_document_comes_back_as_it_was_stored(shared, snapshot):
    shared.store(snapshot)
    found = shared.load()
    assert found.key_set.keys == snapshot.key_set.keys
    assert (found.generation, found.fetched_at) == (snapshot.generation, snapshot.fetched_at)


def test_largest_set_comes_back_too(shared):
    key_set = parse_jwks(json.dumps({"keys": [*map(make_jwk, range(MAX_KEYS))]}).encode())
    shared.store(Snapshot(key_set, NOW * 1000, NOW))
    assert shared.load().key_set.keys == key_set.keys


def test_cache_keys_hold_nothing_but_a_hash(shared, snapshot, fleet):
    shared.store(snapshot)
    shared.acquire(lease_seconds=6)
    shared.reserve("key_id")
    prefixes = {
        key.rpartition(":" if "cooldown" not in key else ":cooldown")[0]
        for key in fleet.cache.values
    }
    assert len(prefixes) == 1
    prefix = prefixes.pop()
    assert prefix.startswith("clerk_auth:")
    assert len(prefix) == len("clerk_auth:") + 32


@pytest.mark.parametrize(
    "other", [{"secret_key": "t" * 50}, {"issuer": "https://clerk.other.example"}]
)
def test_other_secret_or_issuer_sees_no_document_of_ours(shared, snapshot, fleet, other):
    shared.store(snapshot)
    assert fleet.shared(**other).load() is None


def hostile_documents(jwks: dict[str, object]) -> dict[str, object]:
    document = {"generation": 9**15, "fetched_at": NOW, **jwks}
    return {
        "unsigned": json.dumps(document),
        "signed with another key": Signer(key="x" * 50, salt="clerk_auth").sign(
            json.dumps(document)
        ),
        "signature cut off": json.dumps(document) + ":",
        "bytes": b"\x80\x04",
        "pickle": pickle.dumps(document),
        "number": 7,
        "list": [1, 2],
        "dict": document,
        "empty": "",
        "huge": "x" * 600_000,
    }


@pytest.mark.parametrize("kind", hostile_documents({}))
def test_document_that_we_did_not_sign_is_never_used(shared, fleet, local_issuer, kind, snapshot):
    shared.store(snapshot)
    fleet.cache.values[fleet.cache.find("document")] = (
        hostile_documents(local_issuer.jwks)[kind],
        NOW + 100,
    )
    assert shared.load() is None
    totals = metrics.totals()
    assert (
        totals["jwks_documents_refused", "signature"]
        + totals["jwks_documents_refused", "malformed"]
        == 1
    )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"generation": 1, "fetched_at": NOW},
        {"generation": "x", "fetched_at": NOW, "keys": []},
        {"generation": 1, "fetched_at": None, "keys": "k"},
        {"generation": 1, "fetched_at": NOW, "keys": [{"kty": "oct"}]},
    ],
)
def test_signed_document_of_another_shape_is_not_used(shared, fleet, snapshot, document):
    shared.store(snapshot)
    key = fleet.cache.find("document")
    fleet.cache.values[key] = shared._signer.sign(json.dumps(document)), NOW + 100
    assert shared.load() is None
    assert metrics.totals()["jwks_documents_refused", "malformed"] == 1


@pytest.mark.parametrize(("ahead", "used"), [(59, True), (60, True), (61, False)])
def test_document_dated_ahead_is_ignored_and_counted(shared, snapshot, clock, ahead, used):
    shared.store(snapshot)
    clock.time -= ahead
    assert (shared.load() is not None) is used
    assert metrics.totals()["jwks_documents_refused", "dated_ahead"] == (not used)


@pytest.mark.parametrize(("age", "used"), [(86399, True), (86400, False), (86401, False)])
def test_document_past_max_age_is_not_used(shared, fleet, snapshot, clock, age, used):
    shared.store(snapshot)
    key = fleet.cache.find("document")
    fleet.cache.values[key] = fleet.cache.values[key][0], NOW + 10**9
    clock.time += age
    assert (shared.load() is not None) is used


def test_refused_document_is_logged_once_until_it_changes(shared, fleet, snapshot, caplog):
    shared.store(snapshot)
    key = fleet.cache.find("document")
    good = fleet.cache.values[key]
    fleet.cache.values[key] = "forged", NOW + 100
    for _ in range(5):
        shared.load()
    assert caplog.text.count("shared_document_refused reason=signature") == 1
    fleet.cache.values[key] = good
    shared.load()
    fleet.cache.values[key] = "forged", NOW + 100
    shared.load()
    assert caplog.text.count("shared_document_refused reason=signature") == 2


def undecodable(method: str) -> None:
    if method == "get":
        raise UnicodeDecodeError("utf-8", b"\x80", 0, 1, "invalid start byte")


def test_lock_that_cannot_be_read_is_theirs(fleet, shared):
    fleet.shared().acquire(lease_seconds=6)
    fleet.cache.fail = undecodable
    assert shared.acquire(lease_seconds=6) is None
    assert not shared.breaker.is_open


def test_unreadable_document_is_replaced_and_closes_nothing(fleet, shared, snapshot):
    fleet.cache.fail = undecodable
    assert shared.load() is None
    assert shared.acquire(lease_seconds=6)
    assert not shared.breaker.is_open
    assert metrics.totals()["jwks_documents_refused", "unreadable"] == 1


def test_cache_that_refuses_at_once_is_no_unreadable_document(fleet, shared):
    def refuse(method: str) -> None:
        raise ConnectionError

    fleet.cache.fail = refuse
    assert shared.load() is None
    assert shared.acquire(lease_seconds=6) == ""
    assert shared.breaker.is_open
    assert metrics.totals()["jwks_documents_refused", "unreadable"] == 0


def test_slow_read_that_fails_keeps_off_the_cache(fleet, shared, clock):
    def time_out(method: str) -> None:
        clock.time += 1
        raise TimeoutError

    fleet.cache.fail = time_out
    assert shared.load() is None
    assert shared.breaker.is_open


def test_breaker_doubles_to_half_a_minute_and_closes_on_success(fleet, shared, clock):
    def refuse(method: str) -> None:
        raise ConnectionError

    fleet.cache.fail = refuse
    pauses = []
    for _ in range(6):
        shared.store_failure(None)
        pauses.append(shared.breaker._avoid_until - clock.time)
        clock.time = shared.breaker._avoid_until
    assert pauses == [2, 4, 8, 16, 30, 30]
    fleet.cache.fail = lambda method: None
    assert shared.acquire(lease_seconds=6)
    fleet.cache.fail = refuse
    shared.store_failure(None)
    assert shared.breaker._avoid_until - clock.time == 2


def test_lock_is_released_by_its_holder_alone(shared, clock):
    first = shared.acquire(lease_seconds=6)
    assert shared.acquire(lease_seconds=6) is None
    clock.time += 6
    second = shared.acquire(lease_seconds=6)
    shared.release(first)
    assert shared.acquire(lease_seconds=6) is None
    shared.release(second)
    assert shared.acquire(lease_seconds=6)


@pytest.mark.parametrize(("after", "ours"), [(29, False), (30, True), (31, True)])
def test_cooldown_is_reserved_once(shared, clock, after, ours):
    assert shared.reserve("key_id") == 0
    clock.time += after
    assert (shared.reserve("key_id") == 0) is ours


def test_refused_reservation_says_when_to_try_again(shared, clock):
    shared.reserve("key_id")
    clock.time += 10
    assert shared.reserve("key_id") == 20
    assert shared.reserve("signature") == 0


HOSTILE = {
    "none": None,
    "true": True,
    "list": [],
    "dict": {"a": 1},
    "bytes": b"\x00\xff\xfe",
    "number": 7,
    "negative": -(10**12),
    "huge": 10**400,
    "float": 1e308,
    "nan": float("nan"),
    "infinite": float("inf"),
    "empty": "",
    "text": "\x1b[31mowned\x1b[0m\nclerk_auth.keys_recovered",
    "long": "9" * 5_000,
    "deep": "[" * 100_000,
    "nan-text": "nan:1",
    "infinite-text": "inf:1",
    "huge-text": "1" + "0" * 400 + ":1",
    "future-text": "9e300:1",
    "failure-forged": json.dumps(["status\n\x1b[31mowned", 1, NOW + 60]),
    "failure-negative": json.dumps(["status", -5, NOW + 60]),
    "failure-zero": json.dumps(["status", 0, NOW + 60]),
    "failure-many": json.dumps(["status", 17, NOW + 60]),
    "failure-huge": json.dumps(["status", 10**80, NOW + 60]),
    "failure-half": json.dumps(["status", 1.5, NOW + 60]),
    "failure-true": json.dumps(["status", True, NOW + 60]),
    "failure-nan": '["status", 1, NaN]',
    "failure-infinite": '["status", 1, Infinity]',
    "failure-late": json.dumps(["status", 1, NOW + 133]),
    "failure-ancient": json.dumps(["status", 1, NOW - 361]),
    "failure-in-text": json.dumps(["status", 1, str(NOW + 60)]),
    "failure-list": json.dumps([["status"], 1, NOW + 60]),
    "failure-padded": json.dumps(["status", 1, NOW + 60]) + " " * 200,
}
every_hostile_value = pytest.mark.parametrize("kind", HOSTILE)


@every_hostile_value
def test_hostile_failure_is_none(shared, fleet, kind):
    fleet.cache.set(f"{shared._prefix}:failure", HOSTILE[kind], 100)
    assert shared.load_failure() is None


@every_hostile_value
def test_hostile_cooldown_is_obeyed_for_a_second_and_no_longer_than_ours(shared, fleet, kind):
    fleet.cache.set(f"{shared._prefix}:cooldown:key_id", HOSTILE[kind], 100)
    assert shared.reserve("key_id") == 1


@every_hostile_value
def test_hostile_lock_is_held_for_a_lease_and_not_kept(shared, fleet, clock, kind):
    fleet.cache.set(f"{shared._prefix}:lock", HOSTILE[kind], 10**9)
    assert shared.acquire(lease_seconds=6) is None
    assert len(str(shared._holder)) < 100
    shared.release("not ours")
    clock.time += 7
    assert shared.acquire(lease_seconds=6)


@every_hostile_value
def test_new_process_gets_keys_whatever_is_in_the_cache(shared, fleet, clock, kind, caplog):
    """And nothing that it says holds what was written there."""
    names = ("document", "lock", "failure", "cooldown:key_id", "cooldown:signature")
    started_at, process, codes = clock.time, fleet.source(), []
    while codes[-1:] != ["ok"] and clock.time < started_at + 60:
        for name in names:
            value = HOSTILE[kind] if name != "lock" else f"{kind}{clock.time}"
            fleet.cache.set(f"{shared._prefix}:{name}", value, 10**9)
        codes.append(_ask(process))
        clock.time += 0.1
    assert codes[-1] == "ok"
    assert clock.time - started_at <= LEASE_SECONDS + 0.5
    assert "owned" not in caplog.text + json.dumps([codes, process.status().as_dict()])


def _ask(process: CachedKeySource) -> str:
    try:
        keys_for(process, "any")
    except KeysUnavailable as error:
        return f"{error.code} {error.reason}"
    return "ok"


@pytest.mark.parametrize("value", ["text", None, [], 10**12, -(10**12)])
def test_foreign_cooldown_stops_nothing_for_longer_than_ours(shared, fleet, value):
    shared.reserve("key_id")
    key = fleet.cache.find("cooldown:key_id")
    fleet.cache.values[key] = value, NOW + 10**9
    assert 1 <= shared.reserve("key_id") <= 30


@pytest.mark.parametrize(
    "text", [b"\x00", "", "7", "[]", '["a", 1e999, 2]', '["a", 1, "x"]', "[" * 100_000, 5, None]
)
def test_foreign_failure_is_none(shared, fleet, text):
    fleet.cache.set(f"{shared._prefix}:failure", text, 100)
    assert shared.load_failure() is None


@pytest.mark.parametrize(("ahead", "believed"), [(131, True), (132, True), (133, False)])
def test_failure_that_none_of_ours_could_be_is_not_believed(shared, fleet, ahead, believed):
    fleet.cache.set(f"{shared._prefix}:failure", json.dumps(["status", 16, NOW + ahead]), 100)
    failure = shared.load_failure()
    assert (failure is not None) is believed
    assert failure is None or failure.count <= 16


@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("reason", FETCH_REASONS)
def test_failure_comes_back_as_it_was_stored(shared, reason, count):
    failure = Failure(reason, count, NOW + 72.5)
    shared.store_failure(failure)
    assert shared.load_failure() == failure
    shared.store_failure(None)
    assert shared.load_failure() is None


def test_lock_that_outlives_its_lease_is_taken_over(shared, fleet, clock):
    fleet.cache.set(f"{shared._prefix}:lock", "somebody's", 10**9)
    assert shared.acquire(lease_seconds=6) is None
    clock.time += 6
    assert shared.acquire(lease_seconds=6) is None
    clock.time += 1
    assert shared.acquire(lease_seconds=6)


def test_local_memory_cache_will_do_for_one_process(local_issuer):
    cache = LocMemCache("clerk_auth-tests", {})
    shared = _shared_in(cache)
    _exercise(shared, local_issuer)
    cache.clear()


@pytest.mark.redis
@pytest.mark.parametrize(
    "options",
    [
        {
            "BACKEND": "django_redis.cache.RedisCache",
            "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
        },
        {"BACKEND": "django_redis.cache.RedisCache"},
        {"BACKEND": "django.core.cache.backends.redis.RedisCache"},
    ],
    ids=["django-redis-json", "django-redis", "django"],
)
def test_real_redis_keeps_the_same_contract(redis, settings, local_issuer, options):
    settings.CACHES = {"default": {"LOCATION": redis.url, "KEY_PREFIX": "shared-tests", **options}}
    _exercise(_shared_in(caches["default"]), local_issuer)
    caches["default"].clear()


def _shared_in(cache) -> jwks_fleet.Fleet:
    config = read_configs({"ISSUER": ISSUER, "JWKS_URL": JWKS_URL}, debug=False)["default"]
    return jwks_fleet.Fleet(lambda: cache, config, secret_key="s" * 50, clock=Clock())


def _exercise(shared: jwks_fleet.Fleet, signer: LocalIssuer) -> None:
    now = Clock().now()
    assert shared.load() is None
    shared.store(Snapshot(KeySet((signer.verifying_key,)), 7, now))
    assert shared.load().generation == 7
    lock = shared.acquire(lease_seconds=6)
    assert lock
    assert shared.acquire(lease_seconds=6) is None
    shared.release(lock)
    assert shared.acquire(lease_seconds=6)
    assert shared.reserve("key_id") == 0
    assert 28 < shared.reserve("key_id") <= 30
    assert shared.load_failure() is None
