"""Rule 1: what of an ``Authorization`` header is a token, and whose turn it is."""

from __future__ import annotations

import pytest

from clerk_auth.core.credential import read_bearer_token
from clerk_auth.core.errors import TokenMalformed


def test_header_in_bytes_is_read():
    assert read_bearer_token(b"Bearer a.b.c") == "a.b.c"


@pytest.mark.parametrize(
    "text", ["X", "XX", "abcX", "Xabc", "XabcX", "abc\t", "\xa0abc"], ids=ascii
)
@pytest.mark.parametrize("blanks", ["", " ", "  "])
def test_nothing_but_spaces_is_taken_off_a_token(text, blanks):
    assert read_bearer_token(f"Bearer {blanks}{text}{blanks}") == text


@pytest.mark.parametrize(
    "value",
    [None, "", "Basic dXNlcjpwYXNz", "Token abc", "Bearers abc", "bear abc", "x-bearer abc", "abc"],
)
def test_other_scheme_is_left_to_the_next_authenticator(value):
    assert read_bearer_token(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "bearer",
        "Bearer ",
        "Bearer    ",
        "Bearer a b",
        "Bearer\tabc",
        "Bearer,abc",
        "Bearer:abc",
        "Bearer\x00abc",
        "Bearer\xa0abc",
        " Bearer a.b.c",
        "Basic abc, Bearer abc",
        "Basic abc,Bearer abc",
        'Digest username="x", bearer abc',
    ],
)
def test_anything_else_under_the_bearer_scheme_is_malformed(value):
    with pytest.raises(TokenMalformed):
        read_bearer_token(value)
