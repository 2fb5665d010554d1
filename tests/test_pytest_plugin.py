"""The fixtures do what ``clerk_auth.testing`` does, in any order, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from clerk_auth.conf import get_config
from clerk_auth.core.errors import TokenRejected
from clerk_auth.testing import ClerkAPIClient
from clerk_auth.verifier import get_verifier

pytestmark = pytest.mark.integration

ROOT = Path(django_settings.BASE_DIR)


def test_token_is_accepted(clerk_token):
    assert get_verifier().verify(clerk_token("user_alice")).user_id == "user_alice"


def test_client_signs_in(clerk_client, settings):
    settings.SECURE_SSL_REDIRECT = False
    assert isinstance(clerk_client, ClerkAPIClient)
    assert clerk_client.get("/api/me").status_code == 401
    clerk_client.sign_in("user_alice")
    assert clerk_client.get("/api/me").data["user_id"] == "user_alice"


@pytest.fixture
def two_instances(settings):
    settings.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "INSTANCES": {"staff": {"FRONTEND_API": "clerk.staff.example.com"}},
    }


def test_fixtures_serve_each_instance(two_instances, clerk_token, clerk_jwks_server):
    for instance, fetches in (("staff", 0), ("default", 1)):
        claims = get_verifier(instance).verify(clerk_token("user_alice", instance=instance))
        assert (claims.instance, clerk_jwks_server.fetches) == (instance, fetches)


def test_bad_tokens_are_refused(clerk_bad_tokens):
    for bad in clerk_bad_tokens:
        with pytest.raises(TokenRejected) as caught:
            get_verifier().verify(bad.token)
        assert caught.value.code == bad.code


def check_server(server, client, bad_tokens) -> None:
    assert get_config().jwks_url == server.jwks_url
    client.sign_in("user_alice")
    assert client.get("/api/me").status_code == 200
    bad = bad_tokens.unknown_kid
    assert client.get("/api/me", headers=bad.headers).data["code"] == bad.code
    assert server.fetches == 2


def test_server_comes_first(clerk_jwks_server, clerk_client, clerk_bad_tokens, settings):
    settings.SECURE_SSL_REDIRECT = False
    check_server(clerk_jwks_server, clerk_client, clerk_bad_tokens)


def test_server_comes_last(settings, clerk_bad_tokens, clerk_client, clerk_jwks_server):
    settings.SECURE_SSL_REDIRECT = False
    check_server(clerk_jwks_server, clerk_client, clerk_bad_tokens)


def test_entry_point_is_the_module():
    """Under its own name: pytest then knows it for the one that ``pytest_plugins`` names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((name, module),) = project["entry-points"]["pytest11"].items()
    assert name == module
    assert import_module(module).clerk_client


# In a project of its own


def run(directory: Path, *arguments: str, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "PYTEST_"))
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def test_start_of_pytest_imports_no_framework(tmp_path):
    done = run(
        tmp_path,
        "-c",
        "import sys, clerk_auth.pytest_plugin\n"
        "own = {name for name in sys.modules if name.startswith('clerk_auth')}\n"
        "heavy = {'django', 'rest_framework', 'cryptography', 'jwt'} & sys.modules.keys()\n"
        "print(sorted(own), heavy)",
    )
    assert done.stdout == "['clerk_auth', 'clerk_auth.pytest_plugin'] set()\n", done.stderr


def test_project_without_django_is_not_disturbed(tmp_path):
    test = "import sys\ndef test_one():\n    assert 'django' not in sys.modules\n"
    plugins = ("-p", "clerk_auth.pytest_plugin", "-p", "no:django", "-p", "no:cacheprovider")
    done = run(tmp_path, "-W", "error", "-m", "pytest", *plugins, test_it=test)
    assert done.returncode == 0, done.stdout + done.stderr


HOST = """
SECRET_KEY = "x"
INSTALLED_APPS = ["clerk_auth"]
CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "AUDIENCE": "api"}
"""
HOST_TESTS = """
import pytest
from django.conf import settings as django_settings
from clerk_auth.conf import get_config

HOSTS_OWN = {"FRONTEND_API": "clerk.example.com", "AUDIENCE": "api"}

def is_restored():
    return django_settings.CLERK_AUTH == HOSTS_OWN and get_config().issuers[0].endswith(".com")

def test_before():
    assert is_restored()

# Whichever is set up first and whoever sets last, all of it must be undone.
def test_settings_first(settings, clerk_token):
    settings.CLERK_AUTH = settings.CLERK_AUTH | {"REALM": "x"}
    assert get_config().realm == "x" and not is_restored()

def test_after_settings_first():
    assert is_restored()

def test_settings_last(clerk_jwks_server, settings):
    settings.CLERK_AUTH = settings.CLERK_AUTH | {"REALM": "x"}
    assert get_config().realm == "x" and not is_restored()

def test_after_settings_last():
    assert is_restored()

def test_that_fails(clerk_client):
    settings = 1 / 0

def test_after_failure():
    assert is_restored()
"""


def test_settings_are_restored_after_each_test(tmp_path):
    done = run(
        tmp_path,
        *("-W", "error", "-m", "pytest", "--ds=host", "-p", "clerk_auth.pytest_plugin"),
        *("-p", "no:randomly", "-p", "no:cacheprovider"),
        host=HOST,
        test_it=HOST_TESTS,
    )
    assert "1 failed, 6 passed" in done.stdout, done.stdout + done.stderr
    assert "ZeroDivisionError" in done.stdout


def test_fixtures_are_listed_with_what_they_are(tmp_path):
    done = run(
        tmp_path, "-m", "pytest", "-p", "clerk_auth.pytest_plugin", "-p", "no:django", "--fixtures"
    )
    listed = done.stdout.partition("clerk_auth.pytest_plugin")[2]
    for name in ("clerk_token", "clerk_client", "clerk_bad_tokens", "clerk_jwks_server"):
        assert f"\n{name} -- " in listed
