"""Reading one value of ``CLERK_AUTH``: every reader returns it in its final form, or refuses it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from clerk_auth.core.claims import is_identifier

__all__ = [
    "Reader", "Refused", "choice", "corrections", "integer", "number", "read_audience",
    "read_dotted_path", "read_dotted_paths", "read_flag", "read_id_claim", "read_names",
    "read_realm", "read_text", "read_texts", "reader",
]  # fmt: skip

T = TypeVar("T")

# Claims in lower case, letters and digits only. Clerk writes these; only ``sub`` says which user.
_CLERKS_OWN = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "sid", "sts", "v", "fva", "act"),
        *("o", "fea", "pla"),
    }
)
_OF_ORGANIZATION = re.compile("org(?:anization)?(?:id|slug|role|name|permissions|externalid)?")
# What users choose for themselves, or share with others.
_CHOSEN = frozenset(
    {
        *("name", "fullname", "firstname", "lastname", "givenname", "familyname", "nickname"),
        *("username", "preferredusername", "mail", "slug", "role", "locale", "picture", "imageurl"),
    }
)


class Refused(Exception):
    """A value that cannot be used: what is wrong with it, and what to write instead.

    Neither quotes the value, but for what ``conf.redaction`` lets through: it may be a secret.
    """

    def __init__(self, message: str, hint: str, *, plain_http: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.plain_http = message, hint, plain_http


def corrections() -> Any:
    """Return the module that says what to write instead; it is loaded where something is wrong."""
    return import_module("clerk_auth.conf.corrections")


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """Returns a value in its final form, or raises :class:`Refused`.

    ``type`` and ``range`` say what it takes, as in ``docs/settings.md``.
    """

    type: str
    range: str
    read: Callable[[object], T]

    def __call__(self, value: object) -> T:
        return self.read(value)


def reader(type: str, range: str = "") -> Callable[[Callable[[object], T]], Reader[T]]:
    """Make a function of a value a :class:`Reader`."""
    return lambda read: Reader(type, range, read)


@reader("string")
def read_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused("must be a string that is not empty.", "Set it, or leave the key out.")
    if (text := value.strip()) != value:
        hint = corrections().write_instead(text, otherwise="Remove it.")
        raise Refused("has whitespace around it.", hint)
    return value


def read_texts(
    value: object,
    *,
    one_is_enough: bool = False,
    may_be_empty: bool = False,
    read: Callable[[object], str] = read_text,
) -> tuple[str, ...]:
    if isinstance(value, str) and one_is_enough:
        value = [value]
    if not isinstance(value, list | tuple):
        raise Refused("must be a list of strings.", "Write it in brackets.")
    if not value and not may_be_empty:
        raise Refused("must not be empty.", "Add an entry, or leave the key out.")
    return tuple(dict.fromkeys(map(read, value)))


@reader("string or list", "not empty")
def read_audience(value: object) -> tuple[str, ...]:
    return read_texts(value, one_is_enough=True)


@reader("boolean")
def read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused("must be True or False.", "A string such as 'false' would count as true.")
    return value


def number(
    low: int, high: float = math.inf, *, types: Any = int | float, kind: str = "number"
) -> Reader[Any]:
    """Make a reader of numbers from ``low`` to ``high``, both included."""
    is_bounded = high != math.inf
    article = "an" if kind[0] in "aeiou" else "a"
    limits = f"from {low} to {high}" if is_bounded else f"of at least {low}"

    @reader(kind, f"{low} to {high}" if is_bounded else f"{low} up")
    def read(value: object) -> Any:
        if not isinstance(value, types) or isinstance(value, bool) or not low <= value <= high:
            raise Refused(f"must be {article} {kind} {limits}.", "Its unit is in its name.")
        return value

    return read


integer = partial(number, types=int, kind="integer")


def choice(*choices: str) -> Reader[str]:
    """Make a reader of a string that is exactly one of ``choices``."""

    @reader("string", ", ".join(f'`"{choice}"`' for choice in choices))
    def read(value: object) -> str:
        if value not in choices:
            raise Refused("has an unknown value.", f"Use one of: {', '.join(choices)}.")
        return str(value)

    return read


@reader("dotted path")
def read_dotted_path(value: object) -> str:
    text = read_text(value)
    if not all(part.isidentifier() for part in text.split(".")) or "." not in text:
        raise Refused("is not a dotted path.", 'Write it as in "package.module.name".')
    return text


@reader("list", "dotted paths")
def read_dotted_paths(value: object) -> tuple[str, ...]:
    return tuple(map(read_dotted_path, read_texts(value, may_be_empty=True)))


@reader("dict", "field: claim")
def read_names(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise Refused(
            "must be a dict from field names to claim names.", 'Write it as in {"email": "email"}.'
        )
    return MappingProxyType({read_text(key): read_text(name) for key, name in value.items()})


@reader("string", '`"sub"` or a custom claim')
def read_id_claim(value: object) -> str:
    """Return the name of a claim that may say which row is the user's: ``sub``, or a custom one."""
    name = read_text(value)
    if not is_identifier(name) or "{" in name:
        raise Refused("is not the name of a claim.", 'Write it as in "external_id".')
    plain = re.sub("[^a-z0-9]", "", name.lower())
    if "unsafe" in plain:
        raise Refused(
            "names metadata that users write themselves: any user could become any other.",
            "Use external_id, or private or public metadata, in a claim of its own.",
        )
    if name != "sub" and (plain in _CLERKS_OWN or _OF_ORGANIZATION.fullmatch(plain)):
        raise Refused(
            "names a claim of Clerk's own that does not say who the user is.",
            'Write "sub", or the name of a claim that you have added to the session token.',
        )
    if plain in _CHOSEN or "email" in plain or "phone" in plain:
        raise Refused(
            "names what users choose, change or share: rows are never found by it.",
            "Use an id that your back end has set, such as external_id.",
        )
    return name


@reader("string", "ASCII without quotes")
def read_realm(value: object) -> str:
    text = read_text(value)
    if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
        raise Refused("cannot be written in a header.", "Use ASCII without quotes.")
    return text
