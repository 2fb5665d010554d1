"""Several instances in one setting: what each inherits, and what is wrong with which."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from clerk_auth.conf import (
    GROUPS,
    Config,
    find_problems,
    get_aliases,
    get_config,
    get_path,
    is_observing,
    read_configs,
    read_group,
    readers,
)
from clerk_auth.conf.aliases import RESERVED
from clerk_auth.conf.declarations import INHERITED, OWN, PROCESS, declared, setting
from clerk_auth.issuer.local import LocalIssuer, make_private_pem

pytestmark = pytest.mark.integration

TOP, STAFF = {"FRONTEND_API": "clerk.example.com"}, {"FRONTEND_API": "clerk.staff.example.com"}
SETTINGS = declared(Config)
# A value of each setting that is not its default. What says whose tokens is not among them: a
# setting of the top level would be in conflict there.
OTHERS: dict[str, Any] = {
    "AUTHORIZED_PARTIES": ["https://a.example"],
    "AZP_POLICY": "if_present",
    "AUDIENCE": "api",
    "LEEWAY_SECONDS": 7,
    "UNCATEGORIZED_TOKEN_MAX_SECONDS": 60,
    "ACCEPT_PENDING": True,
    "MAX_TOKEN_BYTES": 4096,
    "CACHE_ALIAS": "keys",
    "JWKS_REFRESH_SECONDS": 600,
    "JWKS_MAX_AGE_SECONDS": 3600,
    "JWKS_LOCAL_SECONDS": 5,
    "JWKS_COOLDOWN_SECONDS": 60,
    "JWKS_TIMEOUT_SECONDS": 2,
    "VERIFIED_TOKEN_CACHE_SIZE": 0,
    "USER_RESOLVER": "users.resolve",
    "USER_ID_FIELD": "clerk_id",
    "USER_ID_CLAIM": "external_id",
    "USER_FIELDS": {"email": "mail"},
    "MODE": "observe",
    "DEV_MODE": True,
    "METRICS": ["sinks.Statsd"],
    "REALM": "mine",
    "HEALTH_DETAILS": True,
}
IDENTITY = {"FRONTEND_API", "PUBLISHABLE_KEY", "ISSUER", "JWKS_URL", "JWT_KEY"}
# DESIGN: what an instance inherits is tuning, and never what says whose tokens are accepted.
TUNING = {
    *("CACHE_ALIAS", "LEEWAY_SECONDS", "MAX_TOKEN_BYTES", "VERIFIED_TOKEN_CACHE_SIZE"),
    *("JWKS_REFRESH_SECONDS", "JWKS_MAX_AGE_SECONDS", "JWKS_LOCAL_SECONDS"),
    *("JWKS_COOLDOWN_SECONDS", "JWKS_TIMEOUT_SECONDS"),
}
OF_THE_PROCESS = {"DEV_MODE", "METRICS", "HEALTH_DETAILS"}


def several(top: dict[str, Any] | None = None, **instances: Any) -> dict[str, Any]:
    return {**TOP, **(top or {}), "INSTANCES": instances}


def read(values: dict[str, Any], alias: str = "staff") -> Config:
    return read_configs(values, debug=True)[alias]


def problems_of(values: object, *, debug: bool = False) -> list[CheckMessage]:
    with override_settings(CLERK_AUTH=values, DEBUG=debug):
        found = find_problems()
        # What stops the checks stops the first use, with the same path.
        for problem in found:
            with pytest.raises(ImproperlyConfigured) as caught:
                get_config()
            assert problem.msg in str(caught.value)
    assert all(found.hint for found in found)
    return found


def subjects_of(values: object, *, debug: bool = False) -> list[tuple[str, str]]:
    found = problems_of(values, debug=debug)
    assert all(f"CLERK_AUTH[{problem.obj!r}] " in problem.msg for problem in found)
    return [(problem.id.removeprefix("clerk_auth."), problem.obj) for problem in found]


# What an instance inherits


def test_scopes_are_those_of_the_design():
    scopes = {key: declaration.scope for key, (_, declaration) in SETTINGS.items()}
    assert {key for key, scope in scopes.items() if scope == INHERITED} == TUNING
    assert {key for key, scope in scopes.items() if scope == PROCESS} == OF_THE_PROCESS
    assert {key for key, scope in scopes.items() if scope == OWN} == {
        *IDENTITY,
        *(OTHERS.keys() - TUNING - OF_THE_PROCESS),
    }


@pytest.mark.parametrize("key", OTHERS)
def test_setting_of_the_top_is_an_instances_by_its_scope(key):
    name, declaration = SETTINGS[key]
    default = getattr(read(several(staff=STAFF)), name)
    top = {key: OTHERS[key]}
    configs = read_configs(several(top, staff=STAFF), debug=True)
    set_at_the_top, found = (getattr(configs[alias], name) for alias in ("default", "staff"))
    assert set_at_the_top != default
    assert found == (default if declaration.scope == OWN else set_at_the_top)


@pytest.mark.parametrize("key", OTHERS)
def test_setting_of_an_instance_is_its_own_or_refused(key):
    name, declaration = SETTINGS[key]
    values = several(staff={**STAFF, key: OTHERS[key]}, partners={"ISSUER": "https://a.example"})
    values["INSTANCES"]["partners"]["JWKS_URL"] = "https://a.example/keys"
    if declaration.scope == PROCESS:
        assert subjects_of(values, debug=True) == [("E002", f"INSTANCES.staff.{key}")]
        return
    configs = read_configs(values, debug=True)
    default, staff, partners = (getattr(config, name) for config in configs.values())
    assert staff != default == partners


@pytest.mark.parametrize("key", sorted(TUNING))
def test_instance_may_set_the_default_again(key):
    name, declaration = SETTINGS[key]
    values = several({key: OTHERS[key]}, staff={**STAFF, key: declaration.default})
    assert getattr(read(values), name) == declaration.default


@pytest.mark.parametrize("key", sorted(IDENTITY))
def test_nothing_that_says_whose_tokens_is_inherited(key, local_issuer):
    identity = {
        "FRONTEND_API": "clerk.example.com",
        "PUBLISHABLE_KEY": "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k",
        "ISSUER": "https://clerk.example.com",
        "JWKS_URL": "https://clerk.example.com/keys",
        "JWT_KEY": local_issuer.public_pem.strip(),
    }
    values = several({key: identity[key]}, staff=STAFF)
    config = read(values)
    assert config.issuers == ("https://clerk.staff.example.com",)
    assert config.jwks_url == "https://clerk.staff.example.com/.well-known/jwks.json"
    assert config.jwt_keys == ()
    assert ("E001", "INSTANCES.empty.FRONTEND_API") in subjects_of(
        {**values, "INSTANCES": {"empty": {}}}
    )


def test_policy_and_path_name_the_instance():
    configs = read_configs(several(staff=STAFF), debug=False)
    assert [*configs] == ["default", "staff"]
    for alias, path in (("default", ""), ("staff", "INSTANCES.staff.")):
        config = configs[alias]
        assert (config.instance, config.label, config.path, get_path(alias)) == (
            alias,
            alias,
            path,
            path,
        )
        assert (config.policy.instance, config.policy.is_one_of_several) == (alias, True)


@pytest.mark.parametrize("values", [TOP, {**TOP, "INSTANCES": {}}])
def test_one_instance_is_as_without_the_setting(values):
    configs = read_configs(values, debug=False)
    (config,) = configs.values()
    assert config == read_configs(TOP, debug=False)["default"]
    assert (config.label, config.path, config.policy.is_one_of_several) == (None, "", False)
    with override_settings(CLERK_AUTH=values):
        assert get_aliases() == ("default",)


# Aliases


GOOD = ["staff", "Staff", "_", "s", "staff_2", "a" * 32]


@pytest.mark.parametrize("alias", GOOD)
def test_identifier_may_be_an_alias(alias):
    assert read(several(**{alias: STAFF}), alias).instance == alias


@pytest.mark.parametrize(
    ("alias", "shown"),
    [
        *((alias, alias) for alias in sorted(RESERVED)),
        ("", "..."),
        ("2staff", "..."),
        ("staff-eu", "..."),
        ("staff eu", "..."),
        ("staff:eu", "..."),
        ("staff.eu", "..."),
        ("staff\n", "..."),
        ("stäff", "..."),
        ("a" * 33, "a" * 33),
        (None, "None"),
        (5, "..."),
        (("staff",), "..."),
        (b"staff", "..."),
    ],
)
def test_misnamed_alias_is_refused_and_hides_no_other(alias, shown):
    values = {**TOP, "INSTANCES": {"staff": STAFF, alias: {"FRONTEND_API": "https://"}}}
    (problem,) = problems_of(values)
    assert (problem.id, problem.obj) == ("clerk_auth.E003", f"INSTANCES.{shown}")
    assert "rotate" not in problem.hint
    assert "It is key 2." in problem.hint
    assert all(reserved in problem.hint for reserved in RESERVED)
    with override_settings(CLERK_AUTH=values):
        assert get_aliases() == ("default", "staff")


def test_aliases_that_differ_only_in_case_are_refused():
    other = {"FRONTEND_API": "clerk.other.example"}
    found = problems_of({**TOP, "INSTANCES": {"staff": STAFF, "Staff": other}})
    assert [problem.obj for problem in found] == ["INSTANCES.staff", "INSTANCES.Staff"]
    assert all("in other case" in problem.hint for problem in found)


@pytest.mark.parametrize("prefix", ["sk_live_", "whsec_", "ak_", "eyJ"])
def test_alias_that_looks_like_a_secret_is_not_repeated(prefix):
    alias = f"{prefix}Zx81QuietZebra"
    (problem,) = problems_of({**TOP, "INSTANCES": {alias: STAFF}})
    assert "Zebra" not in f"{problem.msg}{problem.hint}{problem.obj}"
    assert "rotate it" in problem.hint


def test_reserved_aliases_are_those_of_the_design():
    assert {"default", "api_key", "m2m_token", "oauth_token"} == RESERVED


@pytest.mark.parametrize("instances", [None, "staff", [STAFF], 5])
def test_instances_are_a_dict(instances):
    values = {**TOP, "INSTANCES": instances}
    assert subjects_of(values) == [("E003", "INSTANCES")]
    with override_settings(CLERK_AUTH=values):
        assert get_aliases() == ("default",)
        assert not is_observing("staff")


@pytest.mark.parametrize("instance", [None, "clerk.staff.example.com", [STAFF], 5])
def test_instance_is_a_dict(instance):
    assert subjects_of(several(staff=instance)) == [("E003", "INSTANCES.staff")]
    with override_settings(CLERK_AUTH=several(staff=instance)):
        assert get_aliases() == ("default", "staff")
        assert not is_observing("staff")


@pytest.mark.parametrize("values", [None, "staff", [TOP], 5])
def test_aliases_are_told_whatever_the_setting_is(values):
    with override_settings(CLERK_AUTH=values):
        assert get_aliases() == ("default",)


# What is wrong, and where


@pytest.mark.parametrize(
    ("values", "subjects"),
    [
        pytest.param(
            several(staff={"FRONTEND_API": "https://a.example"}),
            [("E003", "INSTANCES.staff.FRONTEND_API")],
            id="malformed",
        ),
        pytest.param(
            several(staff={**STAFF, "AUTHORISED_PARTIES": []}),
            [("E002", "INSTANCES.staff.AUTHORISED_PARTIES")],
            id="unknown",
        ),
        pytest.param(
            several(staff={**STAFF, "INSTANCES": {}}),
            [("E002", "INSTANCES.staff.INSTANCES")],
            id="nested",
        ),
        pytest.param(several(staff={}), [("E001", "INSTANCES.staff.FRONTEND_API")], id="empty"),
        pytest.param(
            several(staff={"ISSUER": "https://a.example"}),
            [("E001", "INSTANCES.staff.ISSUER")],
            id="no-keys",
        ),
        pytest.param(
            several(staff={**STAFF, "JWKS_URL": "http://a.example/keys"}),
            [("E005", "INSTANCES.staff.JWKS_URL")],
            id="plain-http",
        ),
        pytest.param(
            several(staff={**STAFF, "REALM": '"'}, partners={**STAFF, "MODE": "off"}),
            [("E003", "INSTANCES.staff.REALM"), ("E003", "INSTANCES.partners.MODE")],
            id="one-each",
        ),
        pytest.param(
            several({"REALM": '"'}, staff={**STAFF, "REALM": '"'}),
            [("E003", "REALM"), ("E003", "INSTANCES.staff.REALM")],
            id="at-the-top-too",
        ),
        pytest.param(
            several({"LEEWAY_SECONDS": 61}, staff=STAFF),
            [("E003", "LEEWAY_SECONDS")],
            id="inherited",
        ),
        pytest.param(
            several({"FRONTEND_API": None}, staff={}),
            [("E001", "FRONTEND_API"), ("E001", "INSTANCES.staff.FRONTEND_API")],
            id="missing-in-both",
        ),
        pytest.param(
            several({"JWKS_REFRESH_SECONDS": 50000}, staff=STAFF),
            [("E003", "JWKS_REFRESH_SECONDS")],
            id="inherited-conflict",
        ),
        pytest.param(
            several({"JWKS_REFRESH_SECONDS": 600}, staff={**STAFF, "JWKS_MAX_AGE_SECONDS": 600}),
            [("E003", "INSTANCES.staff.JWKS_REFRESH_SECONDS")],
            id="conflict-with-what-is-inherited",
        ),
        pytest.param(
            several({"DEV_MODE": True}, staff=STAFF, partners={}),
            [("E004", "DEV_MODE")],
            id="development-mode",
        ),
    ],
)
def test_problem_is_reported_once_with_its_path(values, subjects):
    assert subjects_of(values) == subjects


def test_suggestion_is_of_an_instances_settings():
    (problem,) = problems_of(several(staff={**STAFF, "INSTANCE": {}}))
    assert "INSTANCES" not in problem.hint


def test_one_wrong_instance_stops_all():
    with override_settings(CLERK_AUTH=several(staff={})):
        for alias in ("default", "staff"):
            with pytest.raises(ImproperlyConfigured, match=r"INSTANCES\.staff\.FRONTEND_API"):
                get_config(alias)


@pytest.mark.parametrize("values", [TOP, several(staff=STAFF)])
def test_unknown_alias_is_refused_with_those_that_are_there(values, settings):
    settings.CLERK_AUTH = values
    known = ", ".join(get_aliases())
    with pytest.raises(ImproperlyConfigured, match=rf"'stuff'\. It has: {known}\.$"):
        get_config("stuff")


def test_mode_is_each_instances(settings):
    settings.CLERK_AUTH = several(staff={**STAFF, "MODE": "observe"})
    assert (is_observing(), is_observing("staff"), is_observing("stuff")) == (False, True, False)
    settings.CLERK_AUTH = several({"MODE": "observe"}, staff=STAFF)
    assert (is_observing(), is_observing("staff")) == (True, False)


def test_overrides_of_a_test_are_in_force_at_once_and_undone():
    with override_settings(CLERK_AUTH=TOP):
        with override_settings(CLERK_AUTH=several(staff=STAFF)):
            assert get_config("staff").issuers == ("https://clerk.staff.example.com",)
            assert get_config().label == "default"
        assert get_aliases() == ("default",)
        assert get_config().label is None
        with pytest.raises(ImproperlyConfigured):
            get_config("staff")


# Two aliases of one instance


DOMAIN = {"FRONTEND_API": "clerk.example.com"}
PUBLISHABLE = {"PUBLISHABLE_KEY": "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k"}


def issuers(*names: str) -> dict[str, Any]:
    return {"ISSUER": list(names), "JWKS_URL": f"{names[0]}/keys"}


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        pytest.param(DOMAIN, DOMAIN, "issuer", id="domain"),
        pytest.param(DOMAIN, PUBLISHABLE, "issuer", id="domain-and-publishable-key"),
        pytest.param(
            DOMAIN, issuers("https://a.example", "https://clerk.example.com"), "issuer", id="list"
        ),
        pytest.param(
            issuers("https://a.example", "https://b.example"),
            issuers("https://c.example", "https://b.example"),
            "issuer",
            id="lists-that-overlap",
        ),
        pytest.param(
            DOMAIN,
            {
                "ISSUER": "https://a.example",
                "JWKS_URL": "https://clerk.example.com/.well-known/jwks.json",
            },
            "JWKS_URL",
            id="url",
        ),
        pytest.param(
            {**DOMAIN, "ISSUER": "https://a.example"},
            {**PUBLISHABLE, "ISSUER": "https://b.example"},
            "JWKS_URL",
            id="derived-url",
        ),
        pytest.param(
            issuers("https://a.example"), issuers("https://a.example.org"), None, id="suffix"
        ),
        pytest.param(DOMAIN, STAFF, None, id="two"),
    ],
)
def test_two_aliases_are_two_instances(one, other, what):
    for values in ({**one, "INSTANCES": {"b": other}}, {**other, "INSTANCES": {"b": one}}):
        found = problems_of(values)
        assert [(problem.id, problem.obj) for problem in found] == (
            [("clerk_auth.E016", "INSTANCES.b")] if what else []
        )
        assert all(f"has the {what} of the instance 'default'" in problem.msg for problem in found)


def test_all_instances_are_compared_with_each_other():
    between = issuers("https://a.example")
    for values, twin, other in (
        (several(a=STAFF, b=between, c=STAFF), "c", "a"),
        (several(a=STAFF, b=DOMAIN), "b", "default"),
    ):
        (problem,) = problems_of(values)
        assert problem.obj == f"INSTANCES.{twin}"
        assert f"of the instance {other!r}" in problem.msg


def test_one_key_in_two_spellings_is_one_instance(local_issuer):
    pem = local_issuer.public_pem.strip()
    body = "".join(pem.splitlines()[1:-1])
    other = LocalIssuer.from_pem(make_private_pem(), "https://b.example").public_pem.strip()
    assert base64.b64decode(body)
    one = {**TOP, "JWT_KEY": pem}
    for spelling in (pem, pem.replace("\n", "\\n"), body, [other, body]):
        values = {**one, "INSTANCES": {"staff": {**STAFF, "JWT_KEY": spelling}}}
        (problem,) = problems_of(values)
        assert (problem.id, problem.obj) == ("clerk_auth.E016", "INSTANCES.staff")
        assert "has the key of the instance 'default'" in problem.msg
    assert not problems_of({**one, "INSTANCES": {"staff": {**STAFF, "JWT_KEY": other}}})


def test_instances_of_development_mode_differ_by_their_issuers():
    values = {"DEV_MODE": True, "INSTANCES": {"staff": {}, "named": STAFF}}
    configs = read_configs(values, debug=True)
    assert {alias: config.issuers[0] for alias, config in configs.items()} == {
        "default": "https://clerk.localhost",
        "staff": "https://staff.clerk.localhost",
        "named": "https://clerk.staff.example.com",
    }
    assert all(config.dev_mode and config.jwks_url is None for config in configs.values())
    twins = {"DEV_MODE": True, **STAFF, "INSTANCES": {"staff": STAFF}}
    assert subjects_of(twins, debug=True) == [("E016", "INSTANCES.staff")]


# A wing's settings


@dataclass(frozen=True, kw_only=True)
class Parcels:
    """What a wing declares."""

    senders: tuple[str, ...] = setting(readers.read_audience, None, "Who may send.", absent=())
    max_bytes: int = setting(readers.integer(1), 1000, "The longest.", scope=INHERITED)
    sinks: tuple[str, ...] = setting(readers.read_dotted_paths, (), "Where to.", scope=PROCESS)


@pytest.fixture
def parcels(monkeypatch, settings):
    monkeypatch.setitem(GROUPS, "PARCELS", f"{__name__}.Parcels")

    def put(top, staff):
        settings.CLERK_AUTH = {
            **TOP,
            **({} if top is None else {"PARCELS": top}),
            "INSTANCES": {"staff": {**STAFF, **({} if staff is None else {"PARCELS": staff})}},
        }

    return put


@pytest.mark.parametrize(
    ("top", "staff", "read"),
    [
        (None, None, Parcels(senders=(), max_bytes=1000, sinks=())),
        (
            {"SENDERS": "me", "MAX_BYTES": 5, "SINKS": ["a.b"]},
            None,
            Parcels(senders=(), max_bytes=5, sinks=("a.b",)),
        ),
        (
            {"SENDERS": "me", "MAX_BYTES": 5},
            {"SENDERS": "us"},
            Parcels(senders=("us",), max_bytes=5, sinks=()),
        ),
        ({"MAX_BYTES": 5}, {"MAX_BYTES": 6}, Parcels(senders=(), max_bytes=6, sinks=())),
        (None, {"MAX_BYTES": 6}, Parcels(senders=(), max_bytes=6, sinks=())),
    ],
)
def test_settings_of_a_wing_are_an_instances_by_their_scope(parcels, top, staff, read):
    parcels(top, staff)
    assert find_problems() == []
    assert read_group("PARCELS", "staff") == read


@pytest.mark.parametrize(
    ("top", "staff", "subjects"),
    [
        ({}, {"MAX_BYTES": 0}, [("E003", "INSTANCES.staff.PARCELS.MAX_BYTES")]),
        ({}, {"SINKS": ["a.b"]}, [("E002", "INSTANCES.staff.PARCELS.SINKS")]),
        ({}, {"BYTES": 1}, [("E002", "INSTANCES.staff.PARCELS.BYTES")]),
        ({}, [], [("E003", "INSTANCES.staff.PARCELS")]),
        ({"MAX_BYTES": 0}, {}, [("E003", "PARCELS.MAX_BYTES")]),
        ([], {}, [("E003", "PARCELS")]),
    ],
)
def test_problem_of_a_wing_names_the_instance(parcels, top, staff, subjects):
    parcels(top, staff)
    found = find_problems()
    assert [(p.id.removeprefix("clerk_auth."), p.obj) for p in found] == subjects
    alias = "staff" if "staff" in subjects[0][1] else "default"
    with pytest.raises(ImproperlyConfigured) as caught:
        read_group("PARCELS", alias)
    assert found[0].msg in str(caught.value)
    assert get_config("staff"), "the wing's settings are the wing's matter"
