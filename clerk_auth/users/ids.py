"""How users' ids are written where those of several Clerk instances meet: ``alias:value``.

The ids of ``default`` have no alias, so that rows which were made before stay what they are. None
of them may have a colon once there are several instances: it could be another instance's id.
"""

from __future__ import annotations

from typing import TypeGuard

from clerk_auth.conf import DEFAULT_INSTANCE, get_config
from clerk_auth.core.claims import is_identifier

__all__ = ["is_value", "make_id"]


def make_id(value: str, alias: str) -> str:
    """Return the id that a row has for ``value`` of an instance, as ``Claims.user_key`` is made."""
    return value if alias == DEFAULT_INSTANCE else f"{alias}:{value}"


def is_value(value: object, alias: str) -> TypeGuard[str]:
    """Tell whether ``value`` may become the id of a user of the instance."""
    return is_identifier(value) and not (":" in value and get_config(alias).is_one_of_several)
