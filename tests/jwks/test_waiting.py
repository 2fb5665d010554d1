"""Waiting in a thread and in a coroutine: one text, so one contract, run by both drivers.

An issuer that answers when a test says so lets one count who waits, and what for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clerk_auth import metrics
from clerk_auth.conf import OBSERVE
from clerk_auth.core.errors import ClerkAuthError
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.jwks.cached import _spawn
from clerk_auth.jwks.held import KEY_ID, SIGNATURE, Clock
from clerk_auth.jwks.waiting import WOKEN_AT_ONCE, End, afinish, finish
from clerk_auth.verifier import Verifier
from tests.conftest import ISSUER
from tests.fleet import Fleet, ScriptedIssuer
from tests.operations import count_operations
from tests.processes import wait_until

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 10


class SlowIssuer(ScriptedIssuer):
    """Answers a fetch once it is ``released``."""

    def __init__(self, *signers: Any) -> None:
        super().__init__(*signers)
        self.released = threading.Event()
        self.during = lambda: self.released.wait(PATIENCE_SECONDS)

    def is_asked(self, fetches: int) -> bool:
        return self.fetches == fetches


class Service:
    """One process: a verifier, and what the tests look at of its source."""

    def __init__(self, signer: Any) -> None:
        self.signer = signer
        self.issuer = SlowIssuer(signer)
        self.fleet = Fleet(self.issuer, Clock())
        self.source = self.fleet.source(spawn=_spawn)
        policy = Policy(issuers=frozenset({ISSUER}))
        self.verifier = Verifier(self.source, policy, cache_size=4096)

    def warm_up(self) -> None:
        self.issuer.released.set()
        self.verifier.verify(self.signer.token())
        self.issuer.released.clear()

    def limit(self, seconds: float) -> None:
        """Let requests wait for no longer, whatever for."""
        self.source._wait_seconds = dict.fromkeys(self.source._wait_seconds, seconds)

    def count_free_places(self, purpose: str) -> int:
        return self.source._desk.places[purpose]._value

    def count_futures(self) -> int:
        flight = self.source._desk.flight
        return len(flight.done._futures) if flight else 0


class InThreads:
    """Each request has a thread of its own, which waits."""

    def __init__(self) -> None:
        self._pools: list[ThreadPoolExecutor] = []

    def start(self, verifier: Verifier, tokens: list[str]) -> list[Future[Any]]:
        pool = ThreadPoolExecutor(len(tokens))
        self._pools.append(pool)
        return [pool.submit(verifier.verify, token) for token in tokens]

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown()


class InLoop:
    """All requests are coroutines of one loop, which runs in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop or asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def start(self, verifier: Verifier, tokens: list[str]) -> list[Future[Any]]:
        return [
            asyncio.run_coroutine_threadsafe(verifier.averify(token), self.loop) for token in tokens
        ]

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def make_uvloop() -> InLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    return InLoop(uvloop.new_event_loop())


DRIVERS = {"threads": InThreads, "loop": InLoop, "uvloop": make_uvloop}


@pytest.fixture(params=DRIVERS)
def driver(request) -> Iterator[Any]:
    driver = DRIVERS[request.param]()
    yield driver
    driver.close()


@pytest.fixture
def loop() -> Iterator[InLoop]:
    loop = InLoop()
    yield loop
    loop.close()


@pytest.fixture
def service(local_issuer) -> Iterator[Service]:
    service = Service(local_issuer)
    service.limit(6 * PATIENCE_SECONDS)  # so that no time-out stands in for an end
    yield service
    service.issuer.released.set()


def code_of(asked: Future[Any]) -> str:
    try:
        asked.result(PATIENCE_SECONDS)
    except ClerkAuthError as error:
        return error.code
    return "ok"


def count_codes(asked: list[Future[Any]]) -> Counter[str]:
    return Counter(map(code_of, asked))


def count_waiting(asked: list[Future[Any]]) -> int:
    return sum(not future.done() for future in asked)


# One contract


def test_first_requests_share_one_fetch(service, driver):
    asked = driver.start(service.verifier, [service.signer.token(f"user_{n}") for n in range(100)])
    wait_until(lambda: service.issuer.is_asked(1))
    assert count_waiting(asked) == 100
    service.issuer.released.set()
    assert count_codes(asked) == {"ok": 100}
    assert service.issuer.fetches == 1
    assert service.count_futures() == 0


