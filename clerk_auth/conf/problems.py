"""What is wrong with the settings, in words that quote nothing that may be a secret."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clerk_auth.conf import redaction
from clerk_auth.conf.readers import Refused

NO_ISSUER, UNKNOWN, MALFORMED, DEV_MODE_WITHOUT_DEBUG, PLAIN_HTTP, NO_CACHE = (
    "clerk_auth.E001",
    "clerk_auth.E002",
    "clerk_auth.E003",
    "clerk_auth.E004",
    "clerk_auth.E005",
    "clerk_auth.E008",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one setting; ``check_id`` is the id of the system check."""

    check_id: str
    key: str
    message: str
    hint: str

    @property
    def shown_key(self) -> str:
        """The key, and dots for one that may be a secret in the wrong place."""
        return self.key if self.check_id != UNKNOWN else redaction.show_name(self.key)

    @property
    def headline(self) -> str:
        """Say which setting, and what is wrong with it."""
        return f"CLERK_AUTH[{self.shown_key!r}] {self.message}"

    def __str__(self) -> str:
        return f"{self.headline} {self.hint}"


def not_a_dict() -> Problem:
    """Say that the setting as a whole is another type."""
    return Problem(MALFORMED, "", "is not a dict.", "Write CLERK_AUTH = {...}.")


def malformed(key: str, value: object, refused: Refused) -> Problem:
    """Say what a reader said of ``value``, or that it looks like a secret."""
    if redaction.looks_secret(value):
        hint = f"{redaction.SECRET_HINT} {refused.hint}".rstrip()
        return Problem(MALFORMED, key, redaction.SECRET_MESSAGE, hint)
    check_id = PLAIN_HTTP if refused.plain_http else MALFORMED
    return Problem(check_id, key, refused.message, refused.hint)


def no_cache(aliases: Iterable[object]) -> Problem:
    """Say that ``CACHE_ALIAS`` is none of ``aliases``."""
    # Aliases are names; what else a dict may hold for keys is not repeated.
    names = [alias for alias in aliases if isinstance(alias, str) and redaction.is_name(alias)]
    hint = f"Use one of: {', '.join(names)}." if names else "Add it to CACHES."
    return Problem(NO_CACHE, "CACHE_ALIAS", "names an alias that is not in CACHES.", hint)


def find_unknown(values: Mapping[Any, object], settings: Collection[str]) -> list[Problem]:
    """List the keys that name none of ``settings``."""
    # Nobody is led to development mode by a slip of the keyboard.
    known = [name for name in settings if name != "DEV_MODE"]
    return [
        Problem(UNKNOWN, str(key), "is not a setting.", _explain_unknown(str(key), number, known))
        for number, key in enumerate(values, 1)
        if key not in settings
    ]


def _explain_unknown(name: str, number: int, known: Iterable[str]) -> str:
    if redaction.looks_secret(name):
        return f"It is key {number}, and starts like a secret. {redaction.SECRET_HINT}"
    if not redaction.is_name(name):
        return f"It is key {number}; its name is not repeated, as it could be anything."
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else "See docs/settings.md for the list."


def find_conflicts(read: Mapping[str, Any], *, debug: bool) -> list[Problem]:
    """List what contradicts itself in settings that were read one by one."""
    return [*_find_conflicts_of_instance(read, debug), *_find_conflicts_of_times(read)]


def _find_conflicts_of_instance(read: Mapping[str, Any], debug: bool) -> Iterator[Problem]:
    domain, decoded = read["FRONTEND_API"], read["PUBLISHABLE_KEY"]
    if domain and decoded and domain != decoded:
        yield Problem(
            MALFORMED,
            "PUBLISHABLE_KEY",
            f'belongs to "{decoded}", but FRONTEND_API is "{domain}".',
            "Set one of them, of the instance whose tokens you accept.",
        )
    if read["JWT_KEY"] and read["JWKS_URL"]:
        message = "is never fetched while JWT_KEY is set."
        yield Problem(MALFORMED, "JWKS_URL", message, "Remove one of the two.")
    if read["DEV_MODE"]:
        if not debug:
            yield Problem(
                DEV_MODE_WITHOUT_DEBUG,
                "DEV_MODE",
                "is on with DEBUG = False: anybody with the development key could sign in.",
                "Remove it from this environment.",
            )
    elif not (domain or decoded or read["ISSUER"]):
        yield Problem(
            NO_ISSUER,
            "FRONTEND_API",
            "is missing: nothing says whose tokens are accepted.",
            'Set it to your Clerk domain, as in "clerk.example.com".',
        )
    elif not (domain or decoded or read["JWKS_URL"] or read["JWT_KEY"]):
        yield Problem(
            NO_ISSUER,
            "ISSUER",
            "is set, but nothing says where its keys are.",
            "Set JWKS_URL or JWT_KEY beside it, or FRONTEND_API instead.",
        )


def _find_conflicts_of_times(read: Mapping[str, Any]) -> Iterator[Problem]:
    refresh, max_age = read["JWKS_REFRESH_SECONDS"], read["JWKS_MAX_AGE_SECONDS"]
    if refresh > max_age / 2:
        message = "is more than half of JWKS_MAX_AGE_SECONDS."
        yield Problem(MALFORMED, "JWKS_REFRESH_SECONDS", message, f"Use at most {max_age / 2:g}.")
    if read["JWKS_LOCAL_SECONDS"] > refresh:
        message = "is more than JWKS_REFRESH_SECONDS."
        yield Problem(MALFORMED, "JWKS_LOCAL_SECONDS", message, f"Use at most {refresh:g}.")
