"""Answers to "may they?", from what a verified token grants (Clerk, "Authorization checks").

Each answer is no when the question or the token's claim is malformed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from clerk_auth.core.encoding import is_number

__all__ = [
    "LEVELS", "NOT_ASKED", "PERMISSION_DENIED", "PRESETS", "REFUSALS", "REFUSAL_CODES",
    "REVERIFICATION_REQUIRED", "SCOPES", "Reverification", "is_named", "is_reverified", "is_scoped",
    "read_reverification", "split_scope", "with_prefix",
]  # fmt: skip

# Not None: `has(role=None)` asks for a role that no user has, and must not count as unasked.
NOT_ASKED: Any = object()

LEVELS = ("first_factor", "second_factor", "multi_factor")
_NOT_ENROLLED = -1
_PREFIX = "org:"
# How a question may spell a scope, and the letter that stands for it in a token.
SCOPES = {"o": "o", "org": "o", "organization": "o", "u": "u", "user": "u"}

# Code of a refusal -> what the client is told: what the view asks for, in its author's words, and
# nothing of what the caller has.
REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "role_required": "This needs the role {} in the active organization.",
        "permission_required": "This needs the permission {} in the active organization.",
        "feature_required": "This needs the feature {}.",
        "plan_required": "This needs the plan {}.",
        "organization_required": "This needs an active organization.",
        "ownership_required": "Only the owner may do this.",
        "instance_required": "This is for users of another sign-in.",
        "impersonation_not_allowed": "Only users who act for themselves may do this.",
    }
)
# Where the sentence is REST framework's, or the body is Clerk's.
PERMISSION_DENIED = "permission_denied"
REVERIFICATION_REQUIRED = "reverification_required"
REFUSAL_CODES: tuple[str, ...] = (*REFUSALS, PERMISSION_DENIED, REVERIFICATION_REQUIRED)


@dataclass(frozen=True, slots=True)
class Reverification:
    """How recently a user must have proved who they are: step-up, in Clerk's words reverification.

    ``level`` is one of :data:`LEVELS`. The factor counts as fresh for less than ``after_minutes``.
    A user without a second factor is asked for the first.
    """

    level: str
    after_minutes: float

    def is_met_by(self, factor_ages: tuple[float, float] | None) -> bool:
        """Tell whether factors of these ages, in minutes, -1 for not enrolled, are fresh enough."""
        if factor_ages is None:
            return False
        first, second = factor_ages
        if second == _NOT_ENROLLED:
            second = first
        ages = {"first_factor": (first,), "second_factor": (second,)}
        asked = ages.get(self.level, (first, second))
        return all(0 <= age < self.after_minutes for age in asked)


PRESETS: Mapping[str, Reverification] = MappingProxyType(
    {
        "strict_mfa": Reverification("multi_factor", 10),
        "strict": Reverification("second_factor", 10),
        "moderate": Reverification("second_factor", 60),
        "lax": Reverification("second_factor", 1440),
    }
)


def read_reverification(value: object) -> Reverification:
    """Read a preset's name, or ``{"level": ..., "afterMinutes": ...}`` as Clerk writes it.

    Raises:
        ValueError: neither of the two.
    """
    if isinstance(value, str) and value in PRESETS:
        return PRESETS[value]
    if isinstance(value, Mapping) and value.keys() == {"level", "afterMinutes"}:
        level, minutes = value["level"], value["afterMinutes"]
        if level in LEVELS and is_number(minutes) and 0 < minutes < float("inf"):
            return Reverification(level, minutes)
    raise ValueError(
        f"a reverification is one of {', '.join(PRESETS)}, or "
        f'{{"level": one of {", ".join(LEVELS)}, "afterMinutes": a number over 0}}'
    )


def with_prefix(name: str) -> str:
    """Return the name of a role or permission with its ``org:``; ``admin`` is ``org:admin``."""
    return name if name.startswith(_PREFIX) else _PREFIX + name


def is_named(asked: object, held: Sequence[str | None]) -> bool:
    """Tell whether a role or permission is among those held, each with its ``org:`` or without."""
    if not isinstance(asked, str) or asked in ("", _PREFIX):
        return False
    bare = asked.removeprefix(_PREFIX)
    return _PREFIX + bare in held or (bare in held and not bare.startswith(_PREFIX))


def split_scope(asked: str) -> tuple[str, str]:
    """Split a feature or plan into scope and name: ``o``, ``u``, or both when it names none.

    Raises:
        ValueError: a scope that is neither ``org`` nor ``user``.
    """
    scope, colon, name = asked.rpartition(":")
    if not colon:
        return "ou", name
    if scope not in SCOPES:
        raise ValueError("the scope of a feature or plan is org or user")
    return SCOPES[scope], name


def is_scoped(asked: object, held: Iterable[str]) -> bool:
    """Tell whether a feature or plan is among those held, such as ``o:reports`` or ``uo:beta``."""
    if not isinstance(asked, str):
        return False
    try:
        scopes, name = split_scope(asked)
    except ValueError:
        return False
    return any(
        held_name == name and not set(scopes).isdisjoint(held_scopes)
        for held_scopes, _, held_name in (entry.partition(":") for entry in held)
    )


def is_reverified(asked: object, factor_ages: tuple[float, float] | None) -> bool:
    """Tell whether the factors are as fresh as is asked for."""
    try:
        return read_reverification(asked).is_met_by(factor_ages)
    except ValueError:
        return False
