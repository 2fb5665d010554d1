"""Whatever is wrong with the settings: what is said of it repeats nothing that may be a secret.

The values that must not be said have a mark in them, wherever they are put.
"""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client

from clerk_auth.checks import TAG
from clerk_auth.conf import Config, get_config, redaction, secrets
from clerk_auth.conf.declarations import declared
from clerk_auth.health import read_readiness
from clerk_auth.users import get_user_resolver
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY

# Many settings, each read by every check.
pytestmark = pytest.mark.integration

MARK = "zq7marked"
GOOD = {"FRONTEND_API": "clerk.example.com", "AUTHORIZED_PARTIES": [PARTY]}
SECRET_KEY = "sk_" + "live_" + MARK * 3
SECRETS = {
    "secret key": SECRET_KEY,
    "test key": "sk_" + "test_" + MARK,
    "api key": "ak_" + MARK,
    "machine token": "mt_" + MARK,
    "oauth token": "oat_" + MARK,
    "webhook secret": "whsec_" + MARK,
    "jwt": f"eyJ{MARK}.eyJ{MARK}.{MARK}",
    "private key": "-----BEGIN {0}-----\n{1}\n-----END {0}-----".format("PRIVATE" + " KEY", MARK),
    "password": f"{MARK}!P4ssw0rd",
    "hex": f"{MARK}0123456789abcdef",
    "in blanks": f" {MARK} ",
    "in quotes": f'"{SECRET_KEY}"',
    "with its variable": f"CLERK_SECRET_KEY={SECRET_KEY}",
    "in a url": f"https://{MARK}:{SECRET_KEY}@clerk.example.com/{MARK}?key={MARK}#{MARK}",
    "in a query": f"https://clerk.example.com/?key={MARK}",
    "in a host": f"https://{MARK}_x.{MARK}",
    "plain http": f"http://{MARK}_host/{MARK}",
    "with dots": f"{MARK}.{MARK}.{MARK}9",
    "two": f"https://{SECRET_KEY},https://{MARK}_x",
}
# Whoever sees one of these takes it for a secret at once.
SEEN_AS_SECRETS = ("secret key", "test key", "api key", "machine token", "oauth token")


def said_by_checks() -> str:
    return "\n".join(
        f"{message.msg} {message.hint} {message.obj}"
        for message in run_checks(tags=[TAG], include_deployment_checks=True)
    )


def said_by(call: Callable[[], object]) -> str:
    """Return what a call raises, with all that a log would show of it."""
    try:
        call()
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return ""


def forms_of(value: str) -> Iterator[object]:
    yield value
    yield [value]
    yield [PARTY, value]
    yield {value: value}
    yield (value.encode(),)


@pytest.mark.parametrize("key", declared(Config))
def test_no_value_is_said(key, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    for kind, value in SECRETS.items():
        for form in forms_of(value):
            settings.CLERK_AUTH = {**GOOD, key: form}
            said = said_by_checks() + "".join(
                map(said_by, (get_config, get_verifier, get_user_resolver))
            )
            assert MARK not in said.lower(), (kind, form)


@pytest.mark.parametrize("key", [*SECRETS.values(), MARK, MARK.encode(), (MARK,), 7])
def test_no_key_is_said_that_is_no_name(key, settings):
    settings.CLERK_AUTH = {**GOOD, "TYPO": 1, key: 1}
    said = said_by_checks() + said_by(get_config)
    assert MARK not in said
    assert "CLERK_AUTH['TYPO'] is not a setting" in said
    assert "key 4" in said


def problem_of(key: str, value: object, settings: Any) -> str:
    settings.CLERK_AUTH = {**GOOD, key: value}
    (problem,) = run_checks(tags=[TAG])
    assert f"CLERK_AUTH['{key}']" in problem.msg
    assert problem.id in ("clerk_auth.E003", "clerk_auth.E005")
    return f"{problem.msg} {problem.hint}"


@pytest.mark.parametrize(
    "key", ["FRONTEND_API", "PUBLISHABLE_KEY", "ISSUER", "JWKS_URL", "JWT_KEY", "METRICS"]
)
def test_what_starts_like_a_secret_has_a_hint_of_its_own(key, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    for kind in SEEN_AS_SECRETS:
        for value in (SECRETS[kind], [SECRETS[kind]]):
            said = problem_of(key, value, settings)
            assert "looks like a secret" in said
            assert "rotate it" in said


def test_hint_of_a_secret_says_what_belongs_there_too(settings):
    assert "pk_live_ or pk_test_" in problem_of("PUBLISHABLE_KEY", SECRET_KEY, settings)
    assert "scheme and host" in problem_of("AUTHORIZED_PARTIES", [SECRET_KEY], settings)
    assert "PEM public key" in problem_of("JWT_KEY", SECRETS["private key"], settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("REALM", SECRET_KEY),
        ("AUDIENCE", [SECRET_KEY]),
        ("CACHE_ALIAS", "ak_" + MARK * 2),
        ("USER_ID_FIELD", "whsec_" + MARK),
        ("USER_FIELDS", {"email": "mt_" + MARK * 2}),
        ("JWKS_URL", f"https://clerk.example.com/jwks?key={SECRET_KEY}"),
        ("AUTHORIZED_PARTIES", [f"https://{SECRET_KEY}"]),
    ],
)
def test_secret_is_refused_where_any_text_would_do(key, value, settings):
    """The realm is sent to every caller; the others stand in logs and reports."""
    assert "rotate it" in problem_of(key, value, settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("REALM", "ak_realm"),
        ("AUDIENCE", "mt_audience"),
        ("CACHE_ALIAS", "oat_cache"),
        ("USER_ID_FIELD", "ak_id"),
        ("USER_RESOLVER", "mt_users.resolve"),
        ("AUTHORIZED_PARTIES", ["https://sk-live-shop.example", "https://eyjafjalla.example"]),
        ("FRONTEND_API", "clerk.eyjafjalla.example"),
    ],
)
def test_name_that_only_starts_like_a_secret_is_taken(key, value, settings):
    settings.CLERK_AUTH = {**GOOD, key: value}
    assert get_config()


