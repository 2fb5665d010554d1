"""Tokens of the development issuer, good and bad, judged on the path that every token takes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import TokenRejected
from clerk_auth.dev import load_local_issuer
from clerk_auth.probes import BAD_TOKENS
from clerk_auth.verifier import get_verifier
from project.demo.environment import inherit_environment
from tests.conftest import ISSUER, PARTY

# Each token costs the loading of a private key, which is checked while it is loaded.
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def _directory(tmp_path_factory) -> Path:
    """One working directory, so that its key is made once."""
    return tmp_path_factory.mktemp("developing")


@pytest.fixture
def developing(settings, _directory, monkeypatch):
    """Development mode with every claim checked."""
    monkeypatch.chdir(_directory)
    settings.DEBUG = True
    settings.CLERK_AUTH = {
        "DEV_MODE": True,
        "ISSUER": ISSUER,
        "AUTHORIZED_PARTIES": [PARTY, "https://admin.example.com"],
        "AUDIENCE": ["api", "admin"],
    }
    return settings


def make_token(*arguments: str) -> str:
    out = io.StringIO()
    call_command("clerk_token", *arguments, stdout=out)
    token = out.getvalue()
    assert token.count("\n") == 1
    return token.rstrip("\n")


def verify(*arguments: str) -> Claims:
    return get_verifier().verify(make_token(*arguments))


def exit_status(*arguments: str) -> int:
    with pytest.raises(CommandError) as caught:
        make_token(*arguments)
    assert str(caught.value)
    return caught.value.returncode


# Good tokens


@pytest.mark.usefixtures("developing")
def test_token_is_accepted_as_it_is_printed():
    claims = verify()
    assert (claims.user_id, claims.session_id, claims.issuer) == ("user_dev", "sess_dev", ISSUER)
    assert claims.authorized_party == PARTY
    assert claims.get("aud") == "api"
    assert claims.expires_at - claims.issued_at == 60
    assert claims.organization is None
    assert claims.features == claims.plans == ()
    assert not {"o", "fea", "pla"} & set(claims.payload)


@pytest.mark.usefixtures("developing")
def test_options_are_claims():
    claims = verify(
        *("--user", "user_alice", "--session", "sess_1", "--expires-in", "3600"),
        *("--azp", "https://admin.example.com", "--aud", "admin"),
    )
    assert (claims.user_id, claims.session_id) == ("user_alice", "sess_1")
    assert claims.authorized_party == "https://admin.example.com"
    assert claims.get("aud") == "admin"
    assert claims.expires_at - claims.issued_at == 3600


@pytest.mark.usefixtures("developing")
def test_organization_is_decoded_with_role_and_permissions():
    claims = verify(
        *("--org", "org_acme", "--org-slug", "acme", "--role", "admin"),
        *("--permission", "reports:read", "--permission", "org:reports:write"),
        *("--permission", "billing:read"),
    )
    organization = claims.organization
    assert (organization.id, organization.slug) == ("org_acme", "acme")
    assert organization.role == "org:admin"
    assert set(organization.permissions) == {
        "org:reports:read",
        "org:reports:write",
        "org:billing:read",
    }
    assert claims.features == ("o:reports", "o:billing")


@pytest.mark.usefixtures("developing")
def test_feature_without_permissions_grants_none():
    claims = verify(
        *("--org", "org_acme", "--feature", "exports", "--feature", "u:beta"),
        *("--permission", "reports:read"),
    )
    assert claims.features == ("o:exports", "u:beta", "o:reports")
    assert claims.organization.permissions == ("org:reports:read",)


@pytest.mark.usefixtures("developing")
def test_feature_that_has_permissions_is_named_once():
    claims = verify("--org", "org_acme", "--feature", "reports", "--permission", "reports:read")
    assert claims.features == ("o:reports",)
    assert claims.organization.permissions == ("org:reports:read",)


@pytest.mark.usefixtures("developing")
def test_organization_may_stand_alone():
    claims = verify("--org", "org_acme")
    assert claims.payload["o"] == {"id": "org_acme"}
    organization = claims.organization
    assert (organization.id, organization.slug, organization.role) == ("org_acme", None, None)
    assert organization.permissions == ()


@pytest.mark.parametrize(
    ("arguments", "features", "plans"),
    [
        (["--feature", "beta", "--plan", "free"], ("u:beta",), ("u:free",)),
        (
            ["--org", "org_acme", "--feature", "beta", "--plan", "pro", "--plan", "u:free"],
            ("o:beta",),
            ("o:pro", "u:free"),
        ),
    ],
)
@pytest.mark.usefixtures("developing")
def test_scope_of_features_and_plans_is_that_of_the_token(arguments, features, plans):
    claims = verify(*arguments)
    assert (claims.features, claims.plans) == (features, plans)


def test_token_names_neither_party_nor_audience_where_none_is_set(developing):
    developing.CLERK_AUTH = {"DEV_MODE": True}
    claims = verify()
    assert claims.issuer == "https://clerk.localhost"
    assert claims.authorized_party is None
    assert "aud" not in claims.payload


@pytest.mark.usefixtures("developing")
def test_tokens_are_signed_with_the_key_of_the_working_directory():
    make_token()
    assert get_verifier().source.status().keys[0].thumbprint == (
        load_local_issuer(ISSUER).verifying_key.thumbprint
    )


# Bad tokens


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
@pytest.mark.usefixtures("developing")
def test_bad_token_is_refused_with_its_code(bad):
    token = make_token("--bad", bad.name, "--user", "user_alice", "--org", "org_acme")
    with pytest.raises(TokenRejected) as caught:
        get_verifier().verify(token)
    assert caught.value.code == bad.code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--expires-in", "-60"], "token_expired"),
        (["--azp", "https://evil.example"], "party_not_allowed"),
        (["--aud", "other"], "audience_not_allowed"),
        (["--user", "mch_1"], "token_class_not_accepted"),
        (["--user", ""], "claim_invalid"),
        (["--session", ""], "claim_invalid"),
    ],
)
@pytest.mark.usefixtures("developing")
def test_good_kind_with_bad_claims_is_refused_like_any_other(arguments, code):
    token = make_token(*arguments)
    with pytest.raises(TokenRejected) as caught:
        get_verifier().verify(token)
    assert caught.value.code == code


# What it refuses to do


@pytest.mark.parametrize(
    "arguments",
    [
        ["--role", "admin"],
        ["--org-slug", "acme"],
        ["--permission", "reports:read"],
        ["--org", "org_acme", "--permission", "reports"],
        ["--org", "org_acme", "--permission", ":read"],
        ["--org", "org_acme", "--permission", "reports:"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("developing")
def test_options_that_make_no_sense_end_it_with_two(arguments):
    assert exit_status(*arguments) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"FRONTEND_API": "clerk.example.com"},
        {"FRONTEND_API": "clerk.example.com", "DEV_MODE": False},
        {"FRONTEND_API": "clerk.example.com", "DEV_MODE": True},
        {},
    ],
    ids=str,
)
def test_outside_development_mode_nothing_is_signed(settings, tmp_path, monkeypatch, values):
    monkeypatch.chdir(tmp_path)
    settings.CLERK_AUTH = values
    assert exit_status() == 2
    assert list(tmp_path.iterdir()) == []


def run_process(directory: Path, *arguments: str, **environment: str):
    return subprocess.run(
        [sys.executable, str(django_settings.BASE_DIR / "manage.py"), "clerk_token", *arguments],
        cwd=directory,
        env={**inherit_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"CLERK_FRONTEND_API": "clerk.example.com"}, id="not-developing"),
        pytest.param({"AUTH_DEV_MODE": "1"}, id="without-debug"),
        pytest.param({}, id="without-settings"),
    ],
)
def test_process_outside_development_mode_prints_no_token(tmp_path, environment):
    done = run_process(tmp_path, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "DEV_MODE" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_process_prints_a_token_and_nothing_else(tmp_path, settings, monkeypatch):
    environment = {"AUTH_DEV_MODE": "1", "DJANGO_DEBUG": "1"}
    done = run_process(tmp_path, "--user", "user_alice", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.chdir(tmp_path)
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    assert get_verifier().verify(done.stdout.removesuffix("\n")).user_id == "user_alice"
    assert run_process(tmp_path, "--bad", "no-such-kind", **environment).returncode == 2
