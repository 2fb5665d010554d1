"""Texts that are tokens, were tokens, or are nothing like one."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

from bench.inside.cases.sessions import NOW, SHORT_BYTES, make_claims, make_header, write
from bench.inside.cases.signing import Signer, encode

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
# The other alphabet, padding, whitespace, controls; look-alikes of a dot and of letters; what is
# not ASCII, half a surrogate pair among them.
ODD = (
    "+/=.%~,: \t\r\n\v\0\x1f\x7f\x80\xa0é\u200b\u202e"
    "\u2024\uff0e\uff21\u212a\ufeff\ud800\udfff\U0001f600"
)
PREFIXES = ("ak_", "mt_", "oat_", "AK_", "ak", "_ak_", " mt_", "oat", "oat-")
LIMITS = (SHORT_BYTES, 16384)
Edit = Callable[[random.Random, str], str]


def _character(order: random.Random) -> str:
    roll = order.random()
    if roll < 0.5:
        return order.choice(ALPHABET)
    return order.choice(ODD) if roll < 0.95 else chr(order.randrange(0x110000))


def _place(order: random.Random, text: str) -> int:
    """Choose a place, often one where segments begin or end."""
    borders = [0, len(text), *(i for i, character in enumerate(text) if character == ".")]
    if order.random() < 0.4:
        return min(max(order.choice(borders) + order.randrange(-2, 3), 0), len(text))
    return order.randrange(len(text) + 1)


def _flip(order: random.Random, text: str) -> str:
    at = _place(order, text)
    return text[:at] + _character(order) + text[at + 1 :]


def _insert(order: random.Random, text: str) -> str:
    at = _place(order, text)
    return text[:at] + _character(order) * order.choice([1, 1, 1, 2, 3, 4]) + text[at:]


def _delete(order: random.Random, text: str) -> str:
    at = _place(order, text)
    return text[:at] + text[at + order.choice([1, 1, 2, 3, 4, 50]) :]


def _double(order: random.Random, text: str) -> str:
    at = _place(order, text)
    return text[:at] + text[max(at - order.choice([1, 1, 4]), 0) :]


def _swap_neighbours(order: random.Random, text: str) -> str:
    at = _place(order, text)
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _cut(order: random.Random, text: str) -> str:
    at = _place(order, text)
    return order.choice([text[:at], text[at:]])


def _change_segment(order: random.Random, text: str) -> str:
    segments = text.split(".")
    at = order.randrange(len(segments))
    segments[at] = respell(order, segments[at])
    return ".".join(segments)


def _rearrange(order: random.Random, text: str) -> str:
    segments = text.split(".")
    at = order.randrange(len(segments))
    match order.randrange(6):
        case 0:
            del segments[at]
        case 1:
            segments[at] = ""
        case 2:
            segments.insert(at, segments[at])
        case 3:
            segments[at] = order.choice(segments)
        case 4:
            order.shuffle(segments)
        case _:
            segments.insert(at, "")
    return ".".join(segments)


def _surround(order: random.Random, text: str) -> str:
    around = order.choice([" ", "\n", "\t", "\0", ".", "=", '"', "'", "\ufeff", "Bearer ", ","])
    return order.choice([around + text, text + around, around + text + around])


def _rewrite(order: random.Random, text: str) -> str:
    at = _place(order, text)
    match order.randrange(5):
        case 0:
            return text.replace("-", "+").replace("_", "/")
        case 1:
            return text.swapcase() if order.randrange(2) else text.lower()
        case 2:
            return text[:at] + f"%{ord(text[at % len(text)]):02X}" + text[at + 1 :] if text else "%"
        case 3:
            return text + text if order.randrange(2) else f"{text}.{text}"
        case _:
            return order.choice(PREFIXES) + text


EDITS: tuple[Edit, ...] = (
    *(_flip, _flip, _insert, _insert, _delete, _double, _swap_neighbours, _cut),
    *(_change_segment, _change_segment, _change_segment, _rearrange, _surround, _rewrite),
)


def respell(order: random.Random, segment: str) -> str:
    """Spell base64url in another way, of which most would decode to the same bytes or nearly."""
    match order.randrange(8):
        case 0 if segment and segment[-1] in ALPHABET:  # the unused bits
            last = ALPHABET.index(segment[-1])
            return segment[:-1] + ALPHABET[last & 0x30 | order.randrange(16)]
        case 1:
            return segment + "=" * order.randrange(1, 5)
        case 2:
            return segment[: len(segment) // 4 * 4] + order.choice(ALPHABET)
        case 3:
            return segment.translate({ord("-"): "+", ord("_"): "/"})
        case 4:
            at = order.randrange(len(segment) + 1)
            return segment[:at] + order.choice("= \n\t\0!*é\ud800+/=") + segment[at:]
        case 5:
            return segment + "A" * order.randrange(1, 5)
        case 6:
            at = order.randrange(len(segment) + 1) // 4 * 4
            return segment[:at] + "====" + segment[at:]
        case _:
            return segment[: -order.randrange(1, 5)]


class Texts:
    """Makes texts from a few signed tokens, whose segments are of every length modulo 4."""

    def __init__(self, order: random.Random, signer: Signer) -> None:
        self._order = order
        self._signer = signer
        self._tokens = [self._sign(padding=i) for i in range(48)]

    def make(self) -> str:
        order = self._order
        roll = order.random()
        if roll < 0.12:
            return order.choice(self._tokens)
        if roll < 0.16:
            return "".join(_character(order) for _ in range(order.randrange(40)))
        if roll < 0.22:
            return order.choice(PREFIXES) + order.choice([order.choice(self._tokens), "", "x", "é"])
        if roll < 0.30:
            return self._of_a_length()
        if roll < 0.48:
            return self._signed_as_spelled()
        text = order.choice(self._tokens)
        if roll < 0.56:
            return self._with_another_signature(text)
        for _ in range(order.choice([1, 1, 1, 2, 3])):
            text = order.choice(EDITS)(order, text)
        return text

    def _sign(self, padding: int) -> str:
        header, claims = make_header(self._order), make_claims(self._order, NOW)
        header |= {"x": "x" * (padding % 4)} if padding % 4 else {}
        claims["name"] = "x" * padding
        return self._signer.token(write(header), write(claims))

    def _of_a_length(self) -> str:
        """Return a token, or a text, about as long as a policy allows."""
        order = self._order
        length = order.choice(LIMITS) + order.randrange(-3, 4)
        match order.randrange(4):
            case 0:
                return order.choice(["A", ".", "é", " ", "ak_", "=", "A.A."]) * length
            case 1:
                return (order.choice([*PREFIXES, "é", ".."]) + "A" * length)[:length]
            case 2:
                return order.choice(self._tokens).ljust(length, order.choice("A=. "))
        # A name that makes it as long, as base64 takes four characters for three.
        return self._sign(max(length - len(self._sign(0)), 0) * 3 // 4 + order.randrange(-2, 3))

    def _signed_as_spelled(self) -> str:
        """Return a token of which header or payload was spelled otherwise before it was signed."""
        order = self._order
        segments = order.choice(self._tokens).split(".")[:2]
        at = order.randrange(2)
        segments[at] = respell(order, segments[at])
        signing_input = ".".join(segments)
        return f"{signing_input}.{encode(self._signer.sign(signing_input, is_known=True))}"

    def _with_another_signature(self, token: str) -> str:
        order = self._order
        signing_input, _, text = token.rpartition(".")
        match order.randrange(7):
            case 0:
                signature = self._signer.sign_otherwise(signing_input)
            case 1:
                signature = order.randbytes(order.choice([1, 2, 3, 255, 256, 256, 257, 512]))
            case 2:
                signature = bytes(order.choice([1, 256]))
            case 3:
                return f"{signing_input}.{text[: order.randrange(len(text))]}"
            case 4:
                return f"{signing_input}.{respell(order, text)}"
            case 5:
                return f"{signing_input}.{order.choice(self._tokens).rpartition('.')[2]}"
            case _:
                known = self._signer.sign(signing_input, is_known=True)
                signature = order.choice([b"\0" + known, known + b"\0", known[:-1], known[::-1]])
        return f"{signing_input}.{encode(signature)}"
