"""The view of docs/permissions.md, on the demo's table, which has the columns of its notes."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from django.urls import path
from rest_framework.serializers import ModelSerializer

from project.models import Upload
from tests.test_docs import blocks, read

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

NOTE = {"name": "a", "columns": [], "row_count": 0, "text": "hello"}


class NoteSerializer(ModelSerializer):
    class Meta:
        model = Upload
        fields = ("id", "name", "columns", "row_count", "text")


def member(organization, role="member"):
    return {"o": {"id": organization, "rol": role}}


@pytest.fixture(autouse=True)
def notes(monkeypatch, settings):
    """Serve the page's views, as they are written there."""
    stand_ins = {"Note": Upload, "NoteSerializer": NoteSerializer}
    for name in ("api", "api.models", "api.serializers"):
        module = ModuleType(name)
        vars(module).update(stand_ins)
        monkeypatch.setitem(sys.modules, name, module)
    (block,) = (b for b in blocks(read("permissions.md"), "python") if "# api/notes.py" in b)
    views: dict[str, type] = {}
    exec(block, views)
    settings.ROOT_URLCONF = urls = ModuleType("urls")
    urls.urlpatterns = [
        path("notes", views["NoteList"].as_view()),
        path("notes/<uuid:pk>", views["NoteDetail"].as_view()),
    ]


@pytest.fixture
def note_url(make_client):
    """Where Alice's note is; what she says of owner and organization is not heard."""
    alice = make_client("user_alice", **member("org_1"))
    sent = NOTE | {"owner_id": "user_bob", "organization_id": "org_2"}
    made = alice.post("/notes", sent, format="json").json()
    note = Upload.objects.get()
    assert (note.owner_id, note.organization_id) == ("user_alice", "org_1")
    return f"/notes/{made['id']}"


@pytest.mark.parametrize("method", ["get", "put", "delete"])
@pytest.mark.parametrize(
    ("user", "claims", "status"),
    [
        pytest.param("user_alice", member("org_1"), 200, id="owner"),
        pytest.param("user_alice", member("org_2", "admin"), 404, id="owner-elsewhere"),
        pytest.param("user_alice", {}, 403, id="owner-without-organization"),
        pytest.param("user_bob", member("org_1", "admin"), 200, id="admin"),
        pytest.param("user_bob", member("org_1"), 403, id="member"),
        pytest.param("user_bob", member("org_2", "admin"), 404, id="admin-of-another"),
        pytest.param("user_bob", member("", "admin"), 403, id="admin-of-nothing"),
    ],
)
def test_note_is_for_its_owner_and_the_admins_of_its_organization(
    make_client, note_url, user, claims, status, method
):
    body = NOTE | {"organization_id": "org_2"}
    answer = getattr(make_client(user, **claims), method)(note_url, body, format="json")
    assert answer.status_code == (204 if (method, status) == ("delete", 200) else status)
    assert set(Upload.objects.values_list("organization_id", flat=True)) <= {"org_1"}


def test_list_holds_the_callers_own_notes_of_the_active_organization(make_client, note_url):
    for user, claims, count in [
        ("user_alice", member("org_1"), 1),
        ("user_alice", member("org_2"), 0),
        ("user_bob", member("org_1", "admin"), 0),
    ]:
        assert len(make_client(user, **claims).get("/notes").json()["results"]) == count
    assert make_client("user_alice").get("/notes").status_code == 403


def test_anonymous_caller_sees_nothing(anonymous, note_url):
    assert anonymous.get(note_url).status_code == 401
    assert anonymous.get("/notes").status_code == 401
