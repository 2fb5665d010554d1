"""What tests of permissions share: verification with one key, and a request of each caller."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from clerk_auth.core.tokens import Policy
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.users import ClerkUser
from clerk_auth.verifier import Verifier

factory = APIRequestFactory()

CLERK: dict[str, dict[str, Any]] = {
    "admin": {"o": {"id": "org_1", "rol": "admin"}, "fva": [0, 0]},
    "member": {"o": {"id": "org_1", "rol": "member"}, "act": {"sub": "user_support"}},
    "alone": {"pla": "u:free"},
}
OTHERS = {"anonymous": AnonymousUser(), "other": User(username="o"), "staff": User(is_staff=True)}


@pytest.fixture(autouse=True)
def _verified_with_one_key(key_configured):
    pass


class Fixed(BaseAuthentication):
    def __init__(self, user, auth):
        self.pair = user, auth

    def authenticate(self, request):
        return self.pair


@pytest.fixture(scope="session")
def requests(local_issuer) -> dict[str, Request]:
    """A request of each caller; permissions change none of them."""
    verifier = Verifier(
        StaticKeySource((local_issuer.verifying_key,)), Policy(frozenset({local_issuer.issuer}))
    )
    pairs: dict[str, Any] = {name: (user, "not ours") for name, user in OTHERS.items()}
    for name, claims in CLERK.items():
        verified = verifier.check(local_issuer.token(f"user_{name}", **claims))
        pairs[name] = ClerkUser(verified), verified
    return {
        name: Request(factory.get("/"), authenticators=[Fixed(*pair)])
        for name, pair in pairs.items()
    }
