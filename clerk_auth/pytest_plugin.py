"""The fixtures of ``clerk_auth.testing`` for pytest; they need pytest-django's ``settings``.

pytest imports this module at its start, in every project of the environment: it imports nothing
more until a test asks for a fixture, and none of them is used unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clerk_auth.issuer.standin import StandInClerk
    from clerk_auth.testing import BadTokens, ClerkAPIClient

__all__ = ["clerk_bad_tokens", "clerk_client", "clerk_jwks_server", "clerk_token"]


@pytest.fixture
def _clerk_auth(settings: Any) -> Any:
    """Settings that trust the throw-away issuer; restored with whatever else the test sets."""
    from clerk_auth.testing.instance import clerk_auth_settings

    settings.CLERK_AUTH = clerk_auth_settings()
    return settings


@pytest.fixture
def clerk_token(_clerk_auth: Any) -> Callable[..., str]:
    """``clerk_token(user_id, org=..., role=..., ...)`` makes a token that is accepted."""
    from clerk_auth.testing import clerk_token

    return clerk_token


@pytest.fixture
def clerk_client(_clerk_auth: Any) -> ClerkAPIClient:
    """An ``APIClient`` with ``sign_in(user_id, ...)`` and ``sign_out()``."""
    from clerk_auth.testing import ClerkAPIClient

    return ClerkAPIClient()


@pytest.fixture
def clerk_bad_tokens(_clerk_auth: Any) -> BadTokens:
    """Tokens that must be refused: ``expired``, ``wrong_party``, ``forged``, ..."""
    from clerk_auth.testing import BadTokens

    return BadTokens()


@pytest.fixture
def clerk_jwks_server(_clerk_auth: Any) -> Iterator[StandInClerk]:
    """A key set over HTTP that the settings fetch, and the other fixtures sign for."""
    from clerk_auth.testing import StandInClerk
    from clerk_auth.testing.instance import clerk_auth_settings

    with StandInClerk() as server:
        _clerk_auth.CLERK_AUTH = clerk_auth_settings(server)
        yield server