def test_two_unknown_key_ids_wait_and_498_are_answered_at_once(service, driver):
    service.warm_up()
    signers = [service.signer.acting_as(ISSUER, kid=f"ins_{n}") for n in range(500)]
    asked = driver.start(service.verifier, [signer.token() for signer in signers])
    wait_until(lambda: service.issuer.is_asked(2) and count_waiting(asked) == 2)
    assert count_codes([one for one in asked if one.done()]) == {"keys_busy": 498}
    assert service.count_free_places(KEY_ID) == 0
    service.issuer.released.set()
    assert count_codes(asked) == {"keys_busy": 498, "key_not_found": 2}
    assert service.issuer.fetches == 2
    assert service.count_free_places(KEY_ID) == 2


def test_one_bad_signature_waits_and_499_are_answered_at_once(service, driver, other_issuer):
    service.warm_up()
    forger = other_issuer.acting_as(ISSUER, kid=service.signer.kid)
    asked = driver.start(service.verifier, [forger.token(f"user_{n}") for n in range(500)])
    wait_until(lambda: service.issuer.is_asked(2) and count_waiting(asked) == 1)
    service.issuer.released.set()
    assert count_codes(asked) == {"signature_invalid": 500}
    assert service.issuer.fetches == 2
    assert service.count_free_places(SIGNATURE) == 1


@pytest.mark.parametrize("kid", ["ins_local", "ins_added"])
def test_key_that_comes_while_one_waits_is_accepted(service, driver, other_issuer, kid):
    service.warm_up()
    new = other_issuer.acting_as(ISSUER, kid=service.signer.kid if kid == "ins_local" else kid)
    asked = driver.start(service.verifier, [new.token()])
    wait_until(lambda: service.issuer.is_asked(2))
    service.issuer.signers = [new]
    service.issuer.released.set()
    assert count_codes(asked) == {"ok": 1}


def test_request_that_has_no_time_left_is_answered_and_gives_its_place_back(service, driver):
    service.warm_up()
    service.limit(0.1)
    stranger = service.signer.acting_as(ISSUER, kid="ins_stranger")
    assert count_codes(driver.start(service.verifier, [stranger.token()])) == {"keys_busy": 1}
    assert service.count_free_places(KEY_ID) == 2
    assert service.count_futures() == 0
    assert not service.source._desk.flight.done.is_set()


def test_cold_request_that_has_no_time_left_is_answered_and_the_next_is_served(service, driver):
    service.limit(0.1)
    asked = driver.start(service.verifier, [service.signer.token()] * 3)
    assert count_codes(asked) == {"keys_unavailable": 3}
    assert service.count_futures() == 0
    service.issuer.released.set()
    service.source._desk.flight.done.wait(PATIENCE_SECONDS)
    assert count_codes(driver.start(service.verifier, [service.signer.token()])) == {"ok": 1}
    assert service.issuer.fetches == 1


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_token_is_refused_with_its_code_and_counted_once(service, loop, bad, is_known):
    if is_known:
        service.warm_up()
    service.issuer.released.set()
    payload = service.signer.session_payload(azp="https://app.example.com", aud="api")
    policy = Policy(
        issuers=frozenset({ISSUER}),
        authorized_parties=frozenset({"https://app.example.com"}),
        audiences=frozenset({"api"}),
    )
    verifier = Verifier(service.source, policy, cache_size=8)
    token = bad.make(service.signer, payload)
    seen = []
    for start in (InThreads().start, loop.start):
        metrics.reset()
        (asked,) = start(verifier, [token])
        with pytest.raises(ClerkAuthError) as caught:
            asked.result(PATIENCE_SECONDS)
        error = caught.value
        seen.append((error.code, error.claim, error.reason, error.facts))
        assert metrics.totals()["jwt_verifications_failure", bad.code, "enforce"] == 1
    assert seen[0] == seen[1]


def test_both_ways_return_the_same_and_share_the_tokens_they_have_verified(service, caplog):
    caplog.set_level(logging.WARNING, "clerk_auth")  # to log takes locks
    service.warm_up()
    token = service.signer.token("user_1", o={"id": "org_1", "rol": "admin"})
    first = asyncio.run(service.verifier.averify(token))
    second = service.verifier.verify(token)
    for claims in (first, second):
        assert (claims.user_id, claims.payload) == ("user_1", second.payload)
        assert claims.organization.role == "org:admin"
    other = service.signer.token("user_2")
    service.verifier.verify(other)

    def verify_again() -> None:
        with contextlib.suppress(StopIteration):
            service.verifier.averify(other).send(None)

    assert count_operations(verify_again) == {"sha256": 1, "wrapper": 1}
    assert metrics.totals()["jwt_verifications_success", "enforce"] == 5


# Steps


def never_ending(end: End, given_back: list[str]):
    try:
        yield end, 60.0
    finally:
        given_back.append("place")


class Interrupted(BaseException):
    pass


def test_steps_are_closed_at_once_when_their_thread_is_interrupted():
    given_back: list[str] = []
    end = End()
    end.wait = lambda seconds: (_ for _ in ()).throw(Interrupted)
    with pytest.raises(Interrupted) as caught:
        finish(never_ending(end, given_back))
    # Although the traceback keeps the frames that held them.
    assert (given_back, caught.tb is not None) == (["place"], True)


