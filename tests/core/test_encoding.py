"""One spelling for bytes, one reading for JSON."""

from __future__ import annotations

import inspect
import json
import string
import sys
from itertools import product

import pytest

from clerk_auth.core.encoding import (
    decode_base64url,
    encode_base64url,
    is_number,
    parse_json,
    parse_json_object,
)
from tests.core.conftest import ENTRY_AT_FAULT, HOSTILE_JSON

ALPHABET = string.ascii_letters + string.digits + "-_"
OBJECT = b'{"alg":"RS256"}'


def is_base64url(text: str) -> bool:
    try:
        decode_base64url(text)
    except ValueError:
        return False
    return True


# RFC 4648 section 10, unpadded.
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
        (b"\xfb\xff\xbf", "-_-_"),
    ],
)
def test_published_examples(data, text):
    assert encode_base64url(data) == text
    assert decode_base64url(text) == data


def test_every_byte_has_one_spelling():
    spellings = map("".join, product(ALPHABET, repeat=2))
    canonical = [text for text in spellings if is_base64url(text)]
    assert sorted(map(decode_base64url, canonical)) == [bytes([byte]) for byte in range(256)]


def test_every_pair_of_bytes_has_one_spelling():
    spellings = ["A" + "".join(pair) for pair in product(ALPHABET, repeat=2)]
    canonical = [text for text in spellings if is_base64url(text)]
    assert sorted(map(decode_base64url, canonical)) == [
        bytes([first, second]) for first in range(4) for second in range(256)
    ]


def test_whole_groups_have_no_unused_bits():
    assert all(is_base64url("AAA" + last) for last in ALPHABET)


# Of a length that leaves 0, 1, 2 or 3 over a multiple of 4: which last characters have no bit that
# would be dropped (RFC 4648 section 3.5).
LAST = [ALPHABET, "", "AQgw", "AEIMQUYcgkosw048"]
# All of one byte, and some that look like one of the alphabet, or are half a character.
CHARACTERS = [*map(chr, range(256)), "\u0131", "\uff21", "\ud83d", "\U0001d400"]


@pytest.mark.parametrize("over", range(4))
@pytest.mark.parametrize("groups", [0, 1, 2])
def test_last_character_of_a_segment_wastes_no_bit(groups, over):
    start = "AAAA" * groups + "A" * (over - 1) if over else "AAAA" * groups + "AAA"
    for character in CHARACTERS:
        text = start + character
        assert is_base64url(text) is (character in LAST[over]), text


def test_nothing_but_the_alphabet():
    for place in range(4):
        texts = ["AAA"[:place] + character + "AAA"[place:] for character in CHARACTERS]
        assert sorted(text[place] for text in texts if is_base64url(text)) == sorted(ALPHABET)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("A", id="one-character"),
        pytest.param("AAAAA", id="one-character-over"),
        pytest.param("QQ==", id="padded"),
        pytest.param("QQ=A", id="padded-within"),
        pytest.param("QQ==QUFB", id="padded-before-the-end"),
        pytest.param("Zm9v\n", id="newline-at-the-end"),
        pytest.param("Zm9\nv", id="newline-within"),
        pytest.param("QR", id="unused-bits-of-one-byte"),
        pytest.param("QUF", id="unused-bits-of-two-bytes"),
    ],
)
def test_other_spellings_do_not_decode(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the library's or ours
        decode_base64url(text)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        pytest.param(b"{}", {}, id="empty"),
        pytest.param(b' \t\r\n{ "a" : 1 } \n', {"a": 1}, id="blanks-between"),
        pytest.param('{"ключ":"é"}'.encode(), {"ключ": "é"}, id="utf-8"),
        pytest.param(rb'{"a":"\ud83d\ude00"}', {"a": "😀"}, id="escaped-pair"),
        pytest.param(b'{"a":[{"b":1},{"b":2}]}', {"a": [{"b": 1}, {"b": 2}]}, id="same-name-apart"),
        pytest.param(b'{"a":1,"A":2}', {"a": 1, "A": 2}, id="names-differ-by-case"),
        pytest.param(b'{"a":1e308,"b":-0.5}', {"a": 1e308, "b": -0.5}, id="floats"),
        pytest.param(b'{"a":' + b"9" * 4300 + b"}", {"a": 10**4300 - 1}, id="4300-digits"),
    ],
)
def test_strict_json_is_read(document, value):
    assert parse_json_object(document) == value


def is_read(document: bytes, **options: bool) -> bool:
    try:
        parse_json_object(document, **options)
    except ValueError:
        return False
    return True


