"""Facts for whoever listens: they cost nothing when nobody does, and change no verdict."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.dispatch import Signal

from clerk_auth import signals
from clerk_auth.conf import OBSERVE
from clerk_auth.core.errors import KeysUnavailable, TokenExpired
from clerk_auth.diagnostics.shared_keys import load_shared
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier, get_verifier
from tests.conftest import NOW, PARTY
from tests.fleet import Fleet, ScriptedIssuer, keys_for
from tests.issuer_server import answer


class CountingSignal(Signal):
    """Counts how often it is really sent."""

    sent = 0

    def send_robust(self, sender, **facts):
        self.sent += 1
        return super().send_robust(sender, **facts)


@pytest.fixture
def listen() -> Iterator:
    """Connect receivers for as long as the test lasts."""
    connected = []

    def connect(signal: Signal, receiver, sender=None) -> None:
        signal.connect(receiver, sender=sender, weak=False)
        connected.append((signal, receiver, sender))

    yield connect
    for signal, receiver, sender in connected:
        signal.disconnect(receiver, sender=sender)


@pytest.fixture
def verifier(local_issuer, policy) -> Verifier:
    return Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)


def test_signal_is_sent_only_when_somebody_listens(listen):
    signal, heard = CountingSignal(), []
    signals.send(signal, Verifier, fact=1)
    assert signal.sent == 0
    listen(signal, lambda sender, fact, **_: heard.append((sender, fact)))
    signals.send(signal, Verifier, fact=2)
    assert (signal.sent, heard) == (1, [(Verifier, 2)])


def test_verified_token_tells_its_claims(verifier, local_issuer, listen):
    heard = []
    listen(signals.token_verified, lambda sender, claims, **_: heard.append((sender, claims)))
    claims = verifier.verify(local_issuer.token(azp=PARTY, now=NOW))
    assert heard == [(Verifier, claims)]


def test_refused_token_tells_its_error_and_not_itself(verifier, local_issuer, listen):
    heard = []
    listen(signals.token_rejected, lambda **facts: heard.append(facts))
    token = local_issuer.token(azp=PARTY, now=NOW - 3600)
    with pytest.raises(TokenExpired) as caught:
        verifier.verify(token)
    (facts,) = heard
    assert facts["sender"] is Verifier
    assert facts["error"] is caught.value
    assert token not in repr(facts)


def test_check_tells_nobody(verifier, local_issuer, listen):
    heard = []
    for signal in (signals.token_verified, signals.token_rejected):
        listen(signal, lambda **facts: heard.append(facts))
    verifier.check(local_issuer.token(azp=PARTY, now=NOW))
    with pytest.raises(TokenExpired):
        verifier.check(local_issuer.token(azp=PARTY, now=NOW - 3600))
    assert heard == []


# Whatever a receiver is, and whatever it raises


def tokens(issuer) -> tuple[str, str]:
    """Return one that is accepted, and one that is refused."""
    return issuer.token(azp=PARTY, now=NOW), issuer.token(azp=PARTY, now=NOW - 3600)


def judge_both(verifier, issuer) -> None:
    good, bad = tokens(issuer)
    assert verifier.verify(good).user_id == "user_dev"
    with pytest.raises(TokenExpired):
        verifier.verify(bad)


BOTH = (signals.token_verified, signals.token_rejected)


def test_coroutine_function_becomes_a_task_of_the_running_loop(verifier, local_issuer, listen):
    heard = []

    async def receive(**facts):
        await asyncio.sleep(0)
        heard.append((facts["signal"], asyncio.get_running_loop()))

    async def serve() -> None:
        judge_both(verifier, local_issuer)
        assert heard == []
        while len(heard) < 2:
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert heard == [(signal, loop) for signal in BOTH]

    for signal in BOTH:
        listen(signal, receive)
    asyncio.run(asyncio.wait_for(serve(), 5))
    assert not signals._tasks


def test_function_is_called_at_once_beside_a_coroutine_function(verifier, local_issuer, listen):
    heard = []

    async def receive(**facts):
        heard.append("later")

    async def serve() -> None:
        judge_both(verifier, local_issuer)
        assert heard == ["now", "now"]

    for signal in BOTH:
        listen(signal, receive)
        listen(signal, lambda **facts: heard.append("now"))
        listen(signal, lambda **facts: heard.append("foreign"), sender=StaticKeySource)
    asyncio.run(serve())


def test_coroutine_function_is_awaited_where_no_loop_runs(verifier, local_issuer, listen):
    heard = []

    async def receive(**facts):
        await asyncio.sleep(0)
        heard.append(facts["sender"])

    for signal in BOTH:
        listen(signal, receive)
    judge_both(verifier, local_issuer)
    assert heard == [Verifier, Verifier]


class Failing:
    """A receiver without a name."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __call__(self, **facts):
        raise self._error