@pytest.mark.parametrize(
    ("key", "value", "corrected"),
    [
        ("FRONTEND_API", f"https://{MARK}:{MARK}@clerk.example.com/{MARK}", "clerk.example.com"),
        ("ISSUER", "https://clerk.example.com/", "https://clerk.example.com"),
        ("ISSUER", "https://Clerk.example.com:443", "https://clerk.example.com"),
        ("ISSUER", f"https://clerk.example.com?{MARK}", "https://clerk.example.com"),
        ("AUTHORIZED_PARTIES", [f"https://a.example/{MARK}?{MARK}"], "https://a.example"),
        ("AUTHORIZED_PARTIES", f"https://a.example/{MARK}", "https://a.example"),
        ("CACHE_ALIAS", " keys ", "keys"),
        ("ISSUER", " https://clerk.example.com ", "https://clerk.example.com"),
    ],
)
def test_correction_is_said_where_it_holds_no_secret(key, value, corrected, settings):
    said = problem_of(key, value, settings)
    assert f'"{corrected}"' in said
    assert MARK not in said


@pytest.mark.parametrize(
    "value", [f"https://clerk.example.com/{MARK}/", f"https://{MARK}.example/{MARK}//"]
)
def test_issuer_with_a_path_is_not_said(value, settings):
    assert MARK not in problem_of("ISSUER", value, settings)


# What is imported


