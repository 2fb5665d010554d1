"""What may be repeated of a setting's value: nothing that may be a secret.

A secret key gets into a setting by mistake, and a message that quotes it ends up in logs, in the
output of CI and in tickets. So a message quotes a value only if its form shows that it is not one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from clerk_auth.conf.domains import is_domain
from clerk_auth.conf.origins import is_site, write_origin

__all__ = [
    "SECRET_HINT",
    "SECRET_MESSAGE",
    "holds_secret",
    "is_name",
    "looks_secret",
    "may_repeat",
    "show_name",
    "show_url",
]

SECRET_MESSAGE = "contains what looks like a secret."
SECRET_HINT = (
    "No secret belongs here: take it out, and rotate it in Clerk's dashboard, because it may be in "
    "logs or in a repository by now."
)

# Secret keys and webhook secrets, API keys and tokens of machines, and JWTs.
_STARTS = re.compile(r"\W*(?:(?:sk|ak|mt|oat|m2m|whsec)_|(?-i:eyJ))", re.I)
_HOLDS = re.compile(
    r"(?<![a-z0-9])(?:sk_(?:live|test)_|whsec_)\w"
    r"|(?<![a-z0-9])(?:ak|mt|oat)_[a-z0-9]{16}"
    r"|PRIVATE KEY-----",
    re.I,
)
# Generated keys are longer, and not of lower-case letters only.
_WORD = re.compile(r"(?=.{1,24}\Z)[a-z]+(?:_[a-z]+)*")
_NAME = re.compile(r"(?=.{1,40}\Z)[A-Za-z]+(?:_[A-Za-z]+)*")


def looks_secret(value: object) -> bool:
    """Tell whether a string in ``value`` starts like a secret, or certainly contains one."""
    return _is_in(value, lambda text: bool(_STARTS.match(text) or _HOLDS.search(text)))


def holds_secret(value: object) -> bool:
    """Tell whether a string in ``value`` certainly contains a secret: more than a prefix."""
    return _is_in(value, lambda text: bool(_HOLDS.search(text)))


def is_name(text: str) -> bool:
    """Tell whether ``text`` is a name of letters, as of a setting or a field."""
    return bool(_NAME.fullmatch(text)) and not looks_secret(text)


def show_name(text: str) -> str:
    """Return ``text`` where it is a name, and dots where it could be anything."""
    return text if is_name(text) else "..."


def may_repeat(text: str) -> bool:
    """Tell whether ``text`` is a domain, the origin of a site or a short word in lower case."""
    has_form = _WORD.fullmatch(text) or is_domain(text) or _is_origin(text)
    return bool(has_form) and not looks_secret(text)


def show_url(url: str) -> str:
    """Return a URL without its query, which may contain a key."""
    address, mark, _ = url.partition("?")
    return f"{address}?..." if mark else address


def _is_origin(text: str) -> bool:
    return write_origin(text) == text and is_site(text)


def _is_in(value: object, test: Callable[[str], bool]) -> bool:
    return any(map(test, _texts(value)))


def _texts(value: object, depth: int = 4) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray):
        yield bytes(value).decode("latin-1")
    elif depth and isinstance(value, Mapping):
        yield from _texts([*value, *value.values()], depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _texts(inner, depth - 1)
