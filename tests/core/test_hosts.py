"""What a host of this machine is."""

from __future__ import annotations

import pytest

from clerk_auth.core.hosts import is_loopback


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1")),
        *((host, False) for host in ("0.0.0.0", "10.0.0.1", "::", "fe80::1", "128.0.0.1")),
        *((host, False) for host in ("127.0.0.1.example", "localhost.example", "127.1", "")),
    ],
)
def test_loopback_is_what_no_resolver_can_move(host, is_one):
    assert is_loopback(host) is is_one
