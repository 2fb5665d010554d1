"""What a host name is."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["is_domain", "is_loopback"]

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:xn--[a-z0-9-]{1,59}|[a-z]{2,63})"
)


def is_domain(host: str) -> bool:
    """Tell whether ``host`` is a domain of two labels or more, in lower case and ASCII."""
    return _DOMAIN.fullmatch(host) is not None


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
