"""Tokens of the development issuer, good and bad, judged on the path that every token takes."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import TokenRejected
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.development import load_local_issuer
from clerk_auth.permissions import IsNotImpersonated
from clerk_auth.verifier import get_verifier
from project.demo.environment import inherit_environment
from tests.conftest import ISSUER, PARTY
from tests.tenants import STAFF_PARTY

OLD_ISSUER = "https://old.clerk.example.com"
ROOT = Path(__file__).resolve().parents[2]

# Each token costs the loading of a private key, which is checked while it is loaded.
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def _directory(tmp_path_factory) -> Path:
    """One project, so that its key is made once."""
    return tmp_path_factory.mktemp("developing")


@pytest.fixture
def developing(settings, _directory):
    """Development mode with every claim checked."""
    settings.BASE_DIR = _directory
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
def test_tokens_are_signed_with_the_key_of_the_project():
    make_token()
    assert get_verifier().source.status().keys[0].thumbprint == (
        load_local_issuer(ISSUER).verifying_key.thumbprint
    )


@pytest.mark.usefixtures("developing")
@pytest.mark.parametrize(
    ("arguments", "ages"),
    [
        (["--fva", "5", "-1"], (5, -1)),
        (["--fva", "5,-1"], (5, -1)),
        (["--fva=-1,-1"], (-1, -1)),
        (["--fva", "-1", "-1"], (-1, -1)),
        (["--fva", "0", "0.5", "--org", "org_acme"], (0, 0.5)),
        (["--fva", "1", "2", "--claims-version", "1"], (1, 2)),
    ],
)
def test_ages_of_factors_answer_step_up(arguments, ages):
    claims = verify(*arguments)
    assert claims.factor_ages == ages
    assert claims.payload["fva"] == ages


@pytest.mark.usefixtures("developing")
def test_step_up_is_fresh_or_stale_as_the_ages_say():
    assert verify("--fva", "0", "-1").has(reverification="strict")
    assert not verify("--fva", "10", "-1").has(reverification="strict")
    assert verify().factor_ages is None


@pytest.mark.usefixtures("developing")
@pytest.mark.parametrize(
    ("arguments", "actor"),
    [
        ([], None),
        (["--act", "user_support"], {"sub": "user_support"}),
        (
            ["--act", '{"sub": "user_support", "sid": "sess_2"}'],
            {"sub": "user_support", "sid": "sess_2"},
        ),
        (["--act", " {}"], {}),
        (["--act", "user_support", "--claims-version", "1"], {"sub": "user_support"}),
    ],
)
def test_actor_impersonates(arguments, actor):
    claims = verify(*arguments)
    assert claims.actor == actor
    assert IsNotImpersonated().allows(claims) == (actor is None)


@pytest.mark.usefixtures("developing")
def test_custom_claims_are_as_they_are_given():
    claims = verify(
        *("--claim", 'email="alice@example.com"', "--claim", "beta=true", "--claim", "level=3"),
        *("--claim", 'tags=["a", "b"]', "--claim", 'meta={"a=b": null}', "--claim", "none=null"),
        *("--claim", 'user_id="x"', "--claim", "now=1", "--claim", "expires_in=1"),
    )
    assert (claims.get("email"), claims.get("beta"), claims.get("level")) == (
        *("alice@example.com", True, 3),
    )
    assert claims.get("tags") == ("a", "b")
    assert claims.get("meta") == {"a=b": None}
    assert claims.get("none", "default") is None
    assert (claims.user_id, claims.get("user_id")) == ("user_dev", "x")


@pytest.mark.usefixtures("developing")
@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ("sub=null", "claim_invalid"),
        ("sid=5", "claim_invalid"),
        ('iss="https://other.example"', "issuer_not_allowed"),
        ("azp=null", "party_not_allowed"),
        ('exp="soon"', "claim_invalid"),
        ('sts="pending"', "session_pending"),
    ],
)
def test_claim_goes_over_what_is_there_without_it(claim, code):
    with pytest.raises(TokenRejected) as caught:
        verify("--claim", claim)
    assert caught.value.code == code


@pytest.mark.usefixtures("developing")
def test_version_1_has_the_claims_of_version_1():
    arguments = ["--org", "org_acme", "--org-slug", "acme", "--role", "admin"]
    claims = verify("--claims-version", "1", *arguments, "--permission", "reports:read")
    assert not {"v", "o", "fea", "pla"} & set(claims.payload)
    assert claims.version == 1
    assert (claims.organization.id, claims.organization.role) == ("org_acme", "org:admin")
    assert claims.organization.permissions == ("org:reports:read",)
    assert verify("--claims-version", "2", *arguments).version == verify().version == 2


@pytest.mark.usefixtures("developing")
@pytest.mark.parametrize(
    ("iat", "expires_in", "code"),
    [
        ("-30", "60", None),
        ("+0", "60", None),
        ("-3600", "7200", None),
        ("-3600", "60", "token_expired"),
        ("+60", "60", "token_not_yet_valid"),
        ("1000", "60", "token_expired"),
    ],
)
def test_token_is_issued_when_it_is_told(iat, expires_in, code):
    token = make_token("--iat", iat, "--expires-in", expires_in)
    if code is not None:
        with pytest.raises(TokenRejected) as caught:
            get_verifier().verify(token)
        assert caught.value.code == code
        return
    claims = get_verifier().verify(token)
    assert claims.expires_at - claims.issued_at == int(expires_in)
    assert abs(claims.issued_at - time.time() - int(iat)) < 5


@pytest.mark.usefixtures("developing")
def test_bad_kinds_take_the_options_too():
    token = make_token("--bad", "wrong-party", "--act", "user_support", "--claims-version", "1")
    with pytest.raises(TokenRejected) as caught:
        get_verifier().verify(token)
    assert caught.value.code == "party_not_allowed"


# Documented commands


def documented() -> list[str]:
    """Return the arguments of every ``clerk_token`` of the docs."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"manage\.py clerk_token\b([^\n|)`]*)", text)
    return sorted({arguments.strip() for arguments in found})


@pytest.mark.parametrize("arguments", documented())
def test_documented_command_prints_a_token(arguments, developing):
    if named := re.search(r"--instance (\w+)", arguments):
        developing.CLERK_AUTH = {**developing.CLERK_AUTH, "INSTANCES": {named[1]: {}}}
    if "--help" not in arguments:
        assert make_token(*shlex.split(arguments)).count(".") == 2


def test_each_new_option_is_documented_by_a_command():
    written = " ".join(documented())
    for option in ("--fva", "--act", "--claim ", "--claims-version", "--iat"):
        assert option in written


# Several instances


@pytest.fixture
def several(developing):
    instances = {"staff": {"AUTHORIZED_PARTIES": [STAFF_PARTY]}, "old": {"ISSUER": OLD_ISSUER}}
    developing.CLERK_AUTH = {**developing.CLERK_AUTH, "INSTANCES": instances}
    return developing


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("alias", "issuer", "party"),
    [
        ("default", ISSUER, PARTY),
        ("staff", "https://staff.clerk.localhost", STAFF_PARTY),
        ("old", OLD_ISSUER, None),
    ],
)
def test_token_is_for_the_instance_that_is_named_and_for_no_other(alias, issuer, party):
    token = make_token("--instance", alias)
    claims = get_verifier(alias).verify(token)
    assert (claims.instance, claims.issuer, claims.authorized_party) == (alias, issuer, party)
    for other in {"default", "staff", "old"} - {alias}:
        with pytest.raises(TokenRejected) as caught:
            get_verifier(other).verify(token)
        assert caught.value.code == "issuer_not_allowed"
    with pytest.raises(TokenRejected) as caught:
        get_verifier(alias).verify(make_token("--instance", alias, "--bad", "forged"))
    assert caught.value.code == "signature_invalid"


@pytest.mark.usefixtures("several")
def test_token_without_an_instance_is_for_the_default():
    assert verify().issuer == ISSUER


@pytest.mark.usefixtures("developing")
def test_default_may_be_named_where_there_is_no_other():
    assert verify("--instance", "default").issuer == ISSUER


@pytest.mark.usefixtures("several")
def test_instance_that_is_not_there_ends_it_with_two_and_those_that_are():
    with pytest.raises(CommandError) as caught:
        make_token("--instance", "custommers")
    assert caught.value.returncode == 2
    assert str(caught.value) == (
        "CLERK_AUTH has no instance 'custommers'. It has: default, staff, old."
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
        ["--claims-version", "1", "--feature", "beta"],
        ["--claims-version", "1", "--plan", "free"],
        ["--fva", "5"],
        ["--fva", "5", "-1", "0"],
        ["--org", "org_acme", "--claim", "o={}"],
        ["--claims-version", "1", "--claim", "v=2"],
        ["--claim", "a=1", "--claim", "a=2"],
        ["--azp", PARTY, "--claim", "azp=null"],
        ["--act", "user_support", "--claim", "act=null"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("developing")
def test_options_that_make_no_sense_end_it_with_two(arguments):
    assert exit_status(*arguments) == 2


@pytest.mark.usefixtures("developing")
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--fva", "x"], "as in 5 -1"),
        (["--fva", "-2"], "-1: not enrolled"),
        (["--fva", "true", "1"], "minutes since each factor"),
        (["--fva", "1,"], "minutes since each factor"),
        (["--act", "{"], "not JSON"),
        (["--act", '{"sub": NaN}'], "not JSON"),
        (["--claim", "email"], "NAME=JSON"),
        (["--claim", "=1"], "NAME=JSON"),
        (["--claim", "email=alice@example.com"], "its own quotes"),
        (["--claim", "a="], "not JSON"),
        (["--claim", "a=NaN"], "not JSON"),
        (["--claim", "a=-Infinity"], "not JSON"),
        (["--claim", "a=" + "[" * 100_000], "not JSON"),
        (["--claim", "a=" + "9" * 5000], "not JSON"),
        (["--iat", "soon"], "Unix time"),
        (["--iat", "1.5"], "Unix time"),
        (["--iat", "9" * 13], "Unix time"),
        (["--claims-version", "3"], "choose from"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_value_that_is_none_is_explained(arguments, hint):
    with pytest.raises(CommandError) as caught:
        make_token(*arguments)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.usefixtures("developing")
def test_key_that_is_not_trusted_signs_nothing(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    make_token()
    (tmp_path / ".clerk-dev" / "signing-key.pem").chmod(0o644)
    with pytest.raises(CommandError, match=str(tmp_path)) as caught:
        make_token()
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    "values",
    [
        {"FRONTEND_API": "clerk.example.com"},
        {"FRONTEND_API": "clerk.example.com", "DEV_MODE": False},
        {"FRONTEND_API": "clerk.example.com", "DEV_MODE": True},
        {},
    ],
)
def test_outside_development_mode_nothing_is_signed(settings, tmp_path, values):
    settings.BASE_DIR = tmp_path
    settings.CLERK_AUTH = values
    with pytest.raises(CommandError, match="DEV_MODE") as caught:
        make_token()
    assert caught.value.returncode == 2
    assert list(tmp_path.iterdir()) == []


def run_process(directory: Path, *arguments: str, **environment: str):
    """Run it for a project that lies in ``directory``."""
    tested = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TESTS_SETTINGS": json.dumps({"BASE_DIR": str(directory)}),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "clerk_token", *arguments],
        cwd=directory,
        env={**inherit_environment(), **tested, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_process_outside_development_mode_prints_no_token(tmp_path):
    done = run_process(tmp_path, AUTH_DEV_MODE="1")  # DEBUG is off
    assert (done.returncode, done.stdout) == (2, "")
    assert "DEV_MODE" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_process_prints_a_token_and_nothing_else(tmp_path, settings):
    environment = {"AUTH_DEV_MODE": "1", "DJANGO_DEBUG": "1"}
    done = run_process(tmp_path, "--user", "user_alice", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    settings.BASE_DIR = tmp_path
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    assert get_verifier().verify(done.stdout.removesuffix("\n")).user_id == "user_alice"
