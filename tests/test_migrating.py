"""The code of docs/migrating.md, run on rows as the old ways leave them."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.checks import Tags, run_checks
from django.db import connection
from django.db.migrations.state import ProjectState
from django.test import Client
from django.urls import path
from rest_framework.authentication import BaseAuthentication, BasicAuthentication
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth.core.errors import UserInactive
from clerk_auth.users import database_user
from tests.accounts.models import Member
from tests.checks.conftest import SHARED
from tests.commands import run_command
from tests.conftest import ISSUER, PARTY
from tests.test_docs import blocks, read

pytestmark = [pytest.mark.integration]

PAGE = blocks(read("migrating.md"), "python")


def block(name: str, **changed: str) -> dict[str, Any]:
    """Run the block of the page that has ``name`` in it, and return what it defines."""
    (source,) = (source for source in PAGE if name in source)
    for old, new in changed.values():
        assert old in source
        source = source.replace(old, new)
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace


def migrate(name: str, model: str, **changed: str) -> None:
    """Apply the migration of the page to ``model``, as Django does."""
    app_label, model_name = model.split(".")
    page = block(name, model=('"accounts", "User"', f'"{app_label}", "{model_name}"'))
    migration = page["Migration"]("0003_of_the_page", app_label)
    with connection.schema_editor() as editor:
        migration.apply(ProjectState.from_apps(apps), editor)


@pytest.fixture
def rows(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "USER_RESOLVER": "clerk_auth.users.database_user",
    }
    return settings


@pytest.mark.django_db(transaction=True)
def test_ids_are_copied_for_rows_that_no_password_opens(rows, claims_of):
    rows.AUTH_USER_MODEL = "accounts.Member"
    rows.CLERK_AUTH = {**rows.CLERK_AUTH, "USER_ID_FIELD": "clerk_id"}
    password = make_password("of somebody")
    for name, hashed, clerk_id in (
        ("user_2empty", "", None),
        ("user_2unusable", make_password(None), None),
        ("user_2squatter", password, None),
        ("user_2linked", "", "user_other"),
        ("alice", "", None),
        ("user_2 blank", "", None),
        ("my_user_2a", "", None),
        ("userX2a", "", None),
    ):
        Member.objects.create(username=name, password=hashed, clerk_id=clerk_id)
    for _ in range(2):
        migrate("copy_clerk_ids", "accounts.Member")
        assert dict(Member.objects.exclude(clerk_id=None).values_list("username", "clerk_id")) == {
            "user_2empty": "user_2empty",
            "user_2unusable": "user_2unusable",
            "user_2linked": "user_other",
        }
    for name in ("user_2empty", "user_2unusable"):
        assert database_user(claims_of(name)) == Member.objects.get(username=name)
    squatter = Member.objects.get(username="user_2squatter")
    assert database_user(claims_of("user_2squatter")) != squatter


@pytest.mark.django_db(transaction=True)
def test_passwords_that_the_old_code_made_up_are_closed(rows, claims_of):
    made_up = User.objects.create_user("user_2alice", password="made up")
    local = User.objects.create_user("bob", password="his own")
    unusable = User.objects.create_user("user_2carol")
    with pytest.raises(UserInactive):
        database_user(claims_of("user_2alice"))
    migrate("close_passwords", "auth.User")
    assert database_user(claims_of("user_2alice")) == made_up
    for user in (made_up, local, unusable):
        before = user.password
        user.refresh_from_db()
        assert (user.password == before) == (user is not made_up)
    assert not made_up.has_usable_password()
    assert not made_up.check_password("made up")
    assert local.check_password("his own")


class Old(BaseAuthentication):
    """Stands in for the class that the page's project has."""

    def authenticate_header(self, request):
        return "Bearer"


def test_settings_of_the_page_have_the_checks_that_it_names(rows, monkeypatch):
    page = block(
        "until the rollout is over", old=("api.authentication.JWTAuthentication", f"{__name__}.Old")
    )
    rows.CLERK_AUTH, rows.REST_FRAMEWORK = page["CLERK_AUTH"], page["REST_FRAMEWORK"]
    rows.CACHES = {"default": SHARED}
    found = {message.id for message in run_checks(tags=[Tags.security])}
    assert {name for name in found if name.startswith("clerk_auth.")} == {
        "clerk_auth.W005",
        "clerk_auth.W009",
    }


# Linking with the old token in the header. BasicAuthentication stands in for the old class: it
# reads Authorization, too, and needs no library.

_page = block(
    "class LinkView",
    old=(
        "from rest_framework_simplejwt.authentication import JWTAuthentication",
        "from rest_framework.authentication import BasicAuthentication as JWTAuthentication",
    ),
)
_middleware = block("class FromMiddleware")


class Who(APIView):
    authentication_classes = [_middleware["FromMiddleware"]]

    def get(self, request):
        return Response({"user": str(request.user)})


urlpatterns = [path("link", _page["LinkView"].as_view()), path("who", Who.as_view())]


@pytest.fixture
def client(settings, local_issuer):
    settings.ROOT_URLCONF = __name__
    settings.SECURE_SSL_REDIRECT = False
    settings.AUTH_USER_MODEL = "accounts.Member"
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MIDDLEWARE = []
    settings.CLERK_AUTH = {
        "ISSUER": ISSUER,
        "JWT_KEY": local_issuer.public_pem.strip(),
        "AUTHORIZED_PARTIES": [PARTY],
        "USER_RESOLVER": "clerk_auth.users.existing_user",
        "USER_ID_FIELD": "clerk_id",
    }
    return Client(SERVER_NAME="localhost")


@pytest.mark.django_db
def test_old_token_in_the_header_and_the_new_one_in_the_body_link(client, local_issuer):
    assert _page["LinkView"].authentication_classes == [BasicAuthentication]
    Member.objects.create(username="alice", password=make_password("hers"))
    old = {"Authorization": "Basic " + base64.b64encode(b"alice:hers").decode()}
    token = local_issuer.token("user_alice", azp=PARTY)
    assert client.post("/link", {"token": token}).status_code == 401
    for body, code in (
        ({}, "token_malformed"),
        ({"token": token[:-4] + "AAAA"}, "signature_invalid"),
    ):
        answer = client.post("/link", body, headers=old)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert client.post("/link", {"token": token}, headers=old).status_code == 204
    assert Member.objects.get().clerk_id == "user_alice"
    other = local_issuer.token("user_mallory", azp=PARTY)
    assert client.post("/link", {"token": other}, headers=old).status_code == 409


class Somebody:
    is_authenticated = True

    def __str__(self) -> str:
        return "somebody"


def let_in(get_response):
    """The old middleware."""

    def middleware(request):
        if "Authorization" in request.headers:
            request.user = Somebody()
        return get_response(request)

    return middleware


def test_class_for_the_middleware_says_whom_it_let_in(client, settings):
    settings.MIDDLEWARE = [f"{__name__}.let_in"]
    answer = client.get("/who", headers={"Authorization": "Bearer any"})
    assert answer.json() == {"user": "somebody"}
    answer = client.get("/who")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.django_db
def test_table_of_ids_is_written_as_clerk_link_reads_it(client):
    members = [Member.objects.create(username=name) for name in ("alice", "bob")]
    file = io.StringIO()
    block("def write_ids")["write_ids"](((m.pk, f"user_{m.username}") for m in members), file)
    assert run_command("clerk_link", "-", given=file.getvalue()).status == 0
    assert set(Member.objects.values_list("clerk_id", flat=True)) == {"user_alice", "user_bob"}
