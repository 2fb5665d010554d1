"""Constant event names with facts as fields, and nothing that a caller wrote."""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import replace

import pytest

from clerk_auth import metrics
from clerk_auth.core.errors import (
    ClaimInvalid,
    ClerkAuthError,
    KeyNotFound,
    TokenExpired,
    UserInactive,
)
from clerk_auth.core.keys import hash_kid
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.logs import MAX_KINDS, RateLimit, defects, log, logger, refusals
from clerk_auth.verifier import Verifier
from tests.conftest import NOW, PARTY
from tests.fleet import Fleet, ScriptedIssuer


class Unprintable:
    def __format__(self, specification):
        raise AssertionError("a fact was written that nobody reads")


@pytest.fixture
def verifier(local_issuer, policy) -> Verifier:
    policy = replace(policy, audiences=frozenset({"api"}))
    return Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)


def test_facts_are_in_the_message_and_on_the_record(caplog):
    log(logging.WARNING, "keys_stale", age_seconds=310, reason=None)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("clerk_auth", logging.WARNING)
    assert record.msg == "clerk_auth.keys_stale %s"
    assert record.getMessage() == "clerk_auth.keys_stale age_seconds=310"
    assert (record.event, record.age_seconds, record.reason) == ("keys_stale", 310, None)


def test_event_without_facts_is_its_name(caplog):
    log(logging.WARNING, "keys_recovered")
    assert caplog.messages == ["clerk_auth.keys_recovered"]


def test_level_that_is_off_costs_nothing(caplog):
    caplog.set_level(logging.ERROR, logger="clerk_auth")
    log(logging.WARNING, "keys_stale", fact=Unprintable())
    assert caplog.records == []


