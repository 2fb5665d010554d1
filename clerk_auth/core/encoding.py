"""Strict base64url and JSON, as RFC 7515 section 2 and RFC 8259 write them.

The standard library's decoders skip foreign characters, accept ``NaN`` and let the last of two
equal members win; each of these lets two readers see two different tokens.
"""

from __future__ import annotations

import json
import math
from binascii import a2b_base64, b2a_base64
from typing import Any, NoReturn

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# The last character of a text whose length leaves 2 or 3 over a multiple of 4 carries 4 or 2
# unused bits; these are the characters in which they are zero (RFC 4648 section 3.5).
_LAST = {0: _ALPHABET, 2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


def is_base64url(text: bytes) -> bool:
    """Tell whether ``text`` is non-empty unpadded base64url in its one canonical spelling."""
    last = _LAST.get(len(text) % 4, b"")
    return bool(text) and text[-1] in last and not text.translate(None, _ALPHABET)


def decode_base64url(text: bytes) -> bytes:
    """Decode unpadded base64url; ``ValueError`` unless :func:`is_base64url`."""
    if not is_base64url(text):
        raise ValueError("not canonical base64url")
    return a2b_base64(text.translate(_TO_STANDARD) + b"==")


def encode_base64url(data: bytes) -> str:
    """Encode to unpadded base64url."""
    standard = b2a_base64(data, newline=False).rstrip(b"=")
    return standard.translate(bytes.maketrans(b"+/", b"-_")).decode("ascii")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("duplicate member")
    return found


def _unique_or_none(members: list[tuple[str, Any]]) -> dict[str, Any] | None:
    found = dict(members)
    return found if len(found) == len(members) else None


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN or infinity")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
)
_TOLERANT = json.JSONDecoder(
    object_pairs_hook=_unique_or_none, parse_constant=_refuse_constant, parse_float=_finite
)


def parse_json_object(data: bytes, *, ambiguous_as_none: bool = False) -> dict[str, Any]:
    """Parse a UTF-8 JSON object.

    An object with duplicate members is refused, at any depth; with ``ambiguous_as_none`` it reads
    as ``None`` instead, so that a list can be taken entry by entry.

    Raises:
        ValueError: not UTF-8, not one JSON object, duplicate members, ``NaN``, infinity, nested
            too deep or with a number of too many digits.
    """
    try:
        value = (_TOLERANT if ambiguous_as_none else _STRICT).decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
