"""Hosts by their names."""

from __future__ import annotations

import re

__all__ = ["is_domain"]

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:xn--[a-z0-9-]{1,59}|[a-z]{2,63})"
)


def is_domain(text: str) -> bool:
    """Tell whether ``text`` is a domain of two labels or more, in small letters and ASCII."""
    return _DOMAIN.fullmatch(text) is not None
