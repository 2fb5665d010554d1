"""The credential of a request: rule 1, of the ``Authorization`` header."""

from __future__ import annotations

import re

from clerk_auth.core.errors import TokenMalformed

__all__ = ["read_bearer_token"]

# "bearer" as a whole word of RFC 9110's token characters, at the start of the value or of one that
# a server joined to it: two Authorization fields arrive as one, with a comma between.
_BEARER = re.compile(r"(?:\A *|, *)bearer(?![!#$%&'*+\-.^_`|~0-9a-z])", re.IGNORECASE)


def read_bearer_token(authorization: str | bytes | None) -> str | None:
    """Return the token of an ``Authorization`` header, ``None`` when it is not a bearer token.

    Raises:
        TokenMalformed: the scheme is ``Bearer``, and what follows is not one credential.
    """
    # 1: credential
    value = authorization or ""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    token = value[7:].strip(" ")
    if value[:7].lower() == "bearer " and token and " " not in token:
        return token
    if _BEARER.search(value):
        raise TokenMalformed("malformed", part="authorization")
    return None
