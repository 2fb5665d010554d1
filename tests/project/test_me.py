"""Who am I."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration


def test_without_a_token(anonymous):
    answer = anonymous.get("/api/me")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_says_what_the_token_says(make_client):
    client = make_client(
        "user_alice", now=1_900_000_000, iat=1_700_000_000, nbf=1_700_000_000, sid="sess_1"
    )
    assert client.get("/api/me").json() == {
        "user_id": "user_alice",
        "session_id": "sess_1",
        "issuer": "https://clerk.example.com",
        "authorized_party": "https://app.example.com",
        "issued_at": 1_700_000_000,
        "expires_at": 1_900_000_060,
        "organization": None,
    }


def test_organization(make_client):
    client = make_client("user_alice", o={"id": "org_1", "slg": "acme", "rol": "admin"})
    assert client.get("/api/me").json()["organization"] == {
        "id": "org_1",
        "slug": "acme",
        "role": "org:admin",
        "permissions": [],
    }


@pytest.mark.django_db(databases=[])
def test_asks_no_database(alice):
    assert alice.get("/api/me").status_code == 200


def test_refused_token(make_client):
    answer = make_client("user_alice", expires_in=-60).get("/api/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
