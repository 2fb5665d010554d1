"""What to write in place of a value that was refused, and which setting a name was meant to be.

Loaded where something is wrong with the settings, and only there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from clerk_auth.conf.origins import is_site, write_origin
from clerk_auth.conf.redaction import is_name, may_repeat, show_name
from clerk_auth.conf.secrets import SECRET_HINT, looks_secret

__all__ = [
    "correct_issuer", "correct_parties", "correct_party", "list_aliases", "show_unknown",
    "write_instead",
]  # fmt: skip

_AN_ORIGIN = '"https://app.example.com"'


def write_instead(text: str, otherwise: str) -> str:
    """Return a hint that quotes ``text``, or ``otherwise`` where it may not be repeated."""
    return f'Write "{text}".' if may_repeat(text) else otherwise


def correct_issuer(issuer: str) -> str:
    """Return the hint on an issuer whose origin is not spelled as in a token."""
    origin = write_origin(issuer) or ""
    example = f', as in "{origin}"' if is_site(origin) and not looks_secret(issuer) else ""
    return (
        f"Write scheme and host in lower case and ASCII, without default port and query{example}."
    )


def correct_parties(text: str) -> str:
    """Return the hint on a string that stands where a list of origins belongs."""
    origins = _find_origins(text)
    return f"Write [{origins}]." if origins else f"Write origins in brackets: [{_AN_ORIGIN}]."


def correct_party(party: str) -> str:
    """Return the hint on an entry that no browser sends as an origin."""
    if origins := _find_origins(party):
        return f"Origins are compared exactly: write {origins}."
    if "*" in party:
        return f"Write each scheme and host, as in {_AN_ORIGIN}: there are no wildcards."
    return (
        f"Write scheme and host as in {_AN_ORIGIN}: in lower case and ASCII, without "
        "default port and path."
    )


def show_unknown(name: str, number: int, settings: Iterable[str]) -> tuple[str, str]:
    """Return what may be shown of a key that is none of ``settings``, and the hint on it."""
    return show_name(name), _explain_unknown(name, number, settings)


def list_aliases(aliases: Iterable[object]) -> str:
    """Return the hint on an alias that is none of ``aliases``."""
    # Aliases are names; other keys that a dict may have are not repeated.
    names = [alias for alias in aliases if isinstance(alias, str) and is_name(alias)]
    return f"Use one of: {', '.join(names)}." if names else "Add it to CACHES."


def _explain_unknown(name: str, number: int, settings: Iterable[str]) -> str:
    if looks_secret(name):
        return f"It is key {number}, and starts like a secret. {SECRET_HINT}"
    if not is_name(name):
        return f"It is key {number}; its name is not repeated, as it could be anything."
    # Development mode is never suggested for a misspelt name.
    known = [setting for setting in settings if setting != "DEV_MODE"]
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else "See docs/settings.md for the list."


def _find_origins(text: str) -> str:
    """Return the origins that ``text`` was meant to be, quoted; empty where one cannot be told."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    origins = [write_origin(part.strip("'\"")) for part in re.split(r"[\s,;]+", text) if part]
    if looks_secret(text) or not all(origin and is_site(origin) for origin in origins):
        return ""
    return ", ".join(f'"{origin}"' for origin in dict.fromkeys(origins))