def test_hostile_json_is_a_value_error():
    assert is_read(OBJECT)
    assert [name for name, damage in HOSTILE_JSON.items() if is_read(damage(OBJECT))] == []


def test_reading_by_entry_takes_ambiguity_and_wild_numbers_alone():
    taken = {
        name for name, damage in HOSTILE_JSON.items() if is_read(damage(OBJECT), by_entry=True)
    }
    assert taken == ENTRY_AT_FAULT


@pytest.mark.parametrize(
    ("document", "value"),
    [
        pytest.param(b'{"a":[{"b":1},{"b":1,"b":2}]}', {"a": [{"b": 1}, None]}, id="ambiguous"),
        pytest.param(b'{"a":{"b":1,"b":1}}', {"a": None}, id="equal-values"),
        pytest.param(b'{"a":[{"b":{"c":1,"c":2}}]}', {"a": [{"b": None}]}, id="inside-an-entry"),
        pytest.param(b'{"a":[1,NaN,-Infinity]}', {"a": [1, None, None]}, id="not-a-number"),
        pytest.param(b'{"a":[1.5,1e999]}', {"a": [1.5, None]}, id="out-of-range"),
        pytest.param(b'{"a":[7,' + b"9" * 5000 + b"]}", {"a": [7, None]}, id="5000-digits"),
    ],
)
def test_bad_entry_reads_as_none(document, value):
    assert parse_json_object(document, by_entry=True) == value


def test_ambiguous_document_is_refused_as_a_whole():
    with pytest.raises(ValueError, match="not an object"):
        parse_json_object(b'{"keys":[],"keys":[]}', by_entry=True)


# Brackets that are no levels, and that take none away.
IN_STRINGS = [
    b'"%b":"%b",' % (text, text)
    for text in (
        rb"[[[",
        rb"]]]",
        rb"]\"]",
        rb"[\\",
        rb"]\\\"]",
        rb"[\\\\",
        rb"\u005d\n]",
        "é]".encode(),
    )
]


@pytest.mark.parametrize(("levels", "expected"), [(63, True), (64, True), (65, False)])
@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"y":', b"}")], ids=["lists", "objects"]
)
def test_object_is_at_most_64_levels_deep(opening, closing, levels, expected):
    # The object itself and the core are two levels; what stands beside them adds none.
    cores, beside = (b"[]", b"[1]", b'{"z":1}'), [b"", b'"a":[[],[]],', *IN_STRINGS]
    for core, more in product(cores, beside):
        inner = opening * (levels - 2) + core + closing * (levels - 2)
        document = b'{%b"x":%b}' % (more, inner)
        assert is_read(document) is expected, (core, more)
        assert is_read(document, by_entry=True) is expected, (core, more)


def test_brackets_in_a_text_are_no_levels():
    assert parse_json_object(b'{"x":"' + b"[{" * 500 + b'"}') == {"x": "[{" * 500}


@pytest.mark.parametrize("levels", [63, 64, 65])
def test_depth_is_that_of_what_a_parser_reads(levels):
    inner = rb'{"\\":"\"]","]":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"
    assert json.loads(inner)
    assert is_read(inner) is (levels <= 64)


def test_depth_is_bounded_up_to_the_first_error():
    # Whatever follows an error is read by nobody, and hides nothing that stands before it.
    for before in (b'{"x":', b'{"x":"\\', b'{"x":\\"', b"{x:", b"]]]]", b'{"x":1"'):
        for deep in (b"[" * 65, b"[" * 50_000, b'"[' * 50_000):
            assert not is_read(before + deep)
            assert not is_read(before + deep, by_entry=True)


def test_caller_nested_almost_too_deep_gets_a_value_error():
    def nest(calls: int) -> bool:
        return nest(calls - 1) if calls else is_read(b'{"x":' + b"[" * 60 + b"]" * 60 + b"}")

    room = sys.getrecursionlimit() - len(inspect.stack(0))
    outcomes = []
    for calls in range(room - 80, room):
        try:
            outcomes.append(nest(calls))
        except RecursionError:
            break
    assert outcomes[0]
    assert False in outcomes


def test_any_json_value_is_read_where_no_object_is_asked_for():
    assert [parse_json(text) for text in (b" [1]\n", b'"x"', b"null")] == [[1], "x", None]
    with pytest.raises(ValueError, match="follows"):
        parse_json(b"1 2")


def test_wide_object_is_not_deep():
    assert len(parse_json_object(b'{"x":[' + b"[],{}," * 500 + b"1]}")["x"]) == 1001


def test_number_is_neither_a_boolean_nor_a_string():
    assert all(map(is_number, [0, -1, 1.5, 10**4000]))
    assert not any(map(is_number, [True, False, None, "1", [1], {}]))
