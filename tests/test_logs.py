"""Constant event names with facts as fields, and nothing that a caller wrote."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from clerk_auth.core.errors import ClerkAuthError
from clerk_auth.logs import log, logger
from clerk_auth.probes import BAD_TOKENS
from clerk_auth.sources import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.conftest import NOW, PARTY


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
    for claim in ("user_secretive", "somebody@example.com", "foreign.invalid", "ins_of_nobody"):
        assert claim not in written


def test_log_injects_no_line(verifier, local_issuer, caplog):
    caplog.set_level(logging.INFO, logger="clerk_auth")
    for header in ({"kid": "a\nb\x1b[2J"}, {"alg": "a\nb"}, {"typ": "a\nb"}):
        with pytest.raises(ClerkAuthError):
            verifier.verify(local_issuer.sign(local_issuer.session_payload(now=NOW), header))
    for claim in ("sub", "sid", "iss", "azp", "sts"):
        payload = local_issuer.session_payload(now=NOW, aud="api", azp=PARTY)
        with pytest.raises(ClerkAuthError):
            verifier.verify(local_issuer.sign({**payload, claim: "a\nb\x1b[2J"}))
    assert len(caplog.messages) == 8
    assert all(message.isprintable() for message in caplog.messages)


def test_logger_has_no_handler_and_no_level_of_its_own_making():
    assert logger.handlers == []
