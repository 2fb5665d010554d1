"""Bytes that are JSON, or nearly so, as the payload or the header of a signed token."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from bench.inside.cases.sessions import (
    IGNORED,
    NOW,
    SESSION,
    make_claims,
    make_header,
    write,
)
from bench.inside.cases.signing import KID, Signer

Fault = Callable[[random.Random, bytes], bytes]

NOT_UTF8 = (
    *(b"\xff", b"\x80", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    b"\xf8\x88\x80\x80\x80",
)
CHARACTERS = (
    "\ufeff\xa0\u2028\u2029\x85é漢\ufffe\ufffd\U0001f600\U0010ffff\u200b\0\x01\x0b\x0c\x1f\x7f"
)
NUMBERS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e400", b"-1e400", b"1E400", b"1e308"),
    *(b"1.7976931348623159e308", b"1e-400", b"-0", b"-0.0", b"01", b"1.", b".5", b"+1", b"0x10"),
    *(b"1_000", b"1e5", b"1e+5", b"-", b"--1", b"1e", b"9" * 25, b"9" * 400, b"9" * 4300),
    *(b"9" * 4301, b"-" + b"9" * 4301, b"1" + b"0" * 5000, b"9" * 4301 + b".5", b"1e" + b"9" * 30),
    *(str(NOW + 50).encode() + end for end in (b".0", b".5", b"e0", b"e-1", b"0")),
)
STRINGS = (
    *(rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\u0000"', rb'"\u12"', rb'"\x41"'),
    *(rb'"\""', rb'"\\"', rb'"\\\""', rb'"\/"', rb'"\u005c\u0022"', rb'"\\\\\""', rb'"', rb'"\"'),
    *(b'"\0"', b'"\n"', b'"\t"', b'"\x7f"', b"'x'", '"\u202e"'.encode(), '"\ufeff"'.encode()),
    *(b'"' + bracket * 70 + b'"' for bracket in (b"[", b"{", b"]", b"}", rb"\"[", rb"\\[")),
)
VALUES = (
    *(b"", b" ", b"{}", b"[]", b"null", b"true", b"0", b'""', b'"x"', b"[{}]", b"{", b"}", b"\0"),
    *(b"{} {}", b"{}{}", b"{},", b"{}x", b'{"a"}', b'{"a":}', b"{a:1}", b"{,}", b'{"a":1,}'),
    *(b"\xff", b"\xef\xbb\xbf{}", b"{}\xef\xbb\xbf", b"{}\n\n", b"[1]", b"-", b"nul", b"NaN"),
    b"9" * 5000,
)


def _add(order: random.Random, text: bytes, name: bytes, value: bytes) -> bytes:
    """Add a member, at the front or at the end of the object or of one in it."""
    member = b'"' + name + b'":' + value
    front = [match.end() for match in re.finditer(rb"\{(?!\})", text)]
    end = [match.start() for match in re.finditer(rb"(?<!\{)\}", text)]
    if front and order.randrange(2):
        at = order.choice([front[0], order.choice(front)])
        return text[:at] + member + b"," + text[at:]
    if end:
        at = order.choice([end[-1], order.choice(end)])
        return text[:at] + b"," + member + text[at:]
    return b"{" + member + b"}"


def _insert(order: random.Random, text: bytes, inserted: bytes) -> bytes:
    at = order.choice([0, len(text), order.randrange(len(text) + 1), text.find(b'":"') + 3])
    return text[:at] + inserted + text[at:]


def _break_utf8(order: random.Random, text: bytes) -> bytes:
    return _insert(order, text, order.choice(NOT_UTF8))


def _insert_character(order: random.Random, text: bytes) -> bytes:
    return _insert(order, text, order.choice(CHARACTERS).encode())


def _surround(order: random.Random, text: bytes) -> bytes:
    blanks = [b" ", b"\t", b"\n", b"\r", b"\r\n", b"   "]
    around = order.choice([*blanks, *blanks, b"\v", b"\f", b"\0", b"\x85", b"\xc2\xa0", b"\x1c"])
    return order.choice([around + text, text + around, around + text + around])


def _space_out(order: random.Random, text: bytes) -> bytes:
    mark = order.choice([b",", b":", b"{", b"}"])
    return text.replace(mark, order.choice([b" ", b"\n", b"\t ", b"\v"]) + mark + b" ")


def _repeat_member(order: random.Random, text: bytes) -> bytes:
    names = re.findall(rb'"(\w+)":', text) or [b"x"]
    name = order.choice(names)
    value = order.choice([b"1", b'"x"', b"null", str(NOW + 50).encode(), b'"active"'])
    if not order.randrange(3):  # the same name in other characters
        name = b"\\u%04x" % name[0] + name[1:]
    elif not order.randrange(3):  # of another member, deeper
        return _add(order, text, b"z", b'{"a":[{"b":1,"b":%s}]}' % value)
    return _add(order, text, name, value)


def _add_number(order: random.Random, text: bytes) -> bytes:
    number = order.choice(NUMBERS)
    if order.randrange(2):
        return _add(order, text, order.choice([b"z", b"exp", b"v"]), number)
    return re.sub(rb"(?<=:)\d+", number, text, count=order.randrange(1, 4))


def _add_string(order: random.Random, text: bytes) -> bytes:
    if not order.randrange(4):
        return _add(order, text, order.choice(STRINGS)[1:-1], b"1")
    return _add(order, text, order.choice([b"z", b"fea", b"org_slug"]), order.choice(STRINGS))


def _nest(order: random.Random, text: bytes) -> bytes:
    depth = order.choice([62, 63, 63, 63, 64, 64, 65, 66, 200])
    opening, closing = order.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"[":', b"}]")])
    if opening.startswith(b"[{"):
        depth //= 2
    core = order.choice([b"1", b"[]", b'"]]]"', b'"[[["', b"", rb'"\"]"', rb'"\\"', b"1,[],{}"])
    value = opening * depth + core + closing * (depth - (not order.randrange(8)))
    if not order.randrange(8):
        return value
    return _add(order, text, order.choice([b"z", rb"]\"}", rb"\\", b"[[{{"]), value)


def _widen(order: random.Random, text: bytes) -> bytes:
    number = order.choice([10, 62, 63, 64, 65, 200])
    entry = order.choice([b"[]", b"{}", b'"["', b'{"[":"{"}', b"[[[1]]]", rb'"\"[\\"'])
    return _add(order, text, b"z", b"[" + b",".join([entry] * number) + b"]")


def _break_syntax(order: random.Random, text: bytes) -> bytes:
    old, new = order.choice(
        [
            *((b",", b",,"), (b":", b"::"), (b":", b"="), (b'"', b"'"), (b"}", b",}"), (b"}", b"")),
            *((b"{", b""), (b",", b";"), (b'":', b":"), (b",", b"/**/,"), (b"true", b"True")),
        ]
    )
    return text.replace(old, new, order.choice([1, 1, -1]))


def _replace(order: random.Random, text: bytes) -> bytes:
    match order.randrange(6):
        case 0:
            return order.choice(VALUES)
        case 1:
            return text + order.choice(VALUES)
        case 2:
            return text[: order.randrange(len(text) + 1)]
        case 3:
            return b"[" + text + b"]"
        case 4:
            coding = order.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
            return text.decode("latin-1").encode(coding)
        case _:
            return order.randbytes(order.randrange(1, 20))


def _flip(order: random.Random, text: bytes) -> bytes:
    at = order.randrange(len(text) + 1)
    byte = bytes([order.choice([order.randrange(256), *b'{}[]",:\\0 '])])
    return text[:at] + byte + text[at + order.randrange(2) :]


FAULTS: tuple[Fault, ...] = (
    *(_break_utf8, _insert_character, _surround, _surround, _space_out, _repeat_member),
    *(_repeat_member, _add_number, _add_number, _add_string, _nest, _widen, _break_syntax),
    *(_replace, _flip, _flip),
)

_MEMBERS: dict[str, list[Any]] = {
    "alg": [
        *("RS256", "rs256", "RS384", "RS512", "PS256", "HS256", "none", "None", "", "RS256 "),
        *(None, True, 256, ["RS256"], {"RS256": 1}, "ES256", "EdDSA", "RS256\0"),
    ],
    "typ": [
        *("JWT", "jwt", "at+jwt", "AT+JWT", "+jwt", "application/at+jwt", "JWS", "", None, True),
        *(["JWT"], {}, "at+jwt ", "jwt+", 1),
    ],
    "cat": [
        *(SESSION, IGNORED, "cl_B7d4PD222AAA", "cl_B7d4PD333AAA", SESSION.lower(), SESSION + " "),
        *("", None, True, 0, [SESSION], {SESSION: 1}),
    ],
    "kid": [
        *(KID, KID + "x", KID.upper(), "x" * 512, "x" * 513, "", " ", "é", "\ud800", "\0", "ins_2"),
        *(None, 0, 1.5, True, [KID], {}, "../../etc/passwd"),
    ],
    "crit": [[], ["exp"], ["b64"], None, "b64", {}, False],
    "b64": [True, False, None, 1, 0, "true", "", [], 1.0],
    "jku": ["https://evil.example", None, 1],
    "jwk": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, None],
    "x5c": [["MIIB"], None],
    "zip": ["DEF", None],
    "cty": ["JWT", None],
    "": [1],
    "ALG": ["none"],
}


def _change_header(order: random.Random, header: dict[str, Any]) -> None:
    for name in order.sample([*_MEMBERS], order.choice([1, 1, 1, 2, 3])):
        if not order.randrange(5):
            header.pop(name, None)
        else:
            header[name] = order.choice(_MEMBERS[name])


def sign_document(order: random.Random, signer: Signer, now: float) -> str:
    """Return a signed token of which at most one part, header or payload, has faults."""
    header, payload = make_header(order), write(make_claims(order, now))
    roll = order.random()
    if roll < 0.25:
        _change_header(order, header)
    text = write(header)
    if 0.25 <= roll < 0.40:
        text = _break(order, text)
    elif 0.40 <= roll < 0.95:
        payload = _break(order, payload)
    return signer.token(text, payload)


def _break(order: random.Random, text: bytes) -> bytes:
    for _ in range(order.choice([1, 1, 1, 2])):
        text = order.choice(FAULTS)(order, text)
    return text
