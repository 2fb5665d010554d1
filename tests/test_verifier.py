"""The verifier on the production path: real HTTP, a real cache, real keys."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator

import pytest
from django.core.exceptions import ImproperlyConfigured

from clerk_auth import metrics, signals
from clerk_auth.conf import OBSERVE
from clerk_auth.core.encoding import decode_base64url
from clerk_auth.core.errors import (
    KeyNotFound,
    KeysUnavailable,
    SignatureInvalid,
    TokenClassNotAccepted,
    TokenExpired,
    TokenRejected,
)
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import ABSENT
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier, get_verifier
from tests.conftest import NOW, PARTY
from tests.issuer_server import answer


@pytest.fixture
def verifier(local_issuer, policy) -> Verifier:
    return Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)


@pytest.fixture
def received():
    """Signals received, by name."""
    seen: list[tuple[str, dict]] = []
    connected = []
    for name in ("token_verified", "token_rejected", "keys_refreshed", "keys_refresh_failed"):

        def receive(name=name, **facts):
            seen.append((name, facts))

        getattr(signals, name).connect(receive, weak=False)
        connected.append((getattr(signals, name), receive))
    yield seen
    for signal, receive in connected:
        signal.disconnect(receive)


def test_first_token_fetches_the_keys_and_the_next_ones_do_not(configured):
    verifier = get_verifier()
    for _ in range(5):
        claims = verifier.verify(configured.signer.token("user_1", azp=PARTY))
    assert claims.user_id == "user_1"
    assert configured.fetches == 1


def test_key_rotated_in_is_accepted_at_its_first_use(configured):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    signer = configured.rotate("ins_next")
    assert verifier.verify(signer.token(azp=PARTY))
    assert configured.fetches == 2


def test_key_replaced_under_its_kid_is_accepted_at_its_first_use(configured):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    signer = configured.rotate(configured.signer.kid)
    assert verifier.verify(signer.token(azp=PARTY))
    assert configured.fetches == 2


def test_valid_token_passes_while_the_issuer_is_gone(configured):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    configured.stop()
    assert verifier.verify(configured.signer.token(azp=PARTY))


def test_cold_process_is_unavailable_while_the_issuer_is_gone(configured):
    token = configured.signer.token(azp=PARTY)
    configured.stop()
    with pytest.raises(KeysUnavailable):
        get_verifier().verify(token)


@pytest.mark.parametrize(
    "claims",
    [{"expires_in": -3600}, {"iss": "https://clerk.foreign.example"}, {"iss": None}, {"exp": "1"}],
)
def test_hopeless_token_under_an_unknown_kid_costs_no_look_and_no_fetch(configured, claims):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    stranger = configured.signer.acting_as(configured.issuer, kid="ins_stranger")
    flights = verifier.source._desk.flight
    with pytest.raises(KeyNotFound):
        verifier.verify(stranger.token(azp=PARTY, **claims))
    assert verifier.source._desk.flight is flights
    assert configured.fetches == 1


def test_hopeless_token_with_a_bad_signature_costs_no_look(configured, other_issuer):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    forger = other_issuer.acting_as(configured.issuer, kid=configured.signer.kid)
    flight = verifier.source._desk.flight
    with pytest.raises(SignatureInvalid):
        verifier.verify(forger.token(azp=PARTY, expires_in=-3600))
    assert verifier.source._desk.flight is flight


def test_forged_token_is_refused_after_one_look(configured, other_issuer):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    forger = other_issuer.acting_as(configured.issuer, kid=configured.signer.kid)
    for _ in range(20):
        with pytest.raises(SignatureInvalid):
            verifier.verify(forger.token(azp=PARTY))
    assert configured.fetches == 2
    assert verifier.verify(configured.signer.token(azp=PARTY))


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_token_is_refused_with_its_code(configured, settings, bad):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "AUDIENCE": "api"}
    verifier = get_verifier()
    payload = configured.signer.session_payload(azp=PARTY, aud="api")
    assert verifier.verify(configured.signer.sign(payload))
    with pytest.raises(TokenRejected) as caught:
        verifier.verify(bad.make(configured.signer, payload))
    assert caught.value.code == bad.code


def test_configured_key_verifies_whatever_kid_the_token_names(settings, local_issuer):
    settings.CLERK_AUTH = {"ISSUER": local_issuer.issuer, "JWT_KEY": local_issuer.public_pem}
    token = local_issuer.sign(local_issuer.session_payload(), {"kid": "ins_anything"})
    assert get_verifier().verify(token)
    assert get_verifier().source.status().state == "static"


@pytest.mark.integration
def test_development_mode_runs_every_rule(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True, "AUTHORIZED_PARTIES": [PARTY]}
    from clerk_auth.issuer.development import load_local_issuer

    issuer = load_local_issuer("https://clerk.localhost")
    assert get_verifier().verify(issuer.token(azp=PARTY))
    with pytest.raises(TokenExpired):
        get_verifier().verify(issuer.token(azp=PARTY, expires_in=-60))


def test_development_mode_without_debug_stops_the_verifier(settings):
    settings.DEBUG = False
    settings.CLERK_AUTH = {"DEV_MODE": True}
    with pytest.raises(ImproperlyConfigured, match="DEV_MODE"):
        get_verifier()


def test_verdicts_are_counted_by_code(verifier, local_issuer):
    verifier.verify(local_issuer.token(now=NOW, azp=PARTY))
    for claims in ({"expires_in": -60}, {"expires_in": -60}, {"azp": "https://evil.example"}):
        with pytest.raises(TokenRejected):
            verifier.verify(local_issuer.token(now=NOW, **{"azp": PARTY, **claims}))
    totals = metrics.totals()
    assert totals["jwt_verifications_success", "enforce"] == 1
    assert totals["jwt_verifications_failure", "token_expired", "enforce"] == 2
    assert totals["jwt_verifications_failure", "party_not_allowed", "enforce"] == 1


def test_verdicts_are_signalled(verifier, local_issuer, received):
    verifier.verify(local_issuer.token("user_9", now=NOW, azp=PARTY))
    with pytest.raises(TokenExpired):
        verifier.verify(local_issuer.token(now=NOW, expires_in=-60))
    (_, verified), (_, rejected) = received
    assert verified["claims"].user_id == "user_9"
    assert rejected["error"].code == "token_expired"


def test_failing_receiver_changes_no_verdict(verifier, local_issuer):
    def explode(**facts):
        raise ZeroDivisionError

    signals.token_verified.connect(explode)
    try:
        assert verifier.verify(local_issuer.token(now=NOW, azp=PARTY))
    finally:
        signals.token_verified.disconnect(explode)


def test_refreshes_are_signalled(configured, received):
    get_verifier().verify(configured.signer.token(azp=PARTY))
    configured.script = answer(b"nothing", status="500 Internal Server Error")
    get_verifier().source.refresh()
    assert [name for name, _ in received] == [
        "keys_refreshed",
        "token_verified",
        "keys_refresh_failed",
    ]


def test_success_is_logged_with_the_user_id_alone(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, "clerk_auth")
    token = local_issuer.token("user_42", now=NOW, azp=PARTY, email="who@example.com")
    verifier.verify(token)
    assert "JWT signature verified for user user_42" in caplog.text
    assert "who@example.com" not in caplog.text
    assert not any(part in caplog.text for part in token.split("."))


def test_refusal_is_logged_with_code_claim_and_reason(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, "clerk_auth")
    with pytest.raises(TokenRejected):
        verifier.verify(local_issuer.token(now=NOW, azp="https://evil.example"))
    assert (
        "clerk_auth.token_rejected code=party_not_allowed claim=azp "
        'reason=mismatch mode=enforce found="https://evil.example"\n' in caplog.text
    )


def test_status_that_nobody_knows_is_a_warning_once(verifier, local_issuer, caplog):
    caplog.set_level(logging.WARNING, "clerk_auth")
    for status in ("on fire", "on fire", "expelled", None):
        with pytest.raises(TokenRejected) as caught:
            verifier.verify(local_issuer.token(now=NOW, azp=PARTY, sts=status), mode=OBSERVE)
        assert caught.value.code == "claim_invalid"
    (record,) = caplog.records
    assert (record.levelno, record.event) == (logging.WARNING, "session_status_unknown")
    assert record.getMessage() == r'clerk_auth.session_status_unknown found="on\u0020fire"'


def test_other_refusals_are_no_warning(verifier, local_issuer, other_issuer, caplog):
    caplog.set_level(logging.WARNING, "clerk_auth")
    for token in (
        local_issuer.token(now=NOW, azp=PARTY, sts="pending"),
        local_issuer.token(now=NOW, azp=PARTY, sid=""),
        other_issuer.token(now=NOW, azp=PARTY, sts="on fire"),
    ):
        with pytest.raises(TokenRejected):
            verifier.verify(token)
    assert caplog.records == []


class NoSource(StaticKeySource):
    """A source that must not be asked."""

    def keys_for(self, kid):
        raise AssertionError("asked for keys")


@pytest.mark.parametrize("cache_size", [0, 8])
@pytest.mark.parametrize("text", ["ak_live", "mt_" + "x" * 9000, "oat_e30.e30.AAAA"])
def test_credential_of_another_class_costs_no_look(policy, cache_size, text):
    verifier = Verifier(NoSource(()), policy, cache_size=cache_size)
    with pytest.raises(TokenClassNotAccepted):
        verifier.verify(text)


@pytest.mark.parametrize("code", ["key_not_found", "signature_invalid"])
def test_token_that_lives_too_long_costs_no_look_and_no_fetch(configured, other_issuer, code):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    kid = "ins_stranger" if code == "key_not_found" else configured.signer.kid
    signer = other_issuer.acting_as(configured.issuer, kid=kid)
    payload = signer.session_payload(azp=PARTY, expires_in=3700)
    flight = verifier.source._desk.flight
    with pytest.raises(TokenRejected) as caught:
        verifier.verify(signer.sign(payload, {"cat": ABSENT}))
    assert caught.value.code == code
    assert verifier.source._desk.flight is flight
    assert configured.fetches == 1


def test_setting_bounds_the_life_of_a_token_without_session_category(configured, settings):
    payload = configured.signer.session_payload(azp=PARTY, expires_in=300)
    token = configured.signer.sign(payload, {"cat": ABSENT})
    assert get_verifier().verify(token)
    for seconds, accepted in ((100, False), (1000, True), (0, True)):
        settings.CLERK_AUTH = {
            **settings.CLERK_AUTH,
            "UNCATEGORIZED_TOKEN_MAX_SECONDS": seconds,
        }
        if accepted:
            assert get_verifier().verify(token)
        else:
            with pytest.raises(TokenRejected, match="too_far_ahead"):
                get_verifier().verify(token)


def test_check_counts_logs_and_signals_nothing(verifier, local_issuer, caplog, received):
    caplog.set_level(logging.INFO, "clerk_auth")
    before = metrics.totals()
    verifier.check(local_issuer.token(now=NOW, azp=PARTY))
    with pytest.raises(TokenExpired):
        verifier.check(local_issuer.token(now=NOW, expires_in=-60))
    assert (metrics.totals(), caplog.text, received) == (before, "", [])


# What an error tracker shows of a defect: it hides locals by their name.


class BrokenKey:
    kid = ""

    def verifies(self, signing_input, signature):
        raise ZeroDivisionError


class BrokenSource(StaticKeySource):
    def keys_for(self, kid):
        raise ZeroDivisionError


def broken_clock() -> float:
    raise ZeroDivisionError


def parts(value: object) -> Iterator[object]:
    """Yield a value and what is in it, as trackers write it."""
    yield value
    held = value.values() if isinstance(value, dict) else value
    for inner in held if isinstance(value, dict | list | tuple) else ():
        yield from parts(inner)


@pytest.mark.parametrize("way", ["verify", "averify"])
@pytest.mark.parametrize("cache_size", [0, 8])
@pytest.mark.parametrize("defect", ["source", "key", "clock"])
@pytest.mark.parametrize("by_name", [False, True])
def test_locals_that_hold_a_credential_are_named_token(
    policy, local_issuer, way, defect, cache_size, by_name
):
    token = local_issuer.token(now=NOW, azp=PARTY)
    keys = (BrokenKey() if defect == "key" else local_issuer.verifying_key,)
    source = (BrokenSource if defect == "source" else StaticKeySource)(keys, ignore_kid=True)
    now = broken_clock if defect == "clock" else lambda: NOW
    verifier = Verifier(source, policy, cache_size=cache_size, now=now)
    call = getattr(verifier, way)

    async def verify() -> None:
        answer = call(token=token) if by_name else call(token)
        await answer

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(verify())
    segment = token.rpartition(".")[2]
    credentials = [token, token.encode(), segment, decode_base64url(segment)]
    shown = {
        name
        for frame, _line in traceback.walk_tb(caught.tb)
        # Those of Django's and of decorators too.
        if frame.f_code.co_filename != __file__
        for name, value in frame.f_locals.items()
        if any(part in credentials for part in parts(value) if isinstance(part, str | bytes))
    }
    assert shown == ({"token"} if way == "verify" else set())
