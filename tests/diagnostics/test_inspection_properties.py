"""Whatever the text is, the inspection says what the verifier does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clerk_auth.issuer.local import ABSENT
from tests.core.test_properties import CLAIMS, HEADER_MEMBERS, TOKEN, encode, members
from tests.diagnostics.conftest import STRICT

pytestmark = pytest.mark.integration

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@few
@given(text=TOKEN)
def test_any_text_is_judged_as_the_verifier_does(text, judge):
    json.dumps(judge(text).as_dict())


@few
@given(header=members(HEADER_MEMBERS), claims=members(CLAIMS), options=st.data())
def test_any_signed_token_is_judged_as_the_verifier_does(header, claims, options, make, judge):
    policy = replace(
        STRICT,
        authorized_parties=options.draw(st.sampled_from([STRICT.authorized_parties, frozenset()])),
        audiences=options.draw(st.sampled_from([STRICT.audiences, frozenset()])),
        party_required=options.draw(st.booleans()),
        accept_pending=options.draw(st.booleans()),
        kid_required=options.draw(st.booleans()),
    )
    text = json.dumps(judge(make(header, **claims), policy).as_dict())
    assert text.isascii()
    assert text.isprintable()


@few
@given(header=members(HEADER_MEMBERS), claims=members(CLAIMS))
def test_any_unsigned_token_is_judged_as_the_verifier_does(header, claims, judge):
    parts = ({k: v for k, v in part.items() if v is not ABSENT} for part in (header, claims))
    assert judge(".".join([*map(encode, parts), "AAAA"])).key is None
