"""Reading one value of ``CLERK_AUTH``: every reader returns it in its final form, or refuses it."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from clerk_auth.conf.origins import is_site, write_origin
from clerk_auth.conf.redaction import looks_secret, may_repeat
from clerk_auth.core.claims import is_identifier
from clerk_auth.core.hosts import is_domain, is_loopback
from clerk_auth.core.keys import MAX_KEYS_PER_KID, VerifyingKey, load_public_key

T = TypeVar("T")

_AN_ORIGIN = '"https://app.example.com"'

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

    Neither quotes the value, but for what ``redaction`` lets through: it may be a secret.
    """

    def __init__(self, message: str, hint: str, *, plain_http: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.plain_http = message, hint, plain_http


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


@reader("string", "a domain")
def read_domain(value: object) -> str:
    text = read_text(value)
    if is_domain(text):
        return text
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname or ""
    except ValueError:
        host = ""
    if is_domain(host) and not looks_secret(text):
        raise Refused("must be a domain only.", f'Write "{host}".')
    raise Refused("is not a domain.", 'Copy it from Clerk\'s dashboard: "clerk.example.com".')


@reader("string", "`pk_live_...`, `pk_test_...`")
def read_publishable_key(value: object) -> str:
    """Return the domain that a publishable key encodes."""
    match = re.fullmatch(r"pk_(?:test|live)_([A-Za-z0-9+/]+={0,2})", read_text(value))
    if match:
        body = match[1].rstrip("=")
        try:
            text = base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            text = ""
        if text.endswith("$") and is_domain(text[:-1]):
            return text[:-1]
    raise Refused(
        "is not a publishable key.",
        "Copy it from Clerk's dashboard, API keys: it starts with pk_live_ or pk_test_.",
    )


@reader("string or list", "https URLs")
def read_issuers(value: object) -> tuple[str, ...]:
    issuers = read_texts(value, one_is_enough=True)
    for issuer in issuers:
        _check_url(issuer)
        if issuer.endswith("/"):
            written = issuer.rstrip("/")
            raise Refused(
                "must not end in a slash: issuers are compared exactly.",
                f'Write "{written}".' if may_repeat(written) else "Leave the slash out.",
            )
        origin = write_origin(issuer) or ""
        if "?" in issuer or not f"{issuer}/".startswith(f"{origin}/"):
            raise Refused(
                "is in a spelling that no token has: issuers are compared exactly.",
                "Write scheme and host in lower case and ASCII, without default port and query"
                + (f', as in "{origin}".' if is_site(origin) and not looks_secret(issuer) else "."),
            )
    return issuers


@reader("string", "https URL")
def read_url(value: object) -> str:
    text = read_text(value)
    _check_url(text)
    return text


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None:
        raise Refused(
            "is not an https URL without credentials.",
            "Write it with its scheme, as in https://clerk.example.com.",
        )
    if re.search(r"[\s\\#]", text):
        raise Refused("contains a character that a URL cannot have here.", "Remove it.")
    if parts.scheme == "http" and not is_loopback(host):
        raise Refused(
            "is plain http: anybody on the network path could put in a key of their own.",
            "Use https; http is only for loopback hosts.",
            plain_http=True,
        )


@reader("string or list", f"1 to {MAX_KEYS_PER_KID} keys")
def read_jwt_keys(value: object) -> tuple[VerifyingKey, ...]:
    texts = read_texts(value, one_is_enough=True, read=_read_pem)
    if len(texts) > MAX_KEYS_PER_KID:
        raise Refused("has too many keys.", f"At most {MAX_KEYS_PER_KID} are tried.")
    try:
        return tuple(map(load_public_key, texts))
    except ValueError as error:
        raise Refused(
            f"has something in it that cannot verify a token: {error}.",
            "Copy the PEM public key (RSA, 2048 bits or more) from Clerk's dashboard, API keys.",
        ) from None


def _read_pem(value: object) -> str:
    # Files of this form end in a line break.
    return read_text(value.strip() if isinstance(value, str) else value)


@reader("list", "origins")
def read_parties(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        origins = _find_origins(value)
        raise Refused(
            "must be a list.",
            f"Write [{origins}]." if origins else f"Write origins in brackets: [{_AN_ORIGIN}].",
        )
    parties = read_texts(value, may_be_empty=True)
    for party in parties:
        if write_origin(party) == party:
            continue
        origins = _find_origins(party)
        if origins:
            hint = f"Origins are compared exactly: write {origins}."
        elif "*" in party:
            hint = f"Write each scheme and host, as in {_AN_ORIGIN}: there are no wildcards."
        else:
            hint = (
                f"Write scheme and host as in {_AN_ORIGIN}: in lower case and ASCII, without "
                "default port and path."
            )
        number = [*cast("Iterable[str]", value)].index(party) + 1
        raise Refused(f"has an entry that no browser sends as an origin: number {number}.", hint)
    return parties


def _find_origins(text: str) -> str:
    """Return the origins that ``text`` was meant to be, quoted; empty where one cannot be told."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    origins = [write_origin(part.strip("'\"")) for part in re.split(r"[\s,;]+", text) if part]
    if looks_secret(text) or not all(origin and is_site(origin) for origin in origins):
        return ""
    return ", ".join(f'"{origin}"' for origin in dict.fromkeys(origins))


@reader("string")
def read_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused("must be a string that is not empty.", "Set it, or leave the key out.")
    if (text := value.strip()) != value:
        hint = f'Write "{text}".' if may_repeat(text) else "Remove it."
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
