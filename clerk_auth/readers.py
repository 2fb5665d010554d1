"""Reading one value of ``CLERK_AUTH``: every reader returns it in its final form, or refuses it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from clerk_auth.core.claims import is_identifier
from clerk_auth.core.keys import MAX_KEYS_PER_KID, VerifyingKey, load_public_key

_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@\\*]+)")

# Claims in small letters and digits only. Clerk writes these, and none but ``sub`` says which user.
_CLERKS_OWN = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "sid", "sts", "v", "fva", "act"),
        *("o", "fea", "pla"),
    }
)
_OF_ORGANIZATION = re.compile("org(?:anization)?(?:id|slug|role|name|permissions|externalid)?")
# What people choose for themselves, or share with others.
_CHOSEN = frozenset(
    {
        *("name", "fullname", "firstname", "lastname", "givenname", "familyname", "nickname"),
        *("username", "preferredusername", "mail", "slug", "role", "locale", "picture", "imageurl"),
    }
)


class Refused(Exception):
    """A value that cannot be used: what is wrong with it, and what to write instead."""

    def __init__(self, message: str, hint: str, *, plain_http: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.plain_http = message, hint, plain_http


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_domain(value: object) -> str:
    text = read_text(value)
    if _DOMAIN.fullmatch(text):
        return text
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname or ""
    except ValueError:
        host = ""
    if _DOMAIN.fullmatch(host):
        raise Refused("must be a domain only.", f'Write "{host}".')
    raise Refused("is not a domain.", 'Copy it from Clerk\'s dashboard: "clerk.example.com".')


def read_publishable_key(value: object) -> str:
    """Return the domain that a publishable key encodes."""
    match = re.fullmatch(r"pk_(?:test|live)_([A-Za-z0-9+/]+={0,2})", read_text(value))
    if match:
        body = match[1].rstrip("=")
        try:
            text = base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            text = ""
        if text.endswith("$") and _DOMAIN.fullmatch(text[:-1]):
            return text[:-1]
    raise Refused(
        "is not a publishable key.",
        "Copy it from Clerk's dashboard, API keys: it starts with pk_live_ or pk_test_.",
    )


def read_issuers(value: object) -> tuple[str, ...]:
    issuers = read_texts(value, one_is_enough=True)
    for issuer in issuers:
        _check_url(issuer)
        if issuer.endswith("/"):
            raise Refused(
                "must not end in a slash: issuers are compared exactly.",
                f'Write "{issuer.rstrip("/")}".',
            )
    return issuers


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
        raise Refused("holds a character that no URL has here.", "Remove it.")
    if parts.scheme == "http" and not is_loopback(host):
        raise Refused(
            "is plain http: whoever sits on the way could put a key of their own in.",
            "Use https; http is for loopback hosts alone.",
            plain_http=True,
        )


def read_jwt_keys(value: object) -> tuple[VerifyingKey, ...]:
    texts = read_texts(value, one_is_enough=True, read=_read_pem)
    if len(texts) > MAX_KEYS_PER_KID:
        raise Refused("holds too many keys.", f"At most {MAX_KEYS_PER_KID} are tried.")
    try:
        return tuple(map(load_public_key, texts))
    except ValueError as error:
        raise Refused(
            f"holds something that cannot verify a token: {error}.",
            "Copy the PEM public key (RSA, 2048 bits or more) from Clerk's dashboard, API keys.",
        ) from None


def _read_pem(value: object) -> str:
    # Files of this form end in a line break.
    return read_text(value.strip() if isinstance(value, str) else value)


def read_parties(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise Refused("must be a list.", f'Write ["{value}"].')
    parties = read_texts(value, may_be_empty=True)
    for party in parties:
        if _ORIGIN.fullmatch(party):
            continue
        origin = _find_origin(party)
        raise Refused(
            f'has an entry that is no origin: "{party}".',
            f'Origins are compared exactly: write "{origin}".'
            if origin
            else 'Write scheme and host, as in "https://app.example.com".',
        )
    return parties


def _find_origin(text: str) -> str | None:
    """Return the origin that ``text`` was meant to be, if that can be told."""
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    origin = f"{parts.scheme}://{host}{port}"
    return origin if host and _ORIGIN.fullmatch(origin) else None


def read_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused("must be a text that is not empty.", "Set it, or leave the key out.")
    if value != value.strip():
        raise Refused("has blanks around it.", f'Write "{value.strip()}".')
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
        raise Refused("must be a list of texts.", "Write it in brackets.")
    if not value and not may_be_empty:
        raise Refused("must not be empty.", "Add an entry, or leave the key out.")
    return tuple(dict.fromkeys(map(read, value)))


def read_audience(value: object) -> tuple[str, ...]:
    return read_texts(value, one_is_enough=True)


def read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused("must be True or False.", "A text such as 'false' would count as true.")
    return value


def number_reader(
    low: float, high: float = float("inf"), *, whole: bool = False
) -> Callable[..., Any]:
    kind = "a whole number" if whole else "a number"
    limits = f"from {low:g} to {high:g}" if high != float("inf") else f"of at least {low:g}"

    def read(value: object) -> int | float:
        types = int if whole else int | float
        if not isinstance(value, types) or isinstance(value, bool) or not low <= value <= high:
            raise Refused(f"must be {kind} {limits}.", "It is in the unit that the name says.")
        return value

    return read


def choice_reader(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise Refused("has an unknown value.", f"Use one of: {', '.join(choices)}.")
        return str(value)

    return read


def read_dotted_path(value: object) -> str:
    text = read_text(value)
    if not all(part.isidentifier() for part in text.split(".")) or "." not in text:
        raise Refused("is not a dotted path.", 'Write it as in "package.module.name".')
    return text


def read_dotted_paths(value: object) -> tuple[str, ...]:
    return tuple(map(read_dotted_path, read_texts(value, may_be_empty=True)))


def read_names(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise Refused(
            "must be a dict from field names to claim names.", 'Write it as in {"email": "email"}.'
        )
    return MappingProxyType({read_text(key): read_text(name) for key, name in value.items()})


def read_id_claim(value: object) -> str:
    """Return the name of a claim that may say which row is the user's: ``sub``, or a custom one."""
    name = read_text(value)
    if not is_identifier(name) or "{" in name:
        raise Refused("is not the name of a claim.", 'Write it as in "external_id".')
    plain = re.sub("[^a-z0-9]", "", name.lower())
    if "unsafe" in plain:
        raise Refused(
            "names metadata that users write themselves: everybody could be anybody.",
            "Use external_id, or private or public metadata, in a claim of its own.",
        )
    if name != "sub" and (plain in _CLERKS_OWN or _OF_ORGANIZATION.fullmatch(plain)):
        raise Refused(
            "names a claim of Clerk's own that does not say who the user is.",
            'Write "sub", or the name of a claim that you have added to the session token.',
        )
    if plain in _CHOSEN or "email" in plain or "phone" in plain:
        raise Refused(
            "names what people choose, change or share: rows are never found by it.",
            "Use an id that your back end has set, such as external_id.",
        )
    return name


def read_realm(value: object) -> str:
    text = read_text(value)
    if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
        raise Refused("cannot be written in a header.", "Use ASCII without quotes.")
    return text
