"""The codes are a contract, and what clients see of an error is fixed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

from clerk_auth.core import errors
from clerk_auth.core.errors import ClerkAuthError, KeysUnavailable, TokenRejected


def concrete(error: type[ClerkAuthError]) -> Iterator[type[ClerkAuthError]]:
    if "code" in vars(error):
        yield error
    for child in error.__subclasses__():
        yield from concrete(child)


SHOWN = (*errors.REJECTIONS, *errors.OUTAGES)


def test_codes_are_those_of_the_contract():
    assert {error.code for error in errors.REJECTIONS} == {
        "token_malformed",
        "algorithm_not_allowed",
        "token_class_not_accepted",
        "key_not_found",
        "signature_invalid",
        "token_expired",
        "token_not_yet_valid",
        "issuer_not_allowed",
        "party_not_allowed",
        "audience_not_allowed",
        "claim_invalid",
        "session_pending",
        "user_inactive",
        "user_unknown",
    }
    assert {error.code for error in errors.OUTAGES} == {"keys_unavailable", "keys_busy"}


def test_codes_are_unique():
    assert len(set(errors.CODES)) == len(errors.CODES) == len(SHOWN)
    assert errors.KeySetInvalid.code not in errors.CODES


def test_every_error_is_listed():
    assert set(concrete(ClerkAuthError)) == {*SHOWN, errors.KeySetInvalid}


def test_fault_of_the_caller_and_ours_never_mix():
    assert all(issubclass(error, TokenRejected) for error in errors.REJECTIONS)
    assert all(issubclass(error, KeysUnavailable) for error in errors.OUTAGES)
    assert not any(issubclass(error, TokenRejected) for error in errors.OUTAGES)


def test_detail_is_a_sentence_that_a_header_can_carry():
    # RFC 6750 section 3: error_description excludes quotes, backslashes and what is not ASCII.
    for error in SHOWN:
        assert re.fullmatch(r"[A-Z][ !#-\[\]-~]+\.", error.detail), error


def test_no_two_refusals_share_a_sentence():
    assert len({error.detail for error in errors.REJECTIONS}) == len(errors.REJECTIONS)


def test_reason_is_for_the_log_and_never_changes_the_detail():
    error = errors.ClaimInvalid("missing", claim="sub")
    assert (str(error), error.reason) == ("claim_invalid (sub missing)", "missing")
    assert error.detail == errors.ClaimInvalid.detail
    assert str(errors.TokenMalformed("not_json", part="header")) == (
        "token_malformed (header not_json)"
    )
    assert str(errors.UserInactive("left in May")) == "user_inactive (left in May)"


def test_facts_are_fields_of_the_error_and_no_words_of_its_sentence():
    error = errors.PartyNotAllowed("mismatch", claim="azp", found='"https://a.example"')
    assert (error.claim, error.found) == ("azp", '"https://a.example"')
    assert str(error) == "party_not_allowed (azp mismatch)"
    assert {name: value for name, value in error.facts.items() if value} == {"found": error.found}
    assert error.facts.keys() == errors.SignatureInvalid().facts.keys()


def test_error_survives_a_process_boundary():
    error = errors.KeysUnavailable("fetch_failed", cause="tls", retry_after=2.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.facts, copy.retry_after) == (str(error), error.facts, 2.5)


def test_error_without_reason_reads_as_its_detail():
    error = errors.SignatureInvalid()
    assert (str(error), error.reason, error.claim) == (errors.SignatureInvalid.detail, "", None)


def test_outages_say_when_to_come_again():
    assert errors.KeysUnavailable(retry_after=2.5).retry_after == 2.5
    assert errors.KeysUnavailable("cold").retry_after > 0
    assert errors.KeysBusy("two wait").retry_after == 1
