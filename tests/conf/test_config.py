"""The setting as a whole: defaults, conflicts and what is unknown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from clerk_auth import conf
from clerk_auth.conf import Config, find_problems, is_observing, read_configs
from clerk_auth.conf.declarations import declared
from project.demo.environment import inherit_environment

pytestmark = pytest.mark.integration

DOMAIN = "clerk.example.com"
PUBLISHABLE = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k"
MINIMAL = {"FRONTEND_API": DOMAIN}
DEFAULTS = {key: setting.default for key, (_, setting) in declared(Config).items()}
ABSENT_BY_DEFAULT = [key for key, default in DEFAULTS.items() if default is None]
WITH_DEFAULT = [key for key in DEFAULTS if key not in ABSENT_BY_DEFAULT]


def read(debug: bool = False, **values: object) -> Config:
    return read_configs(values, debug=debug)["default"]


def problems_of(debug: bool = False, **values: object) -> dict[str, CheckMessage]:
    """Return what is wrong by key, as the system checks see it."""
    with override_settings(CLERK_AUTH=values, DEBUG=debug):
        return {problem.obj: problem for problem in find_problems()}


# One value after the other


def test_defaults_are_those_of_the_design():
    config = read(**MINIMAL)
    assert config == Config(
        frontend_api="clerk.example.com",
        publishable_key=None,
        issuers=("https://clerk.example.com",),
        jwks_url="https://clerk.example.com/.well-known/jwks.json",
        jwt_keys=(),
        authorized_parties=(),
        azp_policy="required",
        audience=(),
        leeway_seconds=5,
        accept_pending=False,
        uncategorized_token_max_seconds=3600,
        max_token_bytes=16384,
        cache_alias="default",
        jwks_refresh_seconds=300,
        jwks_max_age_seconds=86400,
        jwks_local_seconds=15,
        jwks_cooldown_seconds=30,
        jwks_timeout_seconds=4,
        verified_token_cache_size=4096,
        user_resolver="clerk_auth.users.stateless_user",
        user_id_field=None,
        user_id_claim="sub",
        user_fields={},
        mode="enforce",
        dev_mode=False,
        metrics=(),
        realm="api",
        health_details=False,
    )


def test_configuration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        read(**MINIMAL).leeway_seconds = 60


@pytest.mark.parametrize(
    ("key", "value", "read_as"),
    [
        ("AUTHORIZED_PARTIES", ["https://a.example"], ("https://a.example",)),
        ("AZP_POLICY", "if_present", "if_present"),
        ("MODE", "observe", "observe"),
        ("AUDIENCE", "api", ("api",)),
        ("LEEWAY_SECONDS", 0, 0),
        ("ACCEPT_PENDING", True, True),
        ("UNCATEGORIZED_TOKEN_MAX_SECONDS", 0, 0),
        ("MAX_TOKEN_BYTES", 4096, 4096),
        ("CACHE_ALIAS", "keys", "keys"),
        ("JWKS_REFRESH_SECONDS", 60.5, 60.5),
        ("JWKS_MAX_AGE_SECONDS", 3600, 3600),
        ("JWKS_LOCAL_SECONDS", 1, 1),
        ("JWKS_COOLDOWN_SECONDS", 60, 60),
        ("JWKS_TIMEOUT_SECONDS", 1.5, 1.5),
        ("VERIFIED_TOKEN_CACHE_SIZE", 0, 0),
        ("JWKS_URL", "https://keys.example.com/a", "https://keys.example.com/a"),
        ("USER_RESOLVER", "users.resolve", "users.resolve"),
        ("USER_ID_FIELD", "clerk_id", "clerk_id"),
        ("USER_FIELDS", {"email": "mail"}, {"email": "mail"}),
        ("METRICS", ["sinks.Statsd"], ("sinks.Statsd",)),
        ("REALM", "my api", "my api"),
    ],
)
def test_value_that_is_set_replaces_the_default(key, value, read_as):
    default, config = read(**MINIMAL), read(**MINIMAL, **{key: value})
    changed = {
        field.name
        for field in fields(Config)
        if getattr(config, field.name) != getattr(default, field.name)
    }
    assert changed == {key.lower()}
    assert getattr(config, key.lower()) == read_as


@pytest.mark.parametrize("key", ABSENT_BY_DEFAULT + WITH_DEFAULT)
def test_wrong_container_is_refused_under_the_name_of_the_key(key):
    for value in ({"a": 1}, {"a"}, [["a"]], object(), b"bytes"):
        problem = problems_of(**{**MINIMAL, key: value})[key]
        assert problem.id == "clerk_auth.E003"
        assert problem.msg
        assert problem.hint
        with pytest.raises(ImproperlyConfigured, match=rf"CLERK_AUTH\['{key}'\]"):
            read(**{**MINIMAL, key: value})


@pytest.mark.parametrize("key", ABSENT_BY_DEFAULT)
def test_none_is_absent_where_nothing_is_the_default(key):
    # Both name the same domain, so that each can be missing.
    values = {"PUBLISHABLE_KEY": PUBLISHABLE, **MINIMAL}
    others = {name: value for name, value in values.items() if name != key}
    assert read(**{**values, key: None}) == read(**others)


@pytest.mark.parametrize("key", WITH_DEFAULT)
def test_none_is_no_value_where_there_is_a_default(key):
    assert set(problems_of(**{**MINIMAL, key: None})) == {key}


@pytest.mark.parametrize(
    ("key", "accepted", "refused"),
    [
        ("LEEWAY_SECONDS", (0, 0.01), (-0.01,)),
        ("LEEWAY_SECONDS", (59.99, 60), (60.01,)),
        ("UNCATEGORIZED_TOKEN_MAX_SECONDS", (0, 0.5, 10**9), (-1, 10**9 + 1, 10**400)),
        ("MAX_TOKEN_BYTES", (1, 2), (0, 1.5)),
        ("JWKS_REFRESH_SECONDS", (60, 60.01), (59.99,)),
        ("JWKS_REFRESH_SECONDS", (43199.99, 43200), (43200.01,)),
        ("JWKS_MAX_AGE_SECONDS", (86399.99, 86400), (86400.01,)),
        ("JWKS_LOCAL_SECONDS", (1, 1.01), (0.99,)),
        ("JWKS_LOCAL_SECONDS", (299.99, 300), (300.01,)),
        ("JWKS_COOLDOWN_SECONDS", (1, 2), (0, 1.5, 30.0)),
        ("JWKS_TIMEOUT_SECONDS", (1, 1.01), (0.99,)),
        ("JWKS_TIMEOUT_SECONDS", (29.99, 30), (30.01,)),
        ("VERIFIED_TOKEN_CACHE_SIZE", (0, 1), (-1, 0.5)),
    ],
)
def test_range_of_a_number(key, accepted, refused):
    for value in accepted:
        assert getattr(read(**MINIMAL, **{key: value}), key.lower()) == value
    for value in (*refused, True, str(accepted[0]), float("nan")):
        assert set(problems_of(**MINIMAL, **{key: value})) == {key}


@pytest.mark.parametrize(("max_age", "is_read"), [(119.99, False), (120, True), (120.01, True)])
def test_lowest_max_age_is_twice_the_lowest_refresh(max_age, is_read):
    values = {"JWKS_REFRESH_SECONDS": 60, "JWKS_MAX_AGE_SECONDS": max_age}
    assert set(problems_of(**MINIMAL, **values)) == (set() if is_read else {"JWKS_MAX_AGE_SECONDS"})


# Unknown keys


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("AUTHORISED_PARTIES", "AUTHORIZED_PARTIES"),
        ("frontend_api", "FRONTEND_API"),
        ("LEEWAY", "LEEWAY_SECONDS"),
        ("JWKS_CACHE_ALIAS", "CACHE_ALIAS"),
        ("ISSUERS", "ISSUER"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(key, meant):
    problem = problems_of(**MINIMAL, **{key: "x"})[key]
    assert problem.id == "clerk_auth.E002"
    assert problem.hint == f"Did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("key", "shown"),
    [("XYZZY", "XYZZY"), (None, "None"), ("", "..."), (5, "..."), (("a", "b"), "...")],
)
def test_key_that_is_like_no_other_is_refused_without_a_suggestion(key, shown):
    (problem,) = problems_of_mapping({**MINIMAL, key: "x"})
    assert (problem.id, problem.obj) == ("clerk_auth.E002", shown)
    assert "Did you mean" not in problem.hint


@pytest.mark.parametrize("mode", ["Observe", "observe ", "off", "", None, True, ["observe"]])
def test_mode_that_is_not_spelt_exactly_is_an_error_and_observes_nothing(mode):
    problem = problems_of(**MINIMAL, MODE=mode)["MODE"]
    assert problem.id == "clerk_auth.E003"
    assert "enforce, observe" in problem.hint
    with override_settings(CLERK_AUTH={**MINIMAL, "MODE": mode}):
        assert not is_observing()


@pytest.mark.parametrize("others", [MINIMAL, {}, {"FRONTEND_API": "https://"}, {"XYZZY": 1}])
def test_observing_is_told_whatever_is_wrong_with_other_settings(others):
    with override_settings(CLERK_AUTH={**others, "MODE": "observe"}):
        assert is_observing()
    with override_settings(CLERK_AUTH={**others, "MODE": "enforce"}):
        assert not is_observing()


@pytest.mark.parametrize("values", [None, "observe", ["observe"], {}])
def test_setting_without_a_mode_observes_nothing(values):
    with override_settings(CLERK_AUTH=values):
        assert not is_observing()


def test_missing_setting_observes_nothing(settings):
    del settings.CLERK_AUTH
    assert not is_observing()


def problems_of_mapping(values: object) -> list[CheckMessage]:
    with override_settings(CLERK_AUTH=values):
        return find_problems()


@pytest.mark.parametrize("values", [None, "clerk.example.com", [("FRONTEND_API", DOMAIN)], 5])
def test_setting_that_is_no_dict_is_refused(values):
    (problem,) = problems_of_mapping(values)
    assert problem.id == "clerk_auth.E003"
    assert problem.msg == "CLERK_AUTH is not a dict."
    assert "CLERK_AUTH = {" in problem.hint


def test_every_problem_is_named_at_once():
    values = {"FRONTEND_API": "https://a.example", "LEEWAY_SECONDS": 61, "TYPO": 1}
    with pytest.raises(ImproperlyConfigured) as caught:
        read(**values)
    assert [key for key in values if f"CLERK_AUTH['{key}']" in str(caught.value)] == list(values)
    assert set(problems_of(**values)) == set(values)


# Whose tokens, and where the keys are


@pytest.mark.parametrize(
    ("values", "issuers", "jwks_url"),
    [
        pytest.param(
            {"PUBLISHABLE_KEY": PUBLISHABLE},
            ("https://clerk.example.com",),
            "https://clerk.example.com/.well-known/jwks.json",
            id="publishable-key",
        ),
        pytest.param(
            {"PUBLISHABLE_KEY": PUBLISHABLE, "FRONTEND_API": DOMAIN},
            ("https://clerk.example.com",),
            "https://clerk.example.com/.well-known/jwks.json",
            id="both-agree",
        ),
        pytest.param(
            {"ISSUER": ["https://a.example", "https://b.example"], "FRONTEND_API": DOMAIN},
            ("https://a.example", "https://b.example"),
            "https://clerk.example.com/.well-known/jwks.json",
            id="aliases-with-keys-at-the-domain",
        ),
        pytest.param(
            {"ISSUER": "https://a.example", "JWKS_URL": "https://b.example/keys"},
            ("https://a.example",),
            "https://b.example/keys",
            id="issuer-with-url",
        ),
        pytest.param(
            {"FRONTEND_API": DOMAIN, "JWKS_URL": "http://localhost:8000/keys"},
            ("https://clerk.example.com",),
            "http://localhost:8000/keys",
            id="domain-with-url",
        ),
    ],
)
def test_issuer_and_place_of_the_keys(values, issuers, jwks_url):
    config = read(**values)
    assert (config.issuers, config.jwks_url) == (issuers, jwks_url)


@pytest.mark.parametrize("whose", [{"FRONTEND_API": DOMAIN}, {"ISSUER": "https://a.example"}])
def test_configured_key_needs_no_url(whose, local_issuer):
    config = read(**whose, JWT_KEY=local_issuer.public_pem.strip())
    assert config.jwks_url is None
    assert [key.thumbprint for key in config.jwt_keys] == [local_issuer.verifying_key.thumbprint]
    assert not config.policy.kid_required


@pytest.mark.parametrize(
    ("values", "key", "check_id"),
    [
        pytest.param({}, "FRONTEND_API", "clerk_auth.E001", id="nothing"),
        pytest.param({"FRONTEND_API": None}, "FRONTEND_API", "clerk_auth.E001", id="none"),
        pytest.param(
            {"JWKS_URL": "https://a.example/keys"}, "FRONTEND_API", "clerk_auth.E001", id="url"
        ),
        pytest.param({"ISSUER": "https://a.example"}, "ISSUER", "clerk_auth.E001", id="issuer"),
        pytest.param(
            {"FRONTEND_API": "clerk.other.example", "PUBLISHABLE_KEY": PUBLISHABLE},
            "PUBLISHABLE_KEY",
            "clerk_auth.E003",
            id="two-domains",
        ),
        pytest.param(
            {**MINIMAL, "JWKS_URL": "http://a.example/keys"},
            "JWKS_URL",
            "clerk_auth.E005",
            id="http-keys",
        ),
        pytest.param(
            {**MINIMAL, "ISSUER": ["https://a.example", "http://b.example"]},
            "ISSUER",
            "clerk_auth.E005",
            id="http-issuer",
        ),
        pytest.param(
            {**MINIMAL, "DEV_MODE": True}, "DEV_MODE", "clerk_auth.E004", id="dev-without-debug"
        ),
        pytest.param(
            {**MINIMAL, "JWKS_REFRESH_SECONDS": 61, "JWKS_MAX_AGE_SECONDS": 120},
            "JWKS_REFRESH_SECONDS",
            "clerk_auth.E003",
            id="refresh-over-half-of-max-age",
        ),
        pytest.param(
            {**MINIMAL, "JWKS_REFRESH_SECONDS": 60, "JWKS_LOCAL_SECONDS": 61},
            "JWKS_LOCAL_SECONDS",
            "clerk_auth.E003",
            id="local-over-refresh",
        ),
    ],
)
def test_conflict_is_refused_with_a_remedy(values, key, check_id):
    (problem,) = problems_of(**values).values()
    assert (problem.obj, problem.id) == (key, check_id)
    assert problem.hint
    with pytest.raises(ImproperlyConfigured, match=rf"CLERK_AUTH\['{key}'\]"):
        read(**values)


def test_configured_key_alone_says_not_whose_tokens(local_issuer):
    found = problems_of(JWT_KEY=local_issuer.public_pem.strip())
    assert found["FRONTEND_API"].id == "clerk_auth.E001"


def test_configured_key_and_url_exclude_each_other(local_issuer):
    values = {**MINIMAL, "JWT_KEY": local_issuer.public_pem.strip()}
    assert not problems_of(**values)
    found = problems_of(**values, JWKS_URL="https://a.example/keys")
    assert found["JWKS_URL"].id == "clerk_auth.E003"


@pytest.mark.parametrize(("refresh", "is_read"), [(499.9, True), (500, True), (500.1, False)])
def test_refresh_is_at_most_half_of_max_age(refresh, is_read):
    values = {"JWKS_REFRESH_SECONDS": refresh, "JWKS_MAX_AGE_SECONDS": 1000}
    found = problems_of(**MINIMAL, **values)
    assert set(found) == (set() if is_read else {"JWKS_REFRESH_SECONDS"})
    assert all("at most 500" in problem.hint for problem in found.values())


# Development mode


def test_development_mode_has_an_issuer_of_its_own_and_no_other_keys(local_issuer):
    config = read(debug=True, DEV_MODE=True)
    assert (config.issuers, config.jwks_url) == (("https://clerk.localhost",), None)
    config = read(debug=True, **MINIMAL, DEV_MODE=True, JWT_KEY=local_issuer.public_pem.strip())
    assert (config.issuers, config.jwks_url) == (("https://clerk.example.com",), None)
    assert config.jwt_keys == ()
    assert config.policy.kid_required


def test_development_mode_loosens_no_rule():
    values = {"AUTHORIZED_PARTIES": ["https://a.example"], "AUDIENCE": "api"}
    developing = read(debug=True, **MINIMAL, **values, DEV_MODE=True)
    assert developing.policy == read(**MINIMAL, **values).policy


def test_debug_counts_as_it_stood_when_the_apps_were_ready(monkeypatch):
    """Django's test runner assigns DEBUG without a signal, and that is not listened to."""
    ready = apps.get_app_config("clerk_auth").ready
    try:
        monkeypatch.setattr(django_settings, "DEBUG", True)
        assert not conf.is_debug()
        ready()
        assert conf.is_debug()
        monkeypatch.setattr(django_settings, "DEBUG", False)
        assert conf.is_debug()
    finally:
        monkeypatch.undo()
        ready()
    assert not conf.is_debug()


