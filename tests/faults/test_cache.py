"""A Redis that is gone, silent, full or hostile: never an outage, and over when it is back.

A request that knows its key waits for nothing. Without a cache each process fetches for itself,
one time; with it again, the fleet does.
"""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress

import pytest
import redis as redis_py
from django.core.cache import caches
from django.core.signing import Signer

from tests.conftest import PARTY
from tests.faults.conftest import (
    BUSY,
    FORGED,
    NOT_FOUND,
    OK,
    REFRESH_SECONDS,
    UNAVAILABLE,
    Answer,
    BreakableRedis,
    Process,
    expect,
    settle,
)
from tests.issuer_server import answer
from tests.processes import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.redis]

COLD_WAIT, SEARCH_WAIT = 3.0, 1.5
LOCAL_SECONDS = 15
HUNG_SECONDS = 15
LEASE_SECONDS = 6
TIME_OUT = 0.5

DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
JSON = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
TIME_OUTS = {"SOCKET_CONNECT_TIMEOUT": TIME_OUT, "SOCKET_TIMEOUT": TIME_OUT}
BACKENDS = {
    "django-redis-json": (DJANGO_REDIS, {**JSON, **TIME_OUTS}),
    "django-redis-pickle": (DJANGO_REDIS, TIME_OUTS),
    "django-redis-ignoring": (DJANGO_REDIS, {**JSON, **TIME_OUTS, "IGNORE_EXCEPTIONS": True}),
    "django": (DJANGO, {"socket_connect_timeout": TIME_OUT, "socket_timeout": TIME_OUT}),
}
Fault = Callable[[BreakableRedis], AbstractContextManager[None]]


def use(settings, backend: str, url: str) -> None:
    name, options = BACKENDS[backend]
    settings.CACHES = {"default": {"BACKEND": name, "LOCATION": url, "OPTIONS": options}}


@contextmanager
def refused(redis: BreakableRedis) -> Iterator[None]:
    redis.kill()
    yield
    redis.restart()


@contextmanager
def silent(redis: BreakableRedis) -> Iterator[None]:
    redis.suspend()
    try:
        yield
    finally:
        redis.resume()


@contextmanager
def full(redis: BreakableRedis) -> Iterator[None]:
    with redis.client() as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextmanager
def read_only(redis: BreakableRedis) -> Iterator[None]:
    with redis.client() as client:
        client.replicaof("127.0.0.1", 1)
        yield
        client.replicaof("NO", "ONE")


def paused(*, writes_only: bool) -> Fault:
    @contextmanager
    def pause(redis: BreakableRedis) -> Iterator[None]:
        with redis.client() as client:
            # Nothing ends a pause but its time.
            client.client_pause(2000, all=not writes_only)
            yield
            client.set("the pause", "is over")

    return pause


FAULTS: dict[str, Fault] = {
    "refused": refused,
    "silent": silent,
    "full": full,
    "read-only": read_only,
}
PAUSES: dict[str, Fault] = {
    "paused": paused(writes_only=False),
    "writes-paused": paused(writes_only=True),
}


