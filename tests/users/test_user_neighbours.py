"""Rows of the database in their neighbourhood, over HTTP: admin, permissions, keys, sessions."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import path
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth.issuer.development import LocalIssuer
from tests.accounts.models import Member
from tests.conftest import ISSUER, PARTY
from tests.test_docs import blocks, read

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

_recipe: dict[str, type[APIView]] = {}
exec(next(block for block in blocks(read("linking.md"), "python") if "LinkView" in block), _recipe)


class Who(APIView):
    def get(self, request):
        return Response({"user": str(request.user), "claims": request.auth.user_id})


class Permitted(Who):
    permission_classes = [DjangoModelPermissions]
    queryset = User.objects.all()

    def post(self, request):
        return Response()


class Owned(APIView):
    """Makes something that belongs to whoever asks."""

    def post(self, request):
        entry = LogEntry.objects.create(
            user=request.user,
            content_type=ContentType.objects.get_for_model(User),
            action_flag=CHANGE,
        )
        return Response({"owner": entry.user.username})


urlpatterns = [
    path("who", Who.as_view()),
    path("permitted", Permitted.as_view()),
    path("owned", Owned.as_view()),
    path("link", _recipe["LinkView"].as_view()),
    path("admin/", admin.site.urls),
]


@pytest.fixture(autouse=True)
def _host_project(settings):
    """A project with sessions, the admin and our authentication."""
    settings.ROOT_URLCONF = __name__
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = False
    settings.CSRF_COOKIE_SECURE = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.contrib.auth.context_processors.auth",
                    "django.template.context_processors.request",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]


@pytest.fixture
def use(settings, local_issuer):
    """Configure a resolver."""

    def configure(resolver: str, **clerk_auth: object) -> None:
        settings.CLERK_AUTH = {
            "ISSUER": ISSUER,
            "JWT_KEY": local_issuer.public_pem.strip(),
            "AUTHORIZED_PARTIES": [PARTY],
            "USER_RESOLVER": f"clerk_auth.users.{resolver}",
            **clerk_auth,
        }

    return configure


@pytest.fixture
def client_of(local_issuer: LocalIssuer):
    def make(user_id: str, **options: object) -> Client:
        token = local_issuer.token(user_id, azp=PARTY)
        return Client(
            headers={"Authorization": f"Bearer {token}"}, SERVER_NAME="localhost", **options
        )

    return make


# Rows. What holds without one is in test_stateless.


def test_model_permissions_are_those_of_the_row(use, client_of):
    use("database_user")
    alice = client_of("user_alice")
    assert alice.post("/permitted").status_code == 403
    User.objects.get().user_permissions.add(Permission.objects.get(codename="add_user"))
    assert alice.post("/permitted").status_code == 200


def test_foreign_key_refers_to_the_row(use, client_of):
    use("database_user")
    assert client_of("user_alice").post("/owned").json() == {"owner": "user_alice"}
    assert LogEntry.objects.get().user == User.objects.get()


def test_row_that_is_switched_off_is_shut_out_until_it_is_on_again(use, client_of):
    use("database_user")
    alice = client_of("user_alice")
    for is_active, status in ((True, 200), (False, 401), (True, 200)):
        User.objects.update(is_active=is_active)
        assert alice.get("/who").status_code == status


@pytest.mark.parametrize("resolver", ["stateless_user", "database_user"])
def test_token_does_not_open_the_admin(resolver, use, client_of):
    """Not even where the row is of the staff."""
    use(resolver)
    alice = client_of("user_alice")
    alice.get("/who")
    User.objects.update(is_staff=True, is_superuser=True)
    answer = alice.get("/admin/")
    assert (answer.status_code, answer.url) == (302, "/admin/login/?next=/admin/")


def test_nobody_signs_in_to_the_admin_as_a_row_that_was_created(use, client_of):
    use("database_user")
    client_of("user_alice").get("/who")
    User.objects.update(is_staff=True)
    for password in ("", "!", User.objects.get().password):
        anybody = Client(SERVER_NAME="localhost")
        anybody.post("/admin/login/", {"username": "user_alice", "password": password})
        assert anybody.get("/admin/").status_code == 302


# The recipe for existing users


@pytest.fixture
def member(settings, use):
    settings.AUTH_USER_MODEL = "accounts.Member"
    use("existing_user", USER_ID_FIELD="clerk_id")
    return Member.objects.create(username="alice")


def test_old_session_and_clerk_token_together_link(member, client_of):
    alice = client_of("user_alice")
    assert alice.get("/who").json()["code"] == "user_unknown"
    alice.force_login(member)
    assert alice.post("/link").status_code == 204
    assert alice.post("/link").status_code == 204
    assert client_of("user_alice").get("/who").json()["user"] == "alice"
    assert Member.objects.get().clerk_id == "user_alice"


def test_one_proof_is_not_enough(member, client_of):
    assert client_of("user_alice").post("/link").status_code == 403
    session = Client(SERVER_NAME="localhost")
    session.force_login(member)
    for headers in ({}, {"Authorization": "Bearer no.token.atall"}):
        answer = session.post("/link", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_malformed")
    assert Member.objects.get().clerk_id is None


def test_foreign_page_cannot_link(member, client_of):
    mallory = client_of("user_mallory", enforce_csrf_checks=True)
    mallory.force_login(member)
    assert mallory.post("/link").status_code == 403
    assert Member.objects.get().clerk_id is None


def test_linked_row_stays_with_its_clerk_user(member, client_of):
    alice, mallory = client_of("user_alice"), client_of("user_mallory")
    for client in (alice, mallory):
        client.force_login(member)
    assert alice.post("/link").status_code == 204
    answer = mallory.post("/link")
    assert answer.status_code == 409
    assert answer.json() == {"detail": "This account belongs to another Clerk user."}
    assert Member.objects.get().clerk_id == "user_alice"
