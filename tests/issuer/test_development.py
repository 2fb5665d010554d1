"""Development mode: where its key lies, that it swaps nothing else, and that a server says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from clerk_auth import conf
from clerk_auth.core.errors import TokenRejected
from clerk_auth.issuer.development import DEV_DIRECTORY, find_dev_directory, load_local_issuer
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.verifier import choose_instance, get_verifier
from tests.conftest import ISSUER, PARTY
from tests.issuer.conftest import names_in, thumbprint, write_key

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


# Where the key lies


def test_key_is_the_projects_whatever_the_working_directory(directory, tmp_path, monkeypatch):
    first = thumbprint()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert thumbprint() == first
    assert names_in(tmp_path / "elsewhere") == []


def test_key_of_another_project_is_another_key(directory, settings, tmp_path):
    first = thumbprint()
    settings.BASE_DIR = tmp_path / "elsewhere"
    settings.BASE_DIR.mkdir()
    assert thumbprint() != first


@pytest.mark.parametrize("base", [None, "", 5, b"bytes", ["list"]])
def test_settings_without_a_base_directory_have_the_working_directory(base, settings):
    settings.BASE_DIR = base
    assert find_dev_directory() == Path.cwd() / DEV_DIRECTORY
    del settings.BASE_DIR
    assert find_dev_directory() == Path.cwd() / DEV_DIRECTORY


def test_base_directory_may_be_a_text_and_relative(settings, tmp_path, monkeypatch):
    settings.BASE_DIR = str(tmp_path)
    assert find_dev_directory() == tmp_path / DEV_DIRECTORY
    monkeypatch.chdir(tmp_path)
    settings.BASE_DIR = "sub/.."
    assert find_dev_directory() == tmp_path / DEV_DIRECTORY


# Development mode


@pytest.fixture
def developing(settings, directory) -> LocalIssuer:
    """Development mode of a project that is strict otherwise; the issuer that it trusts."""
    settings.DEBUG = True
    settings.CLERK_AUTH = {
        "DEV_MODE": True,
        "FRONTEND_API": "clerk.example.com",
        "AUTHORIZED_PARTIES": [PARTY],
    }
    return load_local_issuer(ISSUER)


def test_development_mode_swaps_the_key_and_nothing_else(developing, local_issuer):
    verifier = get_verifier()
    assert verifier.verify(developing.token("user_1", azp=PARTY)).user_id == "user_1"
    for token, code in [
        (developing.token(), "party_not_allowed"),
        (developing.token(azp=PARTY, expires_in=-60), "token_expired"),
        (developing.token(azp=PARTY, iss="https://clerk.localhost"), "issuer_not_allowed"),
        (local_issuer.token(azp=PARTY), "signature_invalid"),
        ("user_1", "token_malformed"),
    ]:
        with pytest.raises(TokenRejected) as caught:
            verifier.verify(token)
        assert caught.value.code == code


def test_development_issuer_has_a_name_where_none_is_configured(settings, directory):
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    issuer = load_local_issuer("https://clerk.localhost")
    assert get_verifier().verify(issuer.token()).issuer == "https://clerk.localhost"


def test_instances_share_the_key_and_tell_tokens_apart_by_the_issuer(settings, directory):
    settings.DEBUG = True
    parties = {"AUTHORIZED_PARTIES": [PARTY]}
    settings.CLERK_AUTH = {
        "DEV_MODE": True,
        "INSTANCES": {
            "staff": parties,
            "named": {"FRONTEND_API": "clerk.named.example", **parties},
        },
    }
    names = {
        "default": "https://clerk.localhost",
        "staff": "https://staff.clerk.localhost",
        "named": "https://clerk.named.example",
    }
    tokens = {alias: load_local_issuer(name).token(azp=PARTY) for alias, name in names.items()}
    for alias, token in tokens.items():
        assert get_verifier(alias).verify(token).instance == alias
        assert choose_instance(token, [*names]) == alias
        for other in names.keys() - {alias}:
            with pytest.raises(TokenRejected) as caught:
                get_verifier(other).verify(token)
            assert caught.value.code == "issuer_not_allowed"
    assert names_in(directory) == [".gitignore", "signing-key.pem"]


def test_token_of_another_working_directory_verifies(developing, tmp_path, monkeypatch):
    """As where the server runs in one directory, and clerk_token in another."""
    verifier = get_verifier()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verifier.verify(load_local_issuer(ISSUER).token("user_1", azp=PARTY)).user_id == "user_1"


def test_key_that_is_refused_is_a_matter_of_the_settings(settings, directory):
    """It is a logged 500, as every misconfiguration, and never a 401."""
    write_key(directory, 0o666)
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    with pytest.raises(ImproperlyConfigured, match=str(directory)):
        get_verifier()


# Saying that it is on


@pytest.mark.parametrize(
    ("argv", "is_said"),
    [
        (["/srv/.venv/bin/gunicorn", "project.wsgi"], True),
        (["-c"], True),
        ([], True),
        (["mod_wsgi"], True),
        (["/usr/lib/gunicorn/__main__.py", "project.wsgi"], True),
        (["manage.py", "runserver", "8000"], True),
        (["./manage.py", "runserver_plus"], True),
        (["/srv/manage.py", "testserver"], True),
        (["/usr/lib/django/__main__.py", "runserver"], True),
        (["/srv/manage.py", "clerk_token", "--user", "runserver"], False),
        (["manage.py", "migrate"], False),
        (["manage.py"], False),
        (["/usr/bin/django-admin", "check"], False),
        (["/usr/lib/django/__main__.py", "shell"], False),
    ],
)
def test_process_that_may_serve_says_so_at_its_start(argv, is_said, settings, caplog, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    settings.CLERK_AUTH = {
        "DEV_MODE": True,
        "XYZZY": "whatever else is wrong",
        "INSTANCES": {"staff": {}, "partners": {}},
    }
    with monkeypatch.context() as patched:
        patched.setattr(django_settings, "DEBUG", True)
        caplog.clear()
        apps.get_app_config("clerk_auth").ready()
    found = [(r.levelname, r.event) for r in caplog.records if r.name == "clerk_auth"]
    assert found == ([("WARNING", "development_mode")] if is_said else [])


@pytest.mark.parametrize(
    ("values", "debug"),
    [
        ({"DEV_MODE": True}, False),
        ({"DEV_MODE": False}, True),
        ({"DEV_MODE": 1}, True),
        ({"INSTANCES": {"staff": {"DEV_MODE": True}}}, True),
        (None, True),
    ],
)
def test_nothing_is_said_where_it_is_off(values, debug, settings, caplog, monkeypatch):
    settings.CLERK_AUTH = values
    with monkeypatch.context() as patched:
        patched.setattr(django_settings, "DEBUG", debug)
        apps.get_app_config("clerk_auth").ready()
    assert [r for r in caplog.records if r.name == "clerk_auth"] == []


@pytest.fixture(autouse=True)
def _debug_as_it_was() -> Iterator[None]:
    yield
    conf.remember_debug()
