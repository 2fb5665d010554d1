"""Reading what says whose tokens are accepted: domain, issuers, keys and origins."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import cast
from urllib.parse import urlsplit

from clerk_auth.conf.domains import is_domain
from clerk_auth.conf.readers import Refused, corrections, read_text, read_texts, reader
from clerk_auth.conf.secrets import looks_secret
from clerk_auth.core.hosts import is_loopback
from clerk_auth.core.keys import MAX_KEYS_PER_KID, VerifyingKey, load_public_key

__all__ = [
    "is_origin", "read_domain", "read_issuers", "read_jwt_keys", "read_parties",
    "read_publishable_key", "read_url",
]  # fmt: skip

# Also the spelling of a browser, where the host is a domain without punycode, or localhost.
_PLAIN = re.compile(r"https?://([^:]+)(?::[1-9][0-9]{3})?")


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
            raise Refused(
                "must not end in a slash: issuers are compared exactly.",
                corrections().write_instead(issuer.rstrip("/"), otherwise="Leave the slash out."),
            )
        if "?" in issuer or not is_origin("/".join(issuer.split("/")[:3])):
            raise Refused(
                "is in a spelling that no token has: issuers are compared exactly.",
                corrections().correct_issuer(issuer),
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
            "is plain http: anyone on the network path could put in a key of their own.",
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
        raise Refused("must be a list.", corrections().correct_parties(value))
    parties = read_texts(value, may_be_empty=True)
    for party in parties:
        if not is_origin(party):
            number = [*cast("Iterable[str]", value)].index(party) + 1
            message = f"has an entry that no browser sends as an origin: number {number}."
            raise Refused(message, corrections().correct_party(party))
    return parties


def is_origin(text: str) -> bool:
    """Tell whether ``text`` is an origin as a browser sends it."""
    found = _PLAIN.fullmatch(text)
    if found and (is_domain(found[1]) or found[1] == "localhost") and "xn--" not in text:
        return True
    # What is not plainly one needs all the rules of a browser.
    from clerk_auth.conf.origins import write_origin

    return write_origin(text) == text
