"""What an organization's role, permissions, plan and features open, and what step-up guards."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from project.models import Upload

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

ORGANIZATION = {"id": "org_1", "slg": "acme"}
MEMBER = {"o": ORGANIZATION | {"rol": "member"}}
ADMIN = {"o": ORGANIZATION | {"rol": "admin"}}
READER = {"o": ORGANIZATION | {"rol": "member", "per": "read", "fpm": "1"}, "fea": "o:uploads"}
ELSEWHERE = {"o": {"id": "org_2", "rol": "admin"}}
FRESH, STALE = {"fva": [0, -1]}, {"fva": [10, -1]}
PAYING = {"pla": "o:pro", "fea": "o:usage"}


@pytest.fixture
def upload_url(make_client):
    """Where Alice's upload is, which she made as a member of the organization."""
    file = SimpleUploadedFile("people.csv", b"id\n1\n2\n", "text/csv")
    answer = make_client("user_alice", **MEMBER).post("/api/uploads", {"file": file})
    return f"/api/uploads/{answer.json()['id']}"


def test_organization_is_shown_to_its_members(make_client, alice):
    assert make_client("user_bob", **READER).get("/api/organization").json() == {
        "id": "org_1",
        "slug": "acme",
        "role": "org:member",
        "permissions": ["org:uploads:read"],
    }
    assert alice.get("/api/organization").status_code == 403


@pytest.mark.parametrize(
    ("claims", "status"),
    [({}, 404), (ELSEWHERE, 404), (MEMBER, 403), (READER, 200), (ADMIN, 200)],
)
def test_upload_is_read_by_whom_the_organization_lets(make_client, upload_url, claims, status):
    assert make_client("user_bob", **claims).get(upload_url).status_code == status


@pytest.mark.parametrize("claims", [{}, ELSEWHERE, MEMBER])
def test_owner_reads_an_upload_wherever_they_are(make_client, upload_url, claims):
    assert make_client("user_alice", **claims).get(upload_url).status_code == 200


@pytest.mark.parametrize(
    ("claims", "status", "count"),
    [({}, 403, None), (MEMBER, 403, None), (READER, 200, 1), (ADMIN, 200, 1), (ELSEWHERE, 200, 0)],
)
def test_list_is_of_the_active_organization(make_client, upload_url, claims, status, count):
    answer = make_client("user_bob", **claims).get("/api/organization/uploads")
    assert (answer.status_code, answer.json().get("count")) == (status, count)


def test_uploads_made_outside_an_organization_are_in_none(make_client, alice):
    alice.post("/api/uploads", {"file": SimpleUploadedFile("a.csv", b"id\n1\n", "text/csv")})
    for claims in (ADMIN, ELSEWHERE):
        answer = make_client("user_alice", **claims).get("/api/organization/uploads")
        assert answer.json()["count"] == 0


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        (MEMBER | PAYING, 200),
        (PAYING, 403),
        (MEMBER | PAYING | {"pla": "u:pro"}, 403),
        (MEMBER | PAYING | {"fea": "o:exports"}, 403),
    ],
)
def test_usage_is_for_organizations_that_pay(make_client, upload_url, claims, status):
    answer = make_client("user_bob", **claims).get("/api/organization/usage")
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"uploads": 1, "rows": 2}


@pytest.mark.parametrize(
    ("user", "claims", "status"),
    [
        ("user_alice", FRESH, 204),
        ("user_alice", STALE, 403),
        ("user_alice", FRESH | {"act": {"sub": "user_support"}}, 403),
        ("user_bob", FRESH, 404),
        ("user_bob", FRESH | ADMIN, 403),
    ],
)
def test_upload_is_deleted_by_its_owner_who_has_just_proved_it(
    make_client, upload_url, user, claims, status
):
    assert make_client(user, **claims).delete(upload_url).status_code == status
    assert Upload.objects.exists() is (status != 204)


def test_step_up_is_asked_for_in_clerks_words(make_client, upload_url):
    assert make_client("user_alice", **STALE).delete(upload_url).json() == {
        "clerk_error": {
            "type": "forbidden",
            "reason": "reverification-error",
            "metadata": {"reverification": "strict"},
        }
    }


def test_nobody_is_let_in_without_a_token(anonymous, upload_url):
    for path in ("/api/organization", "/api/organization/uploads", "/api/organization/usage"):
        assert anonymous.get(path).status_code == 401
    assert anonymous.get(upload_url).status_code == 401
    assert anonymous.delete(upload_url).status_code == 401