def test_override_of_debug_counts_for_as_long_as_it_lasts():
    with override_settings(DEBUG=True):
        assert conf.is_debug()
        with override_settings(DEBUG=False):
            assert not conf.is_debug()
        assert conf.is_debug()
    assert not conf.is_debug()


# Policy


def test_policy_is_what_the_settings_say():
    policy = read(
        ISSUER=["https://a.example", "https://b.example"],
        JWKS_URL="https://a.example/keys",
        AUTHORIZED_PARTIES=["https://app.example.com"],
        AZP_POLICY="if_present",
        AUDIENCE=["api", "admin"],
        LEEWAY_SECONDS=0,
        ACCEPT_PENDING=True,
        MAX_TOKEN_BYTES=1000,
        UNCATEGORIZED_TOKEN_MAX_SECONDS=90,
    ).policy
    assert policy.issuers == {"https://a.example", "https://b.example"}
    assert policy.authorized_parties == {"https://app.example.com"}
    assert policy.audiences == {"api", "admin"}
    assert not policy.party_required
    assert policy.leeway_seconds == 0
    assert policy.accept_pending
    assert policy.max_token_bytes == 1000
    assert policy.uncategorized_token_max_seconds == 90
    assert policy.kid_required


def test_policy_is_strict_by_default():
    policy = read(**MINIMAL).policy
    assert policy.party_required
    assert policy.uncategorized_token_max_seconds == 3600
    assert not policy.accept_pending
    assert policy.kid_required


# A host project without the setting

_HOST_PROJECT = """
import importlib, pkgutil
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "clerk_auth"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
import clerk_auth
for module in pkgutil.walk_packages(clerk_auth.__path__, "clerk_auth."):
    importlib.import_module(module.name)
    print(module.name)
call_command("check")
call_command("migrate", verbosity=0)
"""


def test_importing_checking_and_migrating_need_no_configuration():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _HOST_PROJECT],
        cwd=django_settings.BASE_DIR,
        env=inherit_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert {"clerk_auth.verifier", "clerk_auth.management.commands.clerk_token"} <= set(
        done.stdout.split()
    )
    assert "clerk_auth.W001" in done.stderr