def failing(kind: str, error: type[BaseException]):
    """Return a receiver of this kind that raises."""

    def fail(**facts):
        raise error

    async def fail_later(**facts):
        raise error

    kinds = {
        "function": fail,
        "coroutine function": fail_later,
        "partial": functools.partial(fail),
        "object": Failing(error),
        "method": Failing(error).__call__,
    }
    return kinds[kind]


@pytest.mark.integration
@pytest.mark.parametrize("on_loop", [False, True], ids=["no-loop", "loop"])
@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["function", "coroutine function", "partial", "object", "method"])
def test_receiver_of_any_kind_that_fails_changes_no_verdict(
    verifier, local_issuer, listen, kind, error, on_loop
):
    async def serve() -> None:
        judge_both(verifier, local_issuer)
        while signals._tasks:
            await asyncio.sleep(0)

    for signal in BOTH:
        listen(signal, failing(kind, error))
    if on_loop:
        asyncio.run(asyncio.wait_for(serve(), 5))
    else:
        judge_both(verifier, local_issuer)


@pytest.mark.parametrize("kind", ["function", "coroutine function", "partial", "object", "method"])
def test_failure_on_a_loop_is_logged_once_and_stops_no_other(
    verifier, local_issuer, listen, kind, caplog
):
    caplog.set_level(logging.ERROR, "clerk_auth")
    heard = []

    async def receive(**facts):
        heard.append("coroutine")

    async def serve() -> None:
        for _ in range(2):
            verifier.verify(local_issuer.token(azp=PARTY, now=NOW))
            while signals._tasks:
                await asyncio.sleep(0)

    listen(signals.token_verified, failing(kind, ZeroDivisionError))
    listen(signals.token_verified, receive)
    listen(signals.token_verified, lambda **facts: heard.append("function"))
    asyncio.run(asyncio.wait_for(serve(), 5))
    assert sorted(heard) == ["coroutine", "coroutine", "function", "function"]
    (record,) = caplog.records
    assert (record.event, record.error) == ("receiver_failed", "ZeroDivisionError")
    assert record.receiver


# In a coroutine


async def ajudge_both(verifier, issuer) -> None:
    good, bad = tokens(issuer)
    assert (await verifier.averify(good)).user_id == "user_dev"
    with pytest.raises(TokenExpired):
        await verifier.averify(bad)


def test_coroutine_waits_for_receivers_of_both_kinds(verifier, local_issuer, listen):
    heard = []

    async def receive(signal, **facts):
        await asyncio.sleep(0)
        heard.append((signal, "coroutine", threading.get_ident()))

    def receive_in_thread(signal, **facts):
        heard.append((signal, "function", threading.get_ident()))

    async def serve() -> int:
        await ajudge_both(verifier, local_issuer)
        return threading.get_ident()

    for signal in BOTH:
        listen(signal, receive)
        listen(signal, receive_in_thread)
        listen(signal, lambda **facts: heard.append("foreign"), sender=StaticKeySource)
    loop_thread = asyncio.run(serve())
    told = [(signal, kind) for signal in BOTH for kind in ("function", "coroutine")]
    assert Counter(one[:2] for one in heard) == Counter(told)
    # A function that blocks does not block the loop.
    assert {kind for _, kind, ident in heard if ident == loop_thread} == {"coroutine"}
    assert not signals._tasks


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["function", "coroutine function", "partial", "object", "method"])
def test_receiver_that_fails_changes_no_verdict_of_a_coroutine(
    verifier, local_issuer, listen, kind, error
):
    for signal in BOTH:
        listen(signal, failing(kind, error))
    asyncio.run(asyncio.wait_for(ajudge_both(verifier, local_issuer), 5))