@pytest.mark.parametrize(
    ("fault", "backend"),
    [
        *(
            pytest.param(fault, backend, id=f"{name}-{backend}")
            for name, fault in FAULTS.items()
            for backend in BACKENDS
        ),
        *(
            pytest.param(fault, "django-redis-json", id=f"{name}-django-redis-json")
            for name, fault in PAUSES.items()
        ),
    ],
)
def test_broken_cache_refuses_nobody_and_is_used_again_when_it_works(
    fault, backend, own_redis, issuer, other_issuer, start_process, clock, settings
):
    use(settings, backend, own_redis.url)
    warm = start_process()
    expect(warm.ask(), OK, wait=COLD_WAIT)
    with fault(own_redis):
        clock.ahead += REFRESH_SECONDS
        expect(warm.ask(), OK)
        settle()
        assert (warm.state, issuer.fetches) == ("fresh", 2)
        cold = start_process()
        expect(cold.ask(), OK, wait=COLD_WAIT)
        settle()
        expect(cold.ask(), OK)
        settle()
        assert (cold.state, issuer.fetches) == ("fresh", 3)
        issuer.signers = [other_issuer.acting_as(issuer.issuer, kid="ins_new")]
        expect(warm.ask(), OK, wait=SEARCH_WAIT)
        for number in range(20):
            expect(warm.ask(warm.token(kid=f"ins_{number}")), NOT_FOUND)
        assert issuer.fetches == 4
        assert warm.source.status().is_cache_avoided
    clock.ahead += REFRESH_SECONDS
    for process in (warm, cold):
        expect(process.ask(), OK)
    settle()
    assert issuer.fetches == 5
    expect(start_process().ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == 5
    assert not warm.source.status().is_cache_avoided


@contextmanager
def silent_listener() -> Iterator[str]:
    """A server that accepts connections and never says a word; at the end it hangs up."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


# Silence


def test_silent_redis_without_configured_time_outs_delays_a_cold_process_by_one_default_time_out(
    issuer, start_process, settings
):
    """redis-py waits 5 seconds of its own accord; a request waits for 3 of them."""
    with silent_listener() as first, silent_listener() as second:
        settings.CACHES = {
            "default": {"BACKEND": DJANGO_REDIS, "LOCATION": first},
            "other": {"BACKEND": DJANGO, "LOCATION": second},
        }
        processes = [start_process(alias=alias) for alias in settings.CACHES]

        def ask_until_accepted(process: Process) -> None:
            expect(process.ask(), UNAVAILABLE, wait=COLD_WAIT)
            expect(process.ask(), OK, wait=COLD_WAIT)

        with ThreadPoolExecutor() as pool:
            list(pool.map(ask_until_accepted, processes))
        assert issuer.fetches == 2


def test_call_to_redis_that_never_returns_is_given_up_after_15_seconds(
    own_redis, issuer, start_process, clock, settings
):
    use(settings, "django-redis-json", own_redis.url)
    settings.CACHES["default"]["OPTIONS"] = {"CONNECTION_POOL_KWARGS": {"socket_timeout": None}}
    warm = start_process()
    expect(warm.ask(), OK, wait=COLD_WAIT)
    with silent(own_redis):
        cold = start_process()
        clock.ahead += REFRESH_SECONDS
        expect(warm.ask(), OK)
        expect(cold.ask(), UNAVAILABLE, wait=COLD_WAIT)
        expect(warm.ask(warm.token(kid="ins_new")), BUSY, wait=SEARCH_WAIT)
        assert issuer.fetches == 1
        clock.ahead += HUNG_SECONDS
        expect(warm.ask(), OK)
        expect(cold.ask(), OK, wait=COLD_WAIT)
        wait_until(lambda: warm.state == "fresh")
        assert issuer.fetches == 1 + 2
    settle()
    clock.ahead += REFRESH_SECONDS
    for process in (warm, cold):
        expect(process.ask(), OK)
    settle()
    assert issuer.fetches == 1 + 2 + 1


# Lost and found


@pytest.mark.parametrize(
    ("back_in_time", "fetches"), [(True, 1), (False, 2)], ids=["during-the-fetch", "after-it"]
)
def test_redis_killed_while_a_leader_fetches_costs_at_most_one_more_fetch(
    back_in_time, fetches, own_redis, issuer, start_process, settings
):
    use(settings, "django-redis-json", own_redis.url)
    may_answer = threading.Event()

    def answer_when_told(connection: socket.socket) -> None:
        may_answer.wait(COLD_WAIT)
        answer(issuer.document())(connection)

    issuer.script = answer_when_told
    leader = start_process()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(leader.ask)
        wait_until(lambda: issuer.fetches == 1)
        own_redis.kill()
        if back_in_time:
            own_redis.restart()
        may_answer.set()
        expect(asked.result(), OK, wait=COLD_WAIT)
    settle()
    if not back_in_time:
        own_redis.restart()
    for _ in range(3):
        expect(start_process().ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == fetches


def test_redis_down_and_up_again_refuses_no_valid_request_and_ends_without_a_herd(
    own_redis, issuer, start_process, clock, settings
):
    use(settings, "django-redis-json", own_redis.url)
    fleet = [start_process() for _ in range(6)]
    token = issuer.signer.token(azp=PARTY, now=clock.now(), expires_in=3600)
    for process in fleet:
        expect(process.ask(token), OK, wait=COLD_WAIT)
    with serving(fleet, token) as answers:
        own_redis.kill()
        clock.ahead += REFRESH_SECONDS
        wait_until(lambda: all(process.state == "fresh" for process in fleet))
        assert issuer.fetches == 1 + len(fleet)
        own_redis.restart()
        clock.ahead += REFRESH_SECONDS
        wait_until(lambda: any(process.state == "fresh" for process in fleet))
        settle()
        clock.ahead += LOCAL_SECONDS
        wait_until(lambda: all(process.state == "fresh" for process in fleet))
    assert issuer.fetches == 1 + len(fleet) + 1
    for each in answers:
        expect(each, OK)


@contextmanager
def serving(fleet: list[Process], token: str) -> Iterator[list[Answer]]:
    """Have every process asked a hundred times a second, and collect the answers."""
    answers: list[Answer] = []
    is_over = threading.Event()

    def serve(process: Process) -> None:
        while not is_over.wait(0.01):
            answers.append(process.ask(token))

    with ThreadPoolExecutor(len(fleet)) as pool:
        served = [pool.submit(serve, process) for process in fleet]
        try:
            yield answers
        finally:
            is_over.set()
    for future in served:
        future.result()


@pytest.mark.parametrize("backend", BACKENDS)
def test_flushed_redis_costs_one_fetch_and_the_processes_that_hold_keys_nothing(
    backend, own_redis, issuer, start_process, clock, settings
):
    use(settings, backend, own_redis.url)
    warm = start_process()
    expect(warm.ask(), OK, wait=COLD_WAIT)
    with own_redis.client() as client:
        client.flushall()
    clock.ahead += LOCAL_SECONDS
    expect(warm.ask(), OK)
    settle()
    assert issuer.fetches == 1
    for _ in range(3):
        expect(start_process().ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == 2


def test_local_memory_cache_serves_one_process_through_refresh_and_rotation(
    issuer, other_issuer, start_process, clock, settings
):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    process = start_process()
    expect(process.ask(), OK, wait=COLD_WAIT)
    clock.ahead += REFRESH_SECONDS
    expect(process.ask(), OK)
    settle()
    assert (process.state, issuer.fetches) == ("fresh", 2)
    issuer.signers = [other_issuer.acting_as(issuer.issuer, kid="ins_new")]
    expect(process.ask(), OK, wait=SEARCH_WAIT)
    caches["default"].clear()
    expect(process.ask(), OK)
    for number in range(20):
        expect(process.ask(process.token(kid=f"ins_{number}")), NOT_FOUND, wait=SEARCH_WAIT)
    assert issuer.fetches == 3


# What others write under our keys

WRONG_TYPE = ["a list, and no string"]


@pytest.fixture
def plant(redis, issuer):
    """Put a value under a key of ours: bytes as they are, text as the cache would write it."""
    with redis_py.Redis.from_url(redis.url) as client:

        def plant(process: Process, name: str, value: object) -> bytes | None:
            key = f"{process.shared._prefix}:{name}"
            raw_key = caches["default"].make_key(key)
            before = client.get(raw_key)
            client.delete(raw_key)
            if value is WRONG_TYPE:
                client.rpush(raw_key, *value)
            elif isinstance(value, bytes):
                client.set(raw_key, value)
            elif value is not None:
                caches["default"].set(key, value, None)
            return before

        yield plant


def forgeries(forged: str, salt: str) -> dict[str, object]:
    return {
        "wrong-type": WRONG_TYPE,
        "foreign-bytes": b"\x00\xff\xfe",
        "empty": b"",
        "number": b"7",
        "pickle": pickle.dumps(json.loads(forged)),
        "text": "hello",
        "unsigned": forged,
        "signed-by-others": Signer(key="x" * 50, salt=salt).sign(forged),
        "signature-cut-off": f"{forged}:",
        "huge": "x" * 1_000_000,
    }


@pytest.mark.parametrize("kind", forgeries("{}", ""))
@pytest.mark.parametrize("backend", BACKENDS)
def test_document_that_we_did_not_sign_is_never_used_and_soon_replaced(
    backend, kind, redis, issuer, other_issuer, start_process, clock, settings, plant
):
    use(settings, backend, redis.url)
    warm = start_process()
    expect(warm.ask(), OK, wait=COLD_WAIT)
    held = warm.held
    intruder = other_issuer.acting_as(issuer.issuer, kid=issuer.signer.kid)
    forged = json.dumps({"generation": 9**15, "fetched_at": clock.now(), **intruder.jwks})
    plant(warm, "document", forgeries(forged, warm.shared._prefix)[kind])
    clock.ahead += LOCAL_SECONDS
    expect(warm.ask(), OK)
    settle()
    assert (warm.held, issuer.fetches) == (held, 1)
    for _ in range(3):
        cold = start_process()
        expect(cold.ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == 2
    for process in (warm, cold):
        expect(process.ask(process.token(intruder)), FORGED, wait=SEARCH_WAIT)


def test_older_document_of_ours_never_takes_a_process_back(
    issuer, other_issuer, start_process, clock, plant
):
    warm = start_process()
    expect(warm.ask(), OK, wait=COLD_WAIT)
    old = issuer.signer
    issuer.signers = [other_issuer.acting_as(issuer.issuer, kid="ins_new")]
    older = plant(warm, "document", None)
    clock.ahead += REFRESH_SECONDS
    expect(warm.ask(), OK, wait=SEARCH_WAIT)
    settle()
    held = warm.held
    plant(warm, "document", older)
    clock.ahead += LOCAL_SECONDS
    expect(warm.ask(), OK)
    settle()
    assert warm.held == held
    # Whoever holds the newer document has brought it back.
    expect(start_process().ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == 2
    # A process that holds none takes the older one, and looks further for the newer key.
    plant(warm, "document", older)
    expect(start_process().ask(), OK, wait=COLD_WAIT + SEARCH_WAIT)
    assert issuer.fetches == 3
    expect(warm.ask(warm.token(old)), NOT_FOUND, wait=SEARCH_WAIT)


@pytest.mark.parametrize(
    ("name", "value", "delays"),
    [
        pytest.param("lock", "somebody", True, id="lock-that-does-not-end"),
        pytest.param("lock", WRONG_TYPE, True, id="lock-of-the-wrong-type"),
        pytest.param("failure", '["status", 1, 1e18]', False, id="failure-that-does-not-end"),
        pytest.param("failure", WRONG_TYPE, False, id="failure-of-the-wrong-type"),
        pytest.param("failure", b"\x00\xff\xfe", False, id="failure-of-foreign-bytes"),
        pytest.param("cooldown:key_id", "never", False, id="cooldown-that-does-not-end"),
    ],
)
def test_foreign_value_under_another_key_of_ours_stops_nobody_for_longer_than_a_lease(
    name, value, delays, issuer, start_process, clock, plant
):
    first, *others = [start_process() for _ in range(4)]
    plant(first, name, value)
    if delays:
        expect(first.ask(), UNAVAILABLE, wait=COLD_WAIT)
        clock.ahead += LEASE_SECONDS
    for process in (first, *others):
        expect(process.ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == 1


@pytest.mark.parametrize("value", ["never", WRONG_TYPE, b"\x00\xff\xfe"])
def test_foreign_cooldown_delays_a_new_key_until_the_next_refresh_at_most(
    value, issuer, other_issuer, start_process, clock, plant
):
    process = start_process()
    old = issuer.signer
    expect(process.ask(), OK, wait=COLD_WAIT)
    plant(process, "cooldown:key_id", value)
    issuer.signers = [other_issuer.acting_as(issuer.issuer, kid="ins_new")]
    assert process.ask().code in (OK, NOT_FOUND)
    clock.ahead += REFRESH_SECONDS
    expect(process.ask(process.token(old)), OK)
    settle()
    expect(process.ask(), OK)
    assert issuer.fetches == 2


# Somebody who writes for as long as they like

ATTACK_SECONDS = 0.02
JUNK = [
    b"",
    b"\x00\xff\xfe",
    b"7",
    b"-1",
    b"NaN",
    b"[" * 10_000,
    b"9" * 10_000,
    b'"\x1b[31mowned\n"',
    pickle.dumps(float("nan")),
    pickle.dumps(10**400),
    WRONG_TYPE,
]


@contextmanager
def attacker(redis_url: str, process: Process, names: list[str], clock) -> Iterator[None]:
    """Write under these names, again and again, and each time something else."""
    is_over = threading.Event()
    keys = {name: caches["default"].make_key(f"{process.shared._prefix}:{name}") for name in names}

    def write() -> None:
        number = 0
        with redis_py.Redis.from_url(redis_url) as client:
            while not is_over.wait(ATTACK_SECONDS):
                number += 1
                for name, key in keys.items():
                    value = JUNK[number % len(JUNK)]
                    if name == "failure" and number % 3:
                        failure = json.dumps(["status", 16, clock.now() + 131])
                        value = json.dumps(failure).encode()
                    elif name == "lock" and number % 3:
                        value = f'"somebody {number}"'.encode()
                    with client.pipeline() as pipeline:
                        pipeline.delete(key)
                        if value is WRONG_TYPE:
                            pipeline.rpush(key, *value)
                        else:
                            pipeline.set(key, value)
                        pipeline.execute()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        wait_until(lambda: redis_py.Redis.from_url(redis_url).exists(*keys.values()))
        yield
    finally:
        is_over.set()
        thread.join()
        # Nothing that is written here ever ends, and other tests look for what is left.
        with redis_py.Redis.from_url(redis_url) as client:
            client.delete(*keys.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["lock"], id="lock"),
        pytest.param(["failure"], id="failure"),
        pytest.param(
            ["document", "lock", "failure", "cooldown:key_id", "cooldown:signature"], id="all"
        ),
    ],
)
def test_process_without_keys_gets_them_however_often_somebody_writes(
    names, backend, redis, issuer, start_process, clock, settings, caplog
):
    use(settings, backend, redis.url)
    process = start_process()
    with attacker(redis.url, process, names, clock):
        started_at = time.monotonic()
        codes = []
        while codes[-1:] != [OK] and time.monotonic() - started_at < 20:
            codes.append(process.ask().code)
            time.sleep(0.05)
        seconds = time.monotonic() - started_at
        assert set(codes[:-1]) <= {UNAVAILABLE}
        assert codes[-1] == OK
        assert seconds < LEASE_SECONDS + SEARCH_WAIT
        for _ in range(20):
            expect(process.ask(), OK)
    assert "owned" not in caplog.text + json.dumps(process.source.status().as_dict())
