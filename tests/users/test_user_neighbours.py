"""What docs/users.md says of each resolver, asked over HTTP: admin, throttles, templates, keys."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.http import HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import path
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from clerk_auth import metrics
from clerk_auth.issuer.local import LocalIssuer
from tests.accounts.models import Member
from tests.conftest import ISSUER, PARTY
from tests.test_docs import blocks, read

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

RESOLVERS = ("stateless_user", "database_user", "existing_user")
PROCESSORS = (
    "django.contrib.auth.context_processors.auth django.template.context_processors.request"
)

_recipe: dict[str, type[APIView]] = {}
exec(next(block for block in blocks(read("users.md"), "python") if "LinkView" in block), _recipe)


class Who(APIView):
    def get(self, request):
        return Response({"user": str(request.user), "claims": request.auth.user_id})


class Throttled(Who):
    class Throttle(UserRateThrottle):
        rate = "2/min"

    throttle_classes = [Throttle]


class Permitted(Who):
    permission_classes = [DjangoModelPermissions]
    queryset = User.objects.all()

    def post(self, request):
        return Response()


class Page(APIView):
    def get(self, request):
        text = "{{ user }} {{ user.is_authenticated }}{% if perms.auth %} may{% endif %}"
        return HttpResponse(Template(text).render(RequestContext(request._request)))


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
    path("throttled", Throttled.as_view()),
    path("permitted", Permitted.as_view()),
    path("page", Page.as_view()),
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
                    *PROCESSORS.split(),
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


@pytest.fixture(params=RESOLVERS)
def resolver(request, use):
    """Each of them in turn; Alice has a row where one must be there before."""
    use(request.param)
    if request.param == "existing_user":
        User.objects.create_user("user_alice")
        User.objects.create_user("user_bob")
    return request.param


# With every resolver


def test_user_and_claims(resolver, client_of):
    answer = client_of("user_alice").get("/who")
    assert answer.json() == {"user": "user_alice", "claims": "user_alice"}
    rows = set(User.objects.values_list("username", flat=True))
    assert ("user_alice" in rows) == (resolver != "stateless_user")


def test_throttle_counts_each_user_alone(resolver, client_of):
    alice, bob = client_of("user_alice"), client_of("user_bob")
    statuses = [client.get("/throttled").status_code for client in (alice, alice, alice, bob)]
    assert statuses == [200, 200, 429, 200]


def test_templates_know_the_user(resolver, client_of):
    assert client_of("user_alice").get("/page").content == b"user_alice True"


def test_model_permissions_are_those_of_the_row(resolver, client_of):
    alice = client_of("user_alice")
    assert alice.post("/permitted").status_code == 403
    for user in User.objects.filter(username="user_alice"):
        user.user_permissions.add(Permission.objects.get(codename="add_user"))
    expected = 403 if resolver == "stateless_user" else 200
    assert alice.post("/permitted").status_code == expected


def test_foreign_key_needs_a_row(resolver, client_of):
    alice = client_of("user_alice")
    if resolver == "stateless_user":
        with pytest.raises(ValueError, match=r"USER_RESOLVER.*database_user.*must be a"):
            alice.post("/owned")
        assert not LogEntry.objects.exists()
    else:
        assert alice.post("/owned").json() == {"owner": "user_alice"}
        assert LogEntry.objects.get().user == User.objects.get(username="user_alice")


def test_inactive_user_is_refused(resolver, client_of):
    alice = client_of("user_alice")
    assert alice.get("/who").status_code == 200
    User.objects.update(is_active=False)
    answer = alice.get("/who")
    if resolver == "stateless_user":
        assert answer.status_code == 200
        return
    assert answer.status_code == 401
    assert answer.json() == {"detail": "The user account is inactive.", "code": "user_inactive"}
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    User.objects.update(is_active=True)
    assert alice.get("/who").status_code == 200


def test_token_does_not_open_the_admin(resolver, client_of):
    """Not even where the row is of the staff."""
    alice = client_of("user_alice")
    alice.get("/who")
    User.objects.update(is_staff=True, is_superuser=True)
    answer = alice.get("/admin/")
    assert (answer.status_code, answer.url) == (302, "/admin/login/?next=/admin/")


# With one of them


def test_caller_without_a_row(use, client_of):
    use("existing_user")
    answer = client_of("user_alice").get("/who")
    assert answer.status_code == 401
    assert answer.json() == {"detail": "The user has no account here.", "code": "user_unknown"}
    assert 'error_description="The user has no account here."' in answer["WWW-Authenticate"]
    assert not User.objects.exists()
    assert metrics.totals()["jwt_verifications_failure", "user_unknown", "enforce"] == 1


def test_admin_shows_the_rows_that_were_created(use, client_of):
    use("database_user")
    client_of("user_alice").get("/who")
    User.objects.create_superuser("staff", password="of the staff")
    staff = Client(SERVER_NAME="localhost")
    answer = staff.post(
        "/admin/login/?next=/admin/auth/user/",
        {"username": "staff", "password": "of the staff"},
        follow=True,
    )
    assert answer.status_code == 200
    assert "user_alice" in answer.content.decode()
    alice = User.objects.get(username="user_alice")
    assert "user_alice" in staff.get(f"/admin/auth/user/{alice.pk}/change/").content.decode()


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
