"""What a token holds, in printable ASCII, which steers no terminal, and not at length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from clerk_auth.core.encoding import is_number
from clerk_auth.core.keys import VerifyingKey, hash_kid
from clerk_auth.jwks.source import Keys

__all__ = [
    "MAX_SHOWN", "count", "describe_time", "format_duration", "name_key", "show", "show_kid",
    "show_members",
]  # fmt: skip

MAX_SHOWN = 160
_YEAR_10000 = 253_402_300_800


def show(value: object) -> str:
    """Write a value of a token as JSON."""
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def show_members(members: Mapping[str, Any], *names: str) -> str:
    """Write the named members, and which of them are missing."""
    return ", ".join(f"{n} {show(members[n])}" if n in members else f"no {n}" for n in names)


def show_kid(header: Mapping[str, Any], keys: Keys) -> str:
    """Write a header's key id, the hash that stands for it in the log, and those of ``keys``."""
    kid = header.get("kid")
    digest = f" (SHA-256 {hash_kid(kid)})" if isinstance(kid, str) else ""
    held = ", ".join(sorted({show(key.kid) for key in keys if key.kid})) or count(len(keys), "key")
    return f"{show_members(header, 'kid')}{digest}; held: {held}"


def name_key(key: VerifyingKey) -> str:
    """Write what tells a key from another, on one line that nothing in a key id can steer."""
    kid = key.kid.encode("unicode_escape").decode("ascii")
    name = f"kid {kid}" if kid else "no kid (JWT_KEY)"
    return f"{name}  RSA {key.bits}  sig RS256  thumbprint {key.thumbprint}"


def describe_time(value: object, now: float) -> str:
    """Write a time claim as a date, and how far it is from ``now``."""
    # Compared before it is reckoned with: an integer of any size is a number.
    if not is_number(value) or not 0 <= value < _YEAR_10000:
        return show(value)
    when = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    distance = format_duration(abs(value - now))
    return f"{when} ({distance} ago)" if value <= now else f"{when} (in {distance})"


def format_duration(seconds: float) -> str:
    """Write a time span of 0 seconds or more: ``12 s``, ``3 h 5 min``, ``40 days``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def count(number: int, thing: str, things: str = "") -> str:
    """Write how many there are; ``things`` where it is not ``thing`` with an s."""
    return f"{number} {thing}" if number == 1 else f"{number} {things or thing + 's'}"