@pytest.mark.parametrize("is_good", [True, False])
def test_coroutine_that_is_cancelled_while_a_receiver_hangs_ends(
    verifier, local_issuer, listen, is_good
):
    """A receiver that hangs is waited for, in a coroutine as in a thread; it stops no other."""
    hears, may_end, heard = asyncio.Event(), asyncio.Event(), []

    async def hang(**facts):
        hears.set()
        await may_end.wait()
        heard.append("all of it")

    async def serve() -> None:
        token = tokens(local_issuer)[0 if is_good else 1]
        asking = asyncio.create_task(verifier.averify(token))
        await hears.wait()
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        may_end.set()
        while signals._tasks:
            await asyncio.sleep(0)
        assert heard == ["all of it"]

    for signal in BOTH:
        listen(signal, hang)
    asyncio.run(asyncio.wait_for(serve(), 5))


def test_observing_coroutine_tells_nobody(verifier, local_issuer, listen):
    heard = []
    for signal in BOTH:
        listen(signal, lambda **facts: heard.append(facts))

    async def observe() -> None:
        for token in tokens(local_issuer):
            with suppress(TokenExpired):
                await verifier.averify(token, mode=OBSERVE)

    asyncio.run(observe())
    assert heard == []


def test_coroutine_without_receivers_starts_no_task_and_suspends_nothing(verifier, local_issuer):
    good, bad = tokens(local_issuer)
    with pytest.raises(StopIteration):
        verifier.averify(good).send(None)
    with pytest.raises(TokenExpired):
        verifier.averify(bad).send(None)


@pytest.mark.parametrize("kind", ["function", "coroutine function", "object"])
def test_receiver_that_fails_costs_no_keys(configured, listen, kind):
    for signal in (signals.keys_refreshed, signals.keys_refresh_failed):
        listen(signal, failing(kind, RuntimeError))
    source = get_verifier().source
    source.refresh()
    assert source.status().state == "fresh"
    assert load_shared(source).generation is not None
    configured.script = answer(b"nothing", status="500 Internal Server Error")
    source.refresh()
    status = source.status()
    assert (status.state, status.failure.reason) == ("degraded", "status")
    # On a loop, too: who refreshes there is not the flight's thread.
    configured.script = None

    async def refresh() -> str:
        source.refresh()
        return source.status().state

    assert asyncio.run(refresh()) == "fresh"


@pytest.mark.parametrize("is_healthy", [True, False])
def test_receiver_is_told_when_nobody_waits_for_the_flight_any_more(
    is_healthy, local_issuer, clock, listen
):
    issuer = ScriptedIssuer(local_issuer)
    fleet = Fleet(issuer, clock)
    if not is_healthy:
        issuer.failure = "timeout"
    source, seen = fleet.source(), []

    def receive(**facts):
        state = load_shared(fleet.source()).state
        seen.append(
            (state, source._desk.flight.done.is_set(), fleet.shared().acquire(lease_seconds=5))
        )

    listen(signals.keys_refreshed if is_healthy else signals.keys_refresh_failed, receive)
    with suppress(KeysUnavailable):
        keys_for(source, local_issuer.kid)
    ((state, is_done, lock),) = seen
    assert (state, is_done) == ("fresh" if is_healthy else "cold", True)
    assert lock