def test_success_names_the_user_and_nothing_else(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    verifier.verify(
        local_issuer.token("user_1", aud="api", azp=PARTY, now=NOW, email="a@example.com")
    )
    assert caplog.messages == ["JWT signature verified for user user_1"]
    assert caplog.records[0].levelno == logging.INFO


def test_success_is_silent_above_info(verifier, local_issuer, caplog):
    caplog.set_level(logging.WARNING, logger="clerk_auth")
    verifier.verify(local_issuer.token(aud="api", azp=PARTY, now=NOW))
    assert caplog.records == []


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_refusal_says_code_and_claim_and_no_part_of_the_token(bad, verifier, local_issuer, caplog):
    caplog.set_level(logging.DEBUG, logger="clerk_auth")
    payload = local_issuer.session_payload(
        "user_secretive", now=NOW, aud="api", azp=PARTY, email="somebody@example.com"
    )
    token = bad.make(local_issuer, payload)
    with pytest.raises(ClerkAuthError) as caught:
        verifier.verify(token)
    (record,) = caplog.records
    assert (record.event, record.code) == ("token_rejected", caught.value.code)
    assert record.claim == caught.value.claim
    written = caplog.text + repr(vars(record))
    assert all(part not in written for part in token.split(".") if part)
    for claim in ("user_secretive", "somebody@example.com", "ins_of_nobody"):
        assert claim not in written
    # Clerk signed it, and the operator needs it.
    assert ("foreign.invalid" in written) is (bad.name == "wrong-party")


def test_log_injects_no_line(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    for header in ({"kid": "a\nb\x1b[2J"}, {"alg": "a\nb"}, {"typ": "a\nb"}):
        with pytest.raises(ClerkAuthError):
            verifier.verify(local_issuer.sign(local_issuer.session_payload(now=NOW), header))
    for claim in ("sub", "sid", "iss", "azp", "sts"):
        payload = local_issuer.session_payload(now=NOW, aud="api", azp=PARTY)
        with pytest.raises(ClerkAuthError):
            verifier.verify(local_issuer.sign({**payload, claim: "a\nb\x1b[2J"}))
    # One more for the status, which is a warning too.
    assert len(caplog.messages) == 9
    assert all(message.isprintable() for message in caplog.messages)


def test_logger_has_no_handler_and_no_level_of_its_own_making():
    assert logger.handlers == []


class RaisingHandler(logging.Handler):
    def emit(self, record):
        raise OSError("no space left on device")


def test_handler_that_fails_changes_no_verdict(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, "clerk_auth")
    handler = RaisingHandler()
    logger.addHandler(handler)
    try:
        assert verifier.verify(local_issuer.token("user_1", aud="api", azp=PARTY, now=NOW))
        for error, claims in ((TokenExpired, {"exp": NOW - 60}), (ClaimInvalid, {"sts": "new"})):
            with pytest.raises(error):
                verifier.verify(local_issuer.token(aud="api", azp=PARTY, now=NOW, **claims))
    finally:
        logger.removeHandler(handler)


# Rate


@pytest.fixture
def limit(clock) -> RateLimit:
    return RateLimit(10, clock.now)


def test_first_of_each_kind_is_admitted_at_once(limit):
    kinds = [("a",), ("b",), ("a", "b"), ("a", None)]
    assert [limit.admit(*kind) for kind in kinds] == [0, 0, 0, 0]
    assert [limit.admit(*kind) for kind in kinds] == [None] * 4


@pytest.mark.parametrize(("seconds", "admitted"), [(9.9, None), (10, 3), (10.1, 3)])
def test_next_is_admitted_after_the_interval_and_says_how_many_were_left_out(
    limit, clock, seconds, admitted
):
    for _ in range(4):
        limit.admit("a")
    clock.time += seconds
    assert limit.admit("a") == admitted


def test_each_interval_counts_its_own(limit, clock):
    given = []
    for _ in range(3):
        given.append([limit.admit("a") for _ in range(5)])
        clock.time += 10
    assert given == [[0, *[None] * 4], [4, *[None] * 4], [4, *[None] * 4]]


def test_what_is_limited_for_ever_is_admitted_once(clock):
    limit = RateLimit(math.inf, clock.now)
    assert limit.admit("a") == 0
    clock.time += 1e9
    assert limit.admit("a") is None


def test_kinds_that_a_project_makes_up_are_one_kind_in_the_end(limit, clock):
    """A resolver of the project's may refuse with a reason of its own for each user."""
    assert all(limit.admit("user", str(number)) == 0 for number in range(MAX_KINDS))
    assert limit.admit("user", "one more") == 0
    assert limit.admit("user", "and another") is None
    assert limit.admit("user", "0") is None
    clock.time += 10
    assert limit.admit("user", "another again") == 1
    assert limit.admit("user", "0") == 1


@pytest.mark.integration
def test_threads_admit_one_per_interval_and_lose_none(limit, clock):
    threads, rounds, each = 8, 20, 500
    barrier = threading.Barrier(threads, action=lambda: setattr(clock, "time", clock.time + 10))
    admitted: list[int] = []

    def work() -> None:
        for _ in range(rounds):
            barrier.wait()
            for _ in range(each):
                left_out = limit.admit("a")
                if left_out is not None:
                    admitted.append(left_out)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(admitted) == rounds
    clock.time += 10
    assert sum(admitted) + limit.admit("a") + len(admitted) == threads * rounds * each


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_child_admits_its_own(passes_in_child):
    assert refusals.admit("a") == 0
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with refusals._lock, defects._lock:
            is_held.set()
            may_end.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(5)
    try:
        assert passes_in_child(lambda: refusals.admit("a") == 0 and defects.admit("a") == 0)
    finally:
        may_end.set()
        holder.join()


def test_flood_of_refusals_writes_one_line_and_is_counted(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    for _ in range(1000):
        with pytest.raises(ClerkAuthError):
            verifier.verify("not.a.token!")
    assert len(caplog.messages) == 1
    assert metrics.totals()["jwt_verifications_failure", "token_malformed", "enforce"] == 1000


def test_line_after_a_flood_says_how_many_were_left_out(verifier, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    for is_over in (False, False, False, True):
        if is_over:
            (kind,) = refusals._kinds.values()
            kind.quiet_until = 0
        with pytest.raises(ClerkAuthError):
            verifier.verify("not.a.token!")
    first, second = caplog.records
    assert (first.suppressed, second.suppressed) == (None, 2)
    assert "suppressed" not in first.getMessage()
    assert second.getMessage().endswith(" suppressed=2")


def test_flood_of_one_kind_hides_no_other(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    payload = local_issuer.session_payload(now=NOW, aud="api", azp=PARTY)
    for claim in ("sub", "sid", "sub", "sid"):
        with pytest.raises(ClerkAuthError):
            verifier.verify(local_issuer.sign({**payload, claim: ""}))
    assert [record.claim for record in caplog.records] == ["sub", "sid"]


def test_unknown_key_ids_are_one_line_and_one_kind(policy, local_issuer, clock, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    source = Fleet(ScriptedIssuer(local_issuer), clock).source()
    verifier = Verifier(source, policy, now=clock.now)
    verifier.check(local_issuer.token(azp=PARTY, now=NOW))
    for kid in ("ins_1", "ins_2", "ins_3"):
        stranger = local_issuer.acting_as(local_issuer.issuer, kid=kid)
        with pytest.raises(KeyNotFound) as caught:
            verifier.verify(stranger.token(azp=PARTY, now=NOW))
        assert caught.value.facts["kid_sha256"] == hash_kid(kid)
    lines = [record for record in caplog.records if record.event == "token_rejected"]
    assert [(record.reason, record.kid_sha256) for record in lines] == [
        ("not_in_key_set", hash_kid("ins_1"))
    ]
    assert len(refusals._kinds) == 1


def test_reasons_of_a_resolver_are_one_line_and_one_kind(verifier, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    for reason in ("is_active is false", "no row (user_1)", "no row (user_2)"):
        verifier.note_refusal(UserInactive(reason))
    (record,) = caplog.records
    assert record.reason == "is_active is false"
    assert len(refusals._kinds) == 1


def test_party_that_is_missing_and_one_that_is_not_allowed_are_two_lines(
    verifier, local_issuer, caplog
):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    payload = local_issuer.session_payload(now=NOW, aud="api")
    parties = [{}, {"azp": "https://a.example"}, {"azp": "https://b.example"}, {}]
    for party in parties:
        with pytest.raises(ClerkAuthError):
            verifier.verify(local_issuer.sign({**payload, **party}))
    assert [(record.reason, record.found) for record in caplog.records] == [
        ("missing", None),
        ("mismatch", '"https://a.example"'),
    ]
    assert len(refusals._kinds) == 2


def test_refusal_below_the_level_takes_no_turn(verifier, caplog):
    for level, lines in ((logging.WARNING, 0), (logging.INFO, 1)):
        caplog.set_level(level, logger="clerk_auth")
        with pytest.raises(ClerkAuthError):
            verifier.verify("not.a.token!")
        assert len(caplog.messages) == lines


def test_kinds_of_refusals_are_few_whatever_is_sent(verifier, local_issuer):
    payload = local_issuer.session_payload(now=NOW, aud="api", azp=PARTY)
    for n in range(10):
        for token in (
            f"a.b.{n}",
            local_issuer.sign(payload, {"kid": f"ins_{n}"}),
            local_issuer.sign({**payload, f"claim_{n}": n, "sts": f"state {n}"}),
        ):
            with pytest.raises(ClerkAuthError):
                verifier.verify(token)
    assert len(refusals._kinds) == 3
