"""Facts for whoever listens: they cost nothing when nobody does, and change no verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.dispatch import Signal

from clerk_auth import signals
from clerk_auth.core.errors import TokenExpired
from clerk_auth.sources import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.conftest import NOW, PARTY


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


def test_receiver_of_another_sender_hears_nothing(listen):
    signal, heard = Signal(), []
    listen(signal, lambda fact, **_: heard.append(fact), sender=StaticKeySource)
    signals.send(signal, Verifier, fact=1)
    signals.send(signal, StaticKeySource, fact=2)
    assert heard == [2]


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


def test_receiver_that_fails_changes_no_verdict(verifier, local_issuer, listen):
    heard = []

    def fail(**_):
        raise RuntimeError("receiver")

    for signal in (signals.token_verified, signals.token_rejected):
        listen(signal, fail)
        listen(signal, lambda **facts: heard.append(facts))
    assert verifier.verify(local_issuer.token("user_1", azp=PARTY, now=NOW)).user_id == "user_1"
    with pytest.raises(TokenExpired):
        verifier.verify(local_issuer.token(azp=PARTY, now=NOW - 3600))
    assert len(heard) == 2
