"""The quickstart's way into a project that exists: its own users, sessions and tokens stay."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_docs import blocks, make_project, read

pytestmark = pytest.mark.integration

PAGE = read("quickstart.md")
SETTINGS = [b for b in blocks(PAGE, "python") if b.startswith("# at the end of your settings\n")]
(FIELD,) = (b for b in blocks(PAGE, "python") if b.startswith("# in your user model\n"))

PROJECT = {
    "accounts/__init__.py": "",
    "accounts/models.py": """
import uuid
from django.contrib.auth.models import AbstractUser
from django.db import models

class User(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
""",
    "notes/__init__.py": "",
    "notes/models.py": """
from django.conf import settings
from django.db import models

class Note(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    text = models.TextField()
""",
    "api/urls.py": """
from django.urls import path
from notes.models import Note
from rest_framework import generics, serializers
from rest_framework.authtoken.views import obtain_auth_token

class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["text"]

class NoteList(generics.ListCreateAPIView):
    serializer_class = NoteSerializer

    def get_queryset(self):
        return Note.objects.filter(owner=self.request.user)

    def perform_create(self, serializer):
        serializer.save(owner=self.request.user)

urlpatterns = [path("notes", NoteList.as_view()), path("login", obtain_auth_token)]
""",
}
EXISTING_SETTINGS = """
INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken", "accounts", "notes"]
AUTH_USER_MODEL = "accounts.User"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
"""
SET_UP = """
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("makemigrations", "accounts", "notes")
call_command("migrate")
get_user_model().objects.create_user("ann", password="pw")
"""
ASK = """
import io, json
import django
django.setup()
from django.core.management import call_command
from django.test import Client

def token(*arguments):
    text = io.StringIO()
    call_command("clerk_token", *arguments, stdout=text)
    return f"Bearer {text.getvalue().strip()}"

def ask(client, method="get", **headers):
    answer = getattr(client, method)("/notes", {"text": method}, headers=headers)
    body = answer.json()
    return answer.status_code, body.get("code") if isinstance(body, dict) else len(body)

anyone, ann = Client(SERVER_NAME="localhost"), Client(SERVER_NAME="localhost")
ann.login(username="ann", password="pw")
key = anyone.post("/login", {"username": "ann", "password": "pw"}).json()["token"]
print(json.dumps({
    "nobody": ask(anyone),
    "writes": ask(anyone, "post", Authorization=token())[0],
    "clerk": ask(anyone, Authorization=token()),
    "session": ask(ann),
    "token": ask(anyone, Authorization=f"Token {key}"),
    "expired": ask(anyone, Authorization=token("--expires-in", "-10")),
    "stranger": ask(anyone, Authorization=token("--user", "user_stranger"))[0],
}))
"""


STOCK = {
    name: block
    for name in ("accounts/models.py", "accounts/clerk.py")
    for block in blocks(read("linking.md"), "python")
    if block.startswith(f"# {name}\n")
}
LINK = """
from accounts.clerk import link_account, linked_user
from accounts.models import ClerkAccount
from clerk_auth.core.errors import UserInactive, UserUnknown
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.users import LinkRefused
from clerk_auth.verifier import Verifier
from django.contrib.auth import get_user_model

issuer = LocalIssuer.generate("https://clerk.example.com")
verifier = Verifier(StaticKeySource((issuer.verifying_key,)), Policy(frozenset({issuer.issuer})))

def claims(user_id, **more):
    return verifier.verify(issuer.token(user_id, **more))

def outcome(function, *arguments):
    try:
        return str(function(*arguments))
    except (LinkRefused, UserInactive, UserUnknown) as error:
        return type(error).__name__

User = get_user_model()
ann, bob = User.objects.get(username="ann"), User.objects.create_user("bob")
gone = User.objects.create_user("gone", is_active=False)
ClerkAccount.objects.create(user=gone, clerk_id="user_gone")
print([
    outcome(linked_user, claims("user_dev")),
    outcome(link_account, ann, claims("user_dev", act={"sub": "user_admin"})),
    outcome(link_account, ann, claims("user_dev")),
    outcome(link_account, ann, claims("user_dev")),
    outcome(link_account, ann, claims("user_other")),
    outcome(link_account, bob, claims("user_dev")),
    outcome(linked_user, claims("user_dev")),
    outcome(linked_user, claims("USER_DEV")),
    outcome(linked_user, claims("user_gone")),
])
"""


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.fixture
def make_existing(tmp_path):
    """Make the project and its user Ann, then put the page's first settings at the end."""

    def make(changes: dict[str, str], settings: str) -> Callable[..., str]:
        run = make_project(tmp_path)
        for name, text in (PROJECT | changes).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        append(tmp_path / "api" / "settings.py", settings)
        run("-c", SET_UP)
        append(tmp_path / "api" / "settings.py", SETTINGS[0])
        return run

    return make


ANSWERS = {
    "nobody": [401, None],
    "writes": 201,
    "clerk": [200, 1],
    "session": [200, 1],
    "token": [200, 1],
    "expired": [401, "token_expired"],
    "stranger": 401,
}


def answers(run: Callable[..., str]) -> dict[str, object]:
    (line,) = (line for line in run("-c", ASK).splitlines() if line.startswith("{"))
    return json.loads(line)


def test_django_s_own_user_model_is_linked_by_a_table(make_existing, tmp_path):
    stock = EXISTING_SETTINGS.replace('AUTH_USER_MODEL = "accounts.User"\n', "")
    run = make_existing(STOCK, stock)
    append(
        tmp_path / "api" / "settings.py",
        '\nCLERK_AUTH["USER_RESOLVER"] = "accounts.clerk.linked_user"\n',
    )
    assert "no issues" in run("manage.py", "check")
    outcomes = [
        *("UserUnknown", "LinkRefused", "None", "None", "LinkRefused", "LinkRefused"),
        *("ann", "UserUnknown", "UserInactive"),
    ]
    assert str(outcomes) in run("-c", f"import django; django.setup(){LINK}").splitlines()
    assert answers(run) == ANSWERS


def test_page_leads_into_a_project_that_exists(make_existing, tmp_path):
    run = make_existing({}, EXISTING_SETTINGS)
    assert re.findall(r"clerk_auth\.[EW]\d+", run("manage.py", "check")) == ["clerk_auth.W016"]

    append(
        tmp_path / "accounts" / "models.py", "\n" + re.sub("^", "    ", FIELD, flags=re.MULTILINE)
    )
    append(tmp_path / "api" / "settings.py", SETTINGS[1])
    commands = re.findall(r"^python (manage\.py .*)$", PAGE, re.MULTILINE)
    assert [shlex.split(command)[1] for command in commands] == [
        *("makemigrations", "migrate", "check", "shell")
    ]
    outputs = [run(*shlex.split(each.replace("YOUR_NAME", "ann"))) for each in commands]
    assert "no issues" in outputs[2]
    assert outputs[3].split()[-1] == "1"
    assert answers(run) == ANSWERS
