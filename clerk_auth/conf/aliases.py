"""The aliases of Clerk instances, which ``INSTANCES`` chooses for those beside the top level."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeGuard

from django.core.checks import CheckMessage

from clerk_auth.conf import problems
from clerk_auth.conf.secrets import looks_secret
from clerk_auth.core.claims import DEFAULT_INSTANCE

__all__ = ["INSTANCES", "RESERVED", "find_misnamed", "is_alias", "read_instances"]

INSTANCES = "INSTANCES"
# The top level itself, and kinds of credentials.
RESERVED = frozenset({DEFAULT_INSTANCE, "api_key", "m2m_token", "oauth_token"})
# An alias stands before the ids of users, in columns that were made for the ids.
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")


def is_alias(value: object) -> TypeGuard[str]:
    """Tell whether ``value`` may name an instance beside the top level."""
    is_name = isinstance(value, str) and bool(_ALIAS.fullmatch(value))
    return is_name and value not in RESERVED and not looks_secret(value)


def read_instances(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what ``INSTANCES`` holds by alias, whatever else is wrong with it."""
    named = values.get(INSTANCES, {})
    return {alias: named[alias] for alias in named if is_alias(alias)} if _is_dict(named) else {}


def find_misnamed(values: Mapping[Any, Any]) -> list[CheckMessage]:
    """List the keys of ``INSTANCES`` that cannot be aliases."""
    named = values.get(INSTANCES, {})
    if not _is_dict(named):
        return [problems.not_a_dict(INSTANCES)]
    # A column that ignores case would hold the users of both under one key.
    spelled = Counter(str(alias).lower() for alias in named)
    return [
        problems.misnamed(INSTANCES, alias, number, RESERVED)
        for number, alias in enumerate(named, 1)
        if not is_alias(alias) or spelled[alias.lower()] > 1
    ]


def _is_dict(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)
