"""What is wrong with the settings: problems with their check ids, and settings in conflict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.conf.readers import Refused, corrections
from clerk_auth.conf.secrets import SECRET_HINT, SECRET_MESSAGE, looks_secret

__all__ = [
    "find_conflicts", "find_unknown", "make_problem", "malformed", "misnamed", "no_cache",
    "no_instance", "not_a_dict", "not_of_an_instance", "same_instance", "unusable",
]  # fmt: skip

_NO_ISSUER, _UNKNOWN, _MALFORMED = "clerk_auth.E001", "clerk_auth.E002", "clerk_auth.E003"
_NO_DEBUG, _PLAIN_HTTP, _NO_CACHE = "clerk_auth.E004", "clerk_auth.E005", "clerk_auth.E008"
_SAME_INSTANCE = "clerk_auth.E016"


def make_problem(check_id: str, key: str, message: str, hint: str) -> CheckMessage:
    """Say what is wrong with the setting ``key``: an error or a warning, as its id says.

    Checks report it, and :func:`unusable` raises it. ``key`` stands in both, and in logs.
    """
    kind = Warning if check_id.startswith("clerk_auth.W") else Error
    return kind(f"CLERK_AUTH[{key!r}] {message}", hint=hint, obj=key, id=check_id)


def unusable(*problems: CheckMessage) -> ImproperlyConfigured:
    """Return the exception that the first use raises: one line for each problem."""
    return ImproperlyConfigured("\n".join(f"{found.msg} {found.hint}" for found in problems))


def no_instance(alias: object, aliases: Iterable[str]) -> ImproperlyConfigured:
    """Return the exception of a use of an instance that the settings do not have."""
    return ImproperlyConfigured(
        f"CLERK_AUTH has no instance {alias!r}. It has: {', '.join(aliases)}."
    )


def not_a_dict(group: str = "") -> CheckMessage:
    """Say that the setting as a whole, or the dict of a group, is of another type."""
    if group:
        return make_problem(_MALFORMED, group, "is not a dict.", "Write {...}.")
    hint = "Write CLERK_AUTH = {...}."
    return Error("CLERK_AUTH is not a dict.", hint=hint, obj="CLERK_AUTH", id=_MALFORMED)


def malformed(key: str, value: object, refused: Refused) -> CheckMessage:
    """Say what a reader said of ``value``, or that it looks like a secret."""
    if looks_secret(value):
        hint = f"{SECRET_HINT} {refused.hint}".rstrip()
        return make_problem(_MALFORMED, key, SECRET_MESSAGE, hint)
    check_id = _PLAIN_HTTP if refused.plain_http else _MALFORMED
    return make_problem(check_id, key, refused.message, refused.hint)


def not_of_an_instance(key: str) -> CheckMessage:
    """Say that a setting of the whole process stands in an instance."""
    hint = "Set it at the top level of CLERK_AUTH."
    return make_problem(_UNKNOWN, key, "is a setting of the whole process.", hint)


def misnamed(group: str, alias: object, number: int, reserved: Collection[str]) -> CheckMessage:
    """Say that a key of ``group`` cannot be an alias."""
    is_reserved = alias in reserved
    shown = str(alias) if is_reserved else corrections().show_name(str(alias))
    key, message = f"{group}.{shown}", "cannot be an alias."
    names = ", ".join(sorted(reserved))
    hint = (
        f"It is key {number}. Use an identifier of at most 32 ASCII characters, but not {names}, "
        "nor another alias in other case."
    )
    if looks_secret(alias) and not is_reserved:
        hint = f"{hint} {SECRET_HINT}"
    return make_problem(_MALFORMED, key, message, hint)


def same_instance(key: str, what: str, other: str) -> CheckMessage:
    """Say that two aliases are one Clerk instance."""
    message = f"has the {what} of the instance {other!r}: tokens of one could be the other's."
    return make_problem(_SAME_INSTANCE, key, message, "Keep one alias for each Clerk instance.")


def no_cache(aliases: Iterable[object], prefix: str = "") -> CheckMessage:
    """Say that ``CACHE_ALIAS`` is none of ``aliases``; ``prefix`` is an instance's path."""
    message, hint = "names an alias that is not in CACHES.", corrections().list_aliases(aliases)
    return make_problem(_NO_CACHE, f"{prefix}CACHE_ALIAS", message, hint)


def find_unknown(
    values: Mapping[Any, object], settings: Collection[str], prefix: str = ""
) -> list[CheckMessage]:
    """List the keys that name none of ``settings``; in messages ``prefix`` stands before them."""
    unknown = [(str(key), at) for at, key in enumerate(values, 1) if key not in settings]
    shown = (corrections().show_unknown(key, at, settings) for key, at in unknown)
    return [make_problem(_UNKNOWN, prefix + key, "is not a setting.", hint) for key, hint in shown]


def find_conflicts(
    read: Mapping[str, Any], top: Mapping[str, Any] | None = None, prefix: str = "", *, debug: bool
) -> list[CheckMessage]:
    """List what contradicts itself in the fields of ``Config``, read one by one.

    Of an instance beside the top level, whose path is ``prefix``, what it inherits from ``top`` is
    not repeated.
    """
    known = [] if top is None else [*_find_inherited(top, debug=debug)]
    found = [conflict for conflict in _find_inherited(read, debug=debug) if conflict not in known]
    return [
        make_problem(check_id, prefix + key, message, hint)
        for check_id, key, message, hint in [*_find_own(read), *found]
    ]


def _find_own(read: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the conflicts between settings that no instance inherits."""
    named, decoded = read["frontend_api"], read["publishable_key"]
    if named and decoded and named != decoded:
        message = f'belongs to "{decoded}", but FRONTEND_API is "{named}".'
        hint = "Set one of them, of the instance whose tokens you accept."
        yield _MALFORMED, "PUBLISHABLE_KEY", message, hint
    if read["jwt_keys"] and read["jwks_url"]:
        message = "is never fetched while JWT_KEY is set."
        yield _MALFORMED, "JWKS_URL", message, "Remove one of the two."

    if read["dev_mode"]:
        return
    if not (named or decoded or read["issuers"]):
        message = "is missing: nothing says whose tokens are accepted."
        hint = 'Set it to your Clerk domain, as in "clerk.example.com".'
        yield _NO_ISSUER, "FRONTEND_API", message, hint
    elif not (named or decoded or read["jwks_url"] or read["jwt_keys"]):
        message = "is set, but nothing says where its keys are."
        hint = "Set JWKS_URL or JWT_KEY beside it, or FRONTEND_API instead."
        yield _NO_ISSUER, "ISSUER", message, hint


def _find_inherited(read: Mapping[str, Any], *, debug: bool) -> Iterator[tuple[str, str, str, str]]:
    """Yield the conflicts between settings that instances inherit, or that are the process's."""
    if read["dev_mode"] and not debug:
        message = "is on with DEBUG = False: anyone with the development key could sign in."
        yield _NO_DEBUG, "DEV_MODE", message, "Remove it from this environment."
    refresh, most = read["jwks_refresh_seconds"], read["jwks_max_age_seconds"] / 2
    if refresh > most:
        message = "is more than half of JWKS_MAX_AGE_SECONDS."
        yield _MALFORMED, "JWKS_REFRESH_SECONDS", message, f"Use at most {most:g}."
    if read["jwks_local_seconds"] > refresh:
        message = "is more than JWKS_REFRESH_SECONDS."
        yield _MALFORMED, "JWKS_LOCAL_SECONDS", message, f"Use at most {refresh:g}."
