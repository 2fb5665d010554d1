"""What a domain is."""

from __future__ import annotations

import re

__all__ = ["is_domain"]

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:xn--[a-z0-9-]{1,59}|[a-z]{2,63})"
)


def is_domain(host: str) -> bool:
    """Tell whether ``host`` is a domain of two labels or more, in lower case and ASCII."""
    return _DOMAIN.fullmatch(host) is not None
