"""What may be repeated of a setting's value: nothing that may be a secret.

A message that quotes a secret key ends up in logs, in the output of CI and in tickets. So it quotes
a value only if its form shows that it is not one.
"""

from __future__ import annotations

import re

from clerk_auth.conf.domains import is_domain
from clerk_auth.conf.origins import is_site, write_origin
from clerk_auth.conf.secrets import looks_secret

__all__ = ["is_name", "may_repeat", "show_name", "show_url"]

# Generated keys are longer, and not of lower-case letters only.
_WORD = re.compile(r"(?=.{1,24}\Z)[a-z]+(?:_[a-z]+)*")
_NAME = re.compile(r"(?=.{1,40}\Z)[A-Za-z]+(?:_[A-Za-z]+)*")


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