def test_steps_are_closed_at_once_when_their_coroutine_is_cancelled():
    given_back: list[str] = []

    async def cancel() -> BaseException:
        task = asyncio.create_task(afinish(never_ending(End(), given_back)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert given_back == ["place"]
        return caught.value

    assert asyncio.run(cancel())


def test_steps_that_need_no_wait_suspend_nothing():
    def steps(seconds: float):
        return (yield end, seconds)

    for is_set, seconds in ((False, 0.0), (True, 0.0), (True, 60.0)):
        end = End()
        if is_set:
            end.set()

        async def check(seconds=seconds) -> bool:
            return await afinish(steps(seconds))

        async def drive(coroutine) -> bool:
            with pytest.raises(StopIteration) as caught:
                coroutine.send(None)
            return caught.value.value

        assert asyncio.run(drive(check())) is is_set
        assert end._futures == {}


@pytest.mark.parametrize("kind", ["known", "cold", "unknown", "forged"])
def test_observing_suspends_nothing_and_says_what_it_says_in_a_thread(service, other_issuer, kind):
    if kind != "cold":
        service.warm_up()
    signer = {
        "unknown": service.signer.acting_as(ISSUER, kid="ins_stranger"),
        "forged": other_issuer.acting_as(ISSUER, kid=service.signer.kid),
    }.get(kind, service.signer)
    token = signer.token()

    def observe() -> str:
        try:
            service.verifier.verify(token, mode=OBSERVE)
        except ClerkAuthError as error:
            return error.code
        return "ok"

    async def aobserve() -> str:
        try:
            service.verifier.averify(token, mode=OBSERVE).send(None)
        except StopIteration:
            return "ok"
        except ClerkAuthError as error:
            return error.code
        return "suspended"

    codes = asyncio.run(aobserve()), observe()
    assert codes == (({"known": "ok"}.get(kind, "keys_busy")),) * 2
    assert service.count_futures() == 0


# Loops


def test_coroutines_that_wait_take_no_thread(service, loop):
    before = threading.active_count()
    asked = loop.start(service.verifier, [service.signer.token()] * 500)
    wait_until(lambda: service.count_futures() == 500)
    assert threading.active_count() == before + 1  # the flight's
    service.issuer.released.set()
    assert count_codes(asked) == {"ok": 500}


def test_cancelled_coroutines_leave_no_future_and_the_others_are_served(service, loop):
    asked = loop.start(service.verifier, [service.signer.token()] * 100)
    wait_until(lambda: service.count_futures() == 100)
    for future in asked[:50]:
        future.cancel()
    wait_until(lambda: service.count_futures() == 50)
    assert count_waiting(asked) == 50
    service.issuer.released.set()
    assert count_codes(asked[50:]) == {"ok": 50}
    assert service.count_futures() == 0
    assert service.issuer.fetches == 1


@pytest.mark.parametrize("purpose", [KEY_ID, SIGNATURE])
def test_cancelled_coroutine_gives_its_place_back(service, loop, other_issuer, purpose):
    service.warm_up()
    kid = "ins_stranger" if purpose == KEY_ID else service.signer.kid
    token = other_issuer.acting_as(ISSUER, kid=kid).token()
    places = service.count_free_places(purpose)
    for _ in range(2):
        asked = loop.start(service.verifier, [token] * places)
        wait_until(lambda: service.count_futures() == places)
        assert service.count_free_places(purpose) == 0
        for future in asked:
            future.cancel()
        wait_until(lambda: service.count_free_places(purpose) == places)
        assert service.count_futures() == 0
    assert not service.source._desk.flight.done.is_set()
    assert service.issuer.fetches == 2


def test_time_out_of_the_caller_ends_the_wait(service):
    async def ask() -> None:
        async with asyncio.timeout(0.05):
            await service.verifier.averify(service.signer.token())

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    assert service.count_futures() == 0


def test_loops_of_many_threads_and_plain_threads_share_one_fetch(service):
    drivers = [InLoop(), InLoop(), InLoop(), InLoop(), InThreads()]
    asked: list[Future[Any]] = []
    for count, driver in zip((50, 50, 50, 50, 10), drivers, strict=True):
        asked += driver.start(service.verifier, [service.signer.token()] * count)
    wait_until(lambda: service.count_futures() == 200)
    service.issuer.released.set()
    assert count_codes(asked) == {"ok": 210}
    assert service.issuer.fetches == 1
    assert service.count_futures() == 0
    for driver in drivers:
        driver.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loop_that_is_closed_while_one_waits_disturbs_nobody(service, loop, caplog):
    caplog.set_level(logging.WARNING, "clerk_auth")
    service.warm_up()
    stranger = service.signer.acting_as(ISSUER, kid="ins_stranger")
    abandoned = asyncio.new_event_loop()
    task = abandoned.create_task(service.verifier.averify(stranger.token()))
    abandoned.run_until_complete(asyncio.sleep(0.01))
    assert service.count_futures() == 1
    abandoned.close()
    (asked,) = loop.start(service.verifier, [stranger.token()])
    wait_until(lambda: service.count_futures() == 2)
    service.issuer.released.set()
    assert code_of(asked) == "key_not_found"
    assert service.source._desk.flight.outcome is not None
    # What nobody runs any more is forgotten, and so are the places that it took.
    assert service.count_futures() == 0
    del task
    wait_until(lambda: gc.collect() >= 0 and service.count_free_places(KEY_ID) == 2)
    assert not [record for record in caplog.records if record.name == "clerk_auth"]


def test_one_turn_of_a_loop_wakes_a_few(service):
    awake: list[int] = []

    async def ask() -> None:
        await service.verifier.averify(service.signer.token())
        awake.append(1)

    async def watch() -> list[int]:
        asking = [asyncio.create_task(ask()) for _ in range(100)]
        while service.count_futures() < 100:
            await asyncio.sleep(0)
        service.issuer.released.set()
        turns = [0]
        while len(awake) < 100:
            await asyncio.sleep(0)
            turns.append(len(awake))
        await asyncio.gather(*asking)
        return turns

    turns = asyncio.run(watch())
    woken = [after - before for before, after in pairwise(turns)]
    assert max(woken) == WOKEN_AT_ONCE
    assert sum(woken) == 100


class Sudden(End):
    """Is set by another thread just after it was found not to be."""

    def is_set(self) -> bool:
        was_set = super().is_set()
        if not was_set:
            self.set()
        return was_set


def test_end_that_comes_while_a_coroutine_begins_to_wait_is_not_missed():
    assert asyncio.run(asyncio.wait_for(Sudden().await_set(60.0), 5.0))


# Processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_child_serves_its_own_loop_while_the_parent_waits(service, loop, passes_in_child):
    asked = loop.start(service.verifier, [service.signer.token()] * 3)
    wait_until(lambda: service.count_futures() == 3)

    def verify() -> bool:
        service.issuer.released.set()
        # Its cache is a copy, in which the parent's flight holds the lock for good.
        service.fleet.shared().breaker.delete("lock")
        return bool(asyncio.run(service.verifier.averify(service.signer.token())))

    assert passes_in_child(verify)
    assert count_waiting(asked) == 3
    service.issuer.released.set()
    assert count_codes(asked) == {"ok": 3}


GREENLETS = """
import sys, warnings
warnings.simplefilter("ignore")
{first}
{second}
import gevent, time
from collections import Counter
signer = LocalIssuer.generate(ISSUER)
issuer = ScriptedIssuer(signer)
issuer.during = lambda: time.sleep(0.5)
source = Fleet(issuer, Clock()).source(spawn=_spawn)
verifier = Verifier(source, Policy(issuers=frozenset({{ISSUER}})), cache_size=8)
def verify(token):
    try:
        verifier.verify(token)
        return "ok"
    except ClerkAuthError as error:
        return error.code
def ask(tokens):
    jobs = [gevent.spawn(verify, token) for token in tokens]
    gevent.joinall(jobs, timeout=20)
    return sorted(Counter(job.value for job in jobs).items())
print(ask(signer.token(f"user_{{n}}") for n in range(300)), issuer.fetches)
print(ask(signer.acting_as(ISSUER, kid=f"ins_{{n}}").token() for n in range(20)), issuer.fetches)
"""
IMPORTS = """
import django
from django.conf import settings
settings.configure(SECRET_KEY="x" * 50)
django.setup()
from clerk_auth.core.errors import ClerkAuthError
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.cached import _spawn
from clerk_auth.jwks.held import Clock
from clerk_auth.verifier import Verifier
from tests.fleet import ISSUER, Fleet, ScriptedIssuer
"""


@pytest.mark.skipif(not importlib.util.find_spec("gevent"), reason="gevent is not installed")
@pytest.mark.parametrize("patched", ["first", "last"])
def test_greenlets_share_one_fetch(patched):
    patch = "from gevent import monkey; monkey.patch_all()"
    order = (patch, IMPORTS) if patched == "first" else (IMPORTS, patch)
    run = subprocess.run(
        [sys.executable, "-c", GREENLETS.format(first=order[0], second=order[1])],
        capture_output=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "[('ok', 300)] 1",
        "[('key_not_found', 2), ('keys_busy', 18)] 2",
    ]
