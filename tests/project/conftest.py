"""Callers of the demo's API, with tokens of a local issuer whose key is configured."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from tests.conftest import PARTY


@pytest.fixture
def configured(key_configured):
    key_configured.SECURE_SSL_REDIRECT = False


@pytest.fixture
def anonymous(configured):
    return APIClient()


@pytest.fixture
def make_client(configured, local_issuer):
    def make(user_id: str, **claims: object) -> APIClient:
        token = local_issuer.token(user_id, azp=PARTY, **claims)
        return APIClient(headers={"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def alice(make_client):
    return make_client("user_alice")


@pytest.fixture
def bob(make_client):
    return make_client("user_bob")
