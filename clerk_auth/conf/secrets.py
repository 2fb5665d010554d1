"""What may be a secret: a secret key gets into a setting by mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["SECRET_HINT", "SECRET_MESSAGE", "holds_secret", "looks_secret"]

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


def looks_secret(value: object) -> bool:
    """Tell whether a string in ``value`` starts like a secret, or certainly contains one."""
    return any(_STARTS.match(text) or _HOLDS.search(text) for text in _texts(value))


def holds_secret(value: object) -> bool:
    """Tell whether a string in ``value`` certainly contains a secret: more than a prefix."""
    return any(map(_HOLDS.search, _texts(value)))


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
