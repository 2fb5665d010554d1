"""A test client that is signed in by token, as a front end is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rest_framework.test import APIClient

from clerk_auth.error_reports import hide_locals
from clerk_auth.testing.tokens import TEST_USER, clerk_token

__all__ = ["ClerkAPIClient"]


class ClerkAPIClient(APIClient):
    """REST framework's ``APIClient``, with an ``Authorization`` header once it is signed in.

    Each request carries a token of its own, so that none expires in a long test. An
    ``Authorization`` header that a test sets itself goes before it.
    """

    _credentials: dict[str, Any]
    _make_token: Callable[[], str] | None = None

    @hide_locals
    def sign_in(self, user_id: str = TEST_USER, **arguments: Any) -> None:
        """Send ``clerk_token(user_id, **arguments)`` from now on, and raise what that raises."""
        make_token = partial(clerk_token, user_id, **arguments)
        make_token()  # a wrong argument fails here, and not at the first request
        self.sign_out()
        self._make_token = make_token

    def sign_out(self) -> None:
        """Send no token from now on; other ``credentials()`` stay."""
        self._make_token = None
        self._credentials.pop("HTTP_AUTHORIZATION", None)

    def logout(self) -> None:
        """Sign out, and do what ``APIClient`` does: forget ``credentials()`` and the session."""
        self.sign_out()
        super().logout()

    @hide_locals
    def request(self, **kwargs: Any) -> Any:
        if self._make_token is not None:
            kwargs.setdefault("HTTP_AUTHORIZATION", f"Bearer {self._make_token()}")
        return super().request(**kwargs)
