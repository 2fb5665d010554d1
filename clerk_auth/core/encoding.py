"""Strict base64url and JSON, as RFC 7515 section 2 and RFC 8259 write them.

The standard library's decoders skip foreign characters, accept ``NaN`` and let the last of two
equal members win; each of these lets two readers see two different tokens.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NoReturn, TypeGuard

__all__ = [
    "decode_base64url", "encode_base64url", "is_number", "parse_json", "parse_json_object", "show",
]  # fmt: skip

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_MAX_DEPTH = 64
_MAX_SHOWN = 160
_STEPS = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())
# The last character of a string whose length is 2 or 3 over a multiple of 4 has 4 or 2 unused bits;
# these are the characters in which they are zero (RFC 4648 section 3.5).
_LAST = tuple(map(frozenset, (_ALPHABET, "", "AQgw", "AEIMQUYcgkosw048")))
_PADDING = ("", "", "==", "=")


def decode_base64url(text: str) -> bytes:
    """Decode non-empty unpadded base64url; ``ValueError`` unless in its one canonical spelling."""
    over = len(text) % 4
    # The strict decoder knows base64's own alphabet and padding, and refuses all other characters.
    if "+" in text or "/" in text or "=" in text or text[-1:] not in _LAST[over]:
        raise ValueError("not canonical base64url")
    return a2b_base64(text.replace("-", "+").replace("_", "/") + _PADDING[over], strict_mode=True)


def encode_base64url(data: bytes) -> str:
    """Encode to unpadded base64url."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("duplicate member")
    return found


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN or infinity")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_or_none(value: Any) -> Any:
        try:
            return read(value)
        except ValueError:
            return None

    return read_or_none


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
)
_BY_ENTRY = json.JSONDecoder(
    object_pairs_hook=_or_none(_unique),
    parse_constant=_or_none(_refuse_constant),
    parse_float=_or_none(_finite),
    parse_int=_or_none(int),
)


def parse_json_object(data: bytes, *, by_entry: bool = False) -> dict[str, Any]:
    """Parse a UTF-8 JSON object, as :func:`parse_json`; ``ValueError`` for any other value."""
    value = parse_json(data, by_entry=by_entry)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def parse_json(data: bytes, *, by_entry: bool = False) -> Any:
    """Parse UTF-8 JSON, at most 64 levels deep.

    An object with duplicate members is refused at any depth, and so are ``NaN``, infinity and
    numbers out of range. With ``by_entry`` each of these reads as ``None`` instead, so that one
    bad entry of a list leaves the others.

    Raises:
        ValueError: not UTF-8, not one JSON value, nested deeper, or one of the above.
    """
    text = data.decode("utf-8").strip(" \t\n\r")
    # Before the parser, which is recursive: deep nesting overflows the C stack of a small thread,
    # and that ends the process. Counting brackets is quick, and few of them cannot nest deep.
    if data.count(b"{") + data.count(b"[") > _MAX_DEPTH and _is_deep(data):
        raise ValueError("nested too deep")
    try:
        value, end = (_BY_ENTRY if by_entry else _STRICT).raw_decode(text)
    except RecursionError:  # of a caller whose own calls are nested almost too deep
        raise ValueError("nested too deep") from None
    if end != len(text):
        raise ValueError("something follows the value")
    return value


def _is_deep(data: bytes) -> bool:
    """Tell whether brackets nest too deep, in one pass over each byte.

    Up to the first error this sees the strings that the parser sees, and no parser goes further.
    """
    # Without escapes every other piece between quotes is inside a string.
    outside = b"".join(data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    steps = map(_STEPS.__getitem__, outside.translate(None, _NO_BRACKETS))
    return max(accumulate(steps), default=0) > _MAX_DEPTH


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether ``value`` is a JSON number; ``True`` is not (RFC 7519 section 2)."""
    return type(value) is int or type(value) is float


def show(value: object) -> str:
    """Write a JSON value as one word of printable ASCII, for a log; of a long one the beginning."""
    return json.dumps(value, separators=(",", ":")).replace(" ", r"\u0020")[:_MAX_SHOWN]