@pytest.mark.parametrize("key", ["USER_RESOLVER", "METRICS"])
def test_path_that_cannot_be_imported_is_told_as_far_as_it_leads(key, settings):
    def said(path: str) -> str:
        settings.CLERK_AUTH = {**GOOD, key: path if key == "USER_RESOLVER" else [path]}
        (error,) = [m for m in run_checks(tags=[TAG]) if m.id == "clerk_auth.E006"]
        assert MARK not in said_by(get_verifier) + said_by(get_user_resolver)
        return error.msg

    assert "no module of its first name" in said(f"{MARK}.{MARK}")
    assert "clerk_auth.users is there" in said(f"clerk_auth.users.{MARK}")
    assert "clerk_auth is there" in said(f"clerk_auth.{MARK}.{MARK}")
    assert MARK not in said(f"clerk_auth.users.{MARK}.{MARK}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("raise ImportError('needs a license')", "needs a license"),
        ("1 / 0", "raises ZeroDivisionError"),
        ("syntax error", "raises SyntaxError"),
        ("raise SystemError", "raises SystemError"),
    ],
)
def test_module_that_cannot_be_loaded_says_why(source, said, settings, tmp_path, monkeypatch):
    (tmp_path / "fragile.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    settings.CLERK_AUTH = {**GOOD, "USER_RESOLVER": "fragile.resolve"}
    (error,) = [m for m in run_checks(tags=[TAG]) if m.id == "clerk_auth.E006"]
    assert said in error.msg


# Django's settings, and commands


@pytest.fixture
def marked(settings) -> Iterator[Any]:
    """Settings that are right, with a mark where a password or a key may be."""
    settings.SECRET_KEY = MARK * 8
    settings.CACHES = {
        MARK: {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{MARK}:{MARK}@127.0.0.1:1/{MARK}",
            "OPTIONS": {"PASSWORD": MARK, "SERIALIZER": f"{MARK}.Serializer"},
        },
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    settings.CLERK_AUTH = {
        **GOOD,
        "CACHE_ALIAS": MARK,
        "JWKS_URL": f"http://127.0.0.1:1/jwks.json?key={MARK}",
        "USER_ID_FIELD": MARK,
        "USER_FIELDS": {MARK * 2: MARK},
        "USER_RESOLVER": "clerk_auth.users.database_user",
        "METRICS": ["clerk_auth.metrics.sinks.Sink"],
    }
    yield settings
    forget_caches()


def forget_caches() -> None:
    """Drop the caches that were made: to close them, django-redis 6 imports the serializer."""
    for alias in caches:
        with contextlib.suppress(AttributeError):
            del caches[alias]


def test_checks_say_nothing_of_caches_and_fields(marked):
    said = said_by_checks()
    for check_id in ("E007", "E010", "W008"):
        assert f"clerk_auth.{check_id}" in [m.id for m in run_checks(tags=[TAG])]
    assert MARK not in said
    forget_caches()
    marked.CACHES = {"default": marked.CACHES[MARK], f"{MARK}2": {}}
    assert MARK not in said_by_checks()


@pytest.mark.parametrize(
    "command",
    [
        ["clerk_selftest"],
        ["clerk_selftest", "--json"],
        ["clerk_selftest", "--offline"],
        ["clerk_keys", "status"],
        ["clerk_keys", "refresh"],
        ["clerk_token"],
        ["check", "--tag", "clerk_auth", "--deploy", "--fail-level", "CRITICAL"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("changes", [{}, {"LEEWAY_SECONDS": MARK}, {"CACHE_ALIAS": MARK * 2}])
def test_commands_say_nothing_of_them(command, changes, marked, caplog):
    marked.CLERK_AUTH = {**marked.CLERK_AUTH, **changes}
    # The name of an alias that is there is no secret, and the self-test shows it.
    forget_caches()
    marked.CACHES = {**marked.CACHES, "keys": marked.CACHES[MARK]}
    if marked.CLERK_AUTH["CACHE_ALIAS"] == MARK:
        marked.CLERK_AUTH = {**marked.CLERK_AUTH, "CACHE_ALIAS": "keys"}
    out, err = io.StringIO(), io.StringIO()
    caplog.set_level(logging.DEBUG, logger="clerk_auth")
    with contextlib.suppress(SystemExit, CommandError):
        call_command(*command, stdout=out, stderr=err)
    assert MARK not in out.getvalue() + err.getvalue() + caplog.text


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize(
    "key", ["LEEWAY_SECONDS", "USER_RESOLVER", "JWT_KEY", "AUTHORIZED_PARTIES"]
)
def test_requests_log_nothing_of_them(key, mode, settings, caplog):
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {**GOOD, "MODE": mode, key: SECRETS["password"]}
    caplog.set_level(logging.DEBUG)
    client = Client(raise_request_exception=False, SERVER_NAME="localhost")
    client.get("/api/me", headers={"Authorization": "Bearer a.b.c"})
    records = [r for r in caplog.records if r.name in ("clerk_auth", "django.request")]
    assert records
    assert MARK not in "".join(logging.Formatter().format(record) for record in records)


def test_readiness_logs_no_key_that_is_no_name(settings, caplog):
    settings.CLERK_AUTH = {**GOOD, "TYPO": 1, SECRET_KEY: 1, f"{MARK}1": 1}
    assert read_readiness(now=0).status == "misconfigured"
    assert "settings=TYPO, ..., ..." in caplog.text
    assert MARK not in caplog.text


# The rule itself


@pytest.mark.parametrize(
    ("text", "is_shown"),
    [
        ("keys", True),
        ("clerk_id", True),
        ("clerk.example.com", True),
        ("https://app.example.com:8443", True),
        ("http://localhost:3000", True),
        ("Keys", False),
        ("keys2", False),
        ("a" * 25, False),
        ("sk_" + "live_abcdefgh", False),
        ("https://app.example.com/", False),
        ("https://app.example.com?a", False),
        ("redis://localhost", False),
        ("eyJhbGci.eyJzdWI.abcdef", False),
        ("", False),
    ],
)
def test_what_may_be_repeated_has_a_form_without_secrets(text, is_shown):
    assert redaction.may_repeat(text) == is_shown


def test_values_that_contain_themselves_are_looked_at_to_an_end():
    knot: list[Any] = [SECRET_KEY]
    knot.append(knot)
    assert secrets.looks_secret(knot)
    knot.remove(SECRET_KEY)
    assert not secrets.looks_secret({"a": knot})


def test_configuration_error_is_raised_without_its_values(settings):
    settings.CLERK_AUTH = {**GOOD, "LEEWAY_SECONDS": SECRET_KEY}
    with pytest.raises(ImproperlyConfigured) as caught:
        get_config()
    assert MARK not in str(caught.value)
