"""Each system check in the case it is for, and silent in the case next to it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import types
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache
from django_redis.serializers.json import JSONSerializer
from django_redis.serializers.pickle import PickleSerializer
from redis import BlockingConnectionPool
from rest_framework.authentication import BaseAuthentication

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.checks import TAG
from clerk_auth.users import ClerkUser, columns
from clerk_auth.verifier import get_verifier
from project.demo.environment import inherit_environment
from tests.conftest import PARTY
from tests.rows import each_row

pytestmark = pytest.mark.integration

SECURE = {"FRONTEND_API": "clerk.example.com", "AUTHORIZED_PARTIES": [PARTY]}
OURS = "clerk_auth.authentication.ClerkAuthentication"
DJANGO_REDIS = "django_redis.cache.RedisCache"
JSON = "django_redis.serializers.json.JSONSerializer"
TIMEOUTS = {"SOCKET_CONNECT_TIMEOUT": 0.5, "SOCKET_TIMEOUT": 1}
LOWER = {"socket_connect_timeout": 0.5, "socket_timeout": 1}
QUERY = "socket_timeout=1&socket_connect_timeout=0.5"
BLOCKING = "redis.BlockingConnectionPool"
BLOCKING_FOR = {
    timeout: {
        "CONNECTION_POOL_CLASS": BLOCKING,
        "CONNECTION_POOL_KWARGS": {"max_connections": 50, "timeout": timeout},
    }
    for timeout in (1, 20, None)
}
SHARED = {
    "BACKEND": DJANGO_REDIS,
    "LOCATION": "redis://cache.example.com:6379/5",
    "OPTIONS": {"SERIALIZER": JSON, **TIMEOUTS},
}


class OtherBearer(BaseAuthentication):
    def authenticate_header(self, request):
        return "bearer realm=other"


class Silent(BaseAuthentication):
    pass


class NeedsMore(BaseAuthentication):
    def authenticate_header(self, request):
        return request.tenant.name


class OurSubclass(ClerkAuthentication):
    pass


class UnheardOf(BaseCache):
    """A shared backend of the host project."""


class OurMemory(LocMemCache):
    pass


class Renamed(PickleSerializer):
    """What its name does not say."""


class Overridden(JSONSerializer):
    def loads(self, value):
        return value


class Mixed(PickleSerializer, JSONSerializer):
    pass


class Foreign:
    def loads(self, value):
        return value


class OwnEncoder(JSONSerializer):
    encoder_class = json.JSONEncoder


class OwnBlockingPool(BlockingConnectionPool):
    pass


def messages_of(tag: str, *, deploy: bool = False) -> list[CheckMessage]:
    messages = run_checks(tags=[tag], include_deployment_checks=deploy)
    ours = [message for message in messages if message.id.startswith("clerk_auth.")]
    assert tag == Tags.security or len(ours) == len(messages)
    return sorted(ours, key=lambda message: (message.id, message.msg))


def found(*, deploy: bool = False) -> list[str]:
    """Return the ids that the registered checks report, ours only and without their prefix."""
    ours = messages_of(TAG, deploy=deploy)
    assert all(message.msg and message.hint for message in ours)
    return sorted(message.id.removeprefix("clerk_auth.") for message in ours)


@pytest.fixture
def secure(settings):
    """Settings of which no check has anything to say; tests change one thing."""
    settings.CLERK_AUTH = SECURE
    settings.CACHES = {"default": SHARED}
    return settings


def test_secure_settings_are_clean(secure):
    assert found(deploy=True) == []


@each_row("deploy", [False, True])
def test_each_message_is_under_both_tags(deploy, secure):
    secure.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "METRICS": ["clerk_auth.metrics.Sink"],
    }
    secure.CACHES = {"default": {"BACKEND": f"{__name__}.UnheardOf"}}
    ours = messages_of(TAG, deploy=deploy)
    assert len(ours) >= 2
    assert messages_of(Tags.security, deploy=deploy) == ours


# The setting


@each_row(
    ("values", "ids"),
    [
        pytest.param({}, ["E001"], id="nothing"),
        pytest.param({"ISSUER": "https://a.example"}, ["E001"], id="no-keys"),
        pytest.param({**SECURE, "TYPO": 1}, ["E002"], id="unknown"),
        pytest.param({**SECURE, "LEEWAY_SECONDS": 61}, ["E003"], id="out-of-range"),
        pytest.param({**SECURE, "FRONTEND_API": "https://a.example"}, ["E003"], id="malformed"),
        pytest.param({**SECURE, "FRONTEND_API": "["}, ["E003"], id="malformed-for-url-parsers"),
        pytest.param({**SECURE, "DEV_MODE": True}, ["E004"], id="dev-without-debug"),
        pytest.param({**SECURE, "JWKS_URL": "http://a.example/"}, ["E005"], id="plain-http"),
        pytest.param({**SECURE, "JWKS_URL": "http://localhost/"}, [], id="http-on-loopback"),
        pytest.param(
            {"TYPO": 1, "LEEWAY_SECONDS": -1, "ISSUER": "http://a.example"},
            ["E002", "E003", "E005"],
            id="several",
        ),
        pytest.param(None, ["E003"], id="none"),
        pytest.param([SECURE], ["E003"], id="list"),
    ],
)
def test_what_is_wrong_with_the_setting_is_an_error(values, ids, secure):
    secure.CLERK_AUTH = values
    assert found(deploy=True) == ids


def test_missing_setting_is_a_warning_that_stops_no_migration(secure):
    del secure.CLERK_AUTH
    assert found(deploy=True) == ["W001"]
    (warning,) = (m for m in run_checks(tags=[Tags.security]) if m.id == "clerk_auth.W001")
    assert not warning.is_serious()


def test_development_mode_is_fine_with_debug_and_reminded_of_under_deploy(secure):
    secure.DEBUG = True
    secure.CLERK_AUTH = {**SECURE, "DEV_MODE": True}
    assert (found(), found(deploy=True)) == ([], ["W017"])
    secure.CLERK_AUTH = {**SECURE, "DEV_MODE": False}
    assert found(deploy=True) == []


def test_development_mode_is_judged_by_debug_at_start_up(secure, monkeypatch):
    """Assigned later, as Django's test runner does, DEBUG does not count."""
    monkeypatch.setattr(django_settings, "DEBUG", True)
    secure.CLERK_AUTH = {**SECURE, "DEV_MODE": True}
    assert found() == ["E004"]


# Parties and instance


@each_row(("parties", "ids"), [([], ["W002"]), ([PARTY], []), ([PARTY, "https://b.example"], [])])
def test_no_authorized_parties_warn_under_deploy_alone(parties, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "AUTHORIZED_PARTIES": parties}
    assert found(deploy=True) == ids
    assert found() == []


PK_TEST = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({"PUBLISHABLE_KEY": PK_TEST}, ["W003"]),
        ({"PUBLISHABLE_KEY": PK_TEST.replace("test", "live")}, []),
        ({"FRONTEND_API": "adapted-tern-12.clerk.accounts.dev"}, ["W003"]),
        ({"FRONTEND_API": "clerk.accounts.dev.example.com"}, []),
        (
            {"ISSUER": ["https://a.example", "https://b.clerk.accounts.dev"], **SECURE},
            ["W003"],
        ),
    ],
)
def test_development_instance_warns_without_debug(values, ids, secure):
    secure.CLERK_AUTH = {"AUTHORIZED_PARTIES": [PARTY], **values}
    assert found() == ids
    secure.DEBUG = True
    assert found() == []


# Other authenticators


REST = "rest_framework.authentication."
BEARER, SILENT = f"{__name__}.OtherBearer", f"{__name__}.Silent"


@each_row(
    ("classes", "ids"),
    [
        pytest.param([OURS], [], id="alone"),
        pytest.param([OURS, SILENT], [], id="silent-after"),
        pytest.param([SILENT, OURS], ["W004"], id="silent-before"),
        pytest.param([f"{__name__}.NeedsMore", OURS], ["W004"], id="raises-when-asked"),
        pytest.param([REST + "SessionAuthentication", OURS], ["W004"], id="session-before"),
        pytest.param([REST + "BasicAuthentication", OURS], [], id="basic-before"),
        pytest.param([REST + "TokenAuthentication", OURS, SILENT], [], id="token-before"),
        pytest.param([OURS, BEARER], ["W005"], id="bearer-after"),
        pytest.param([BEARER, OURS], ["W005"], id="bearer-before"),
        pytest.param([f"{__name__}.OurSubclass"], [], id="subclass"),
        pytest.param([SILENT, f"{__name__}.OurSubclass"], ["W004"], id="silent-before-subclass"),
        pytest.param([BEARER, SILENT], [], id="without-ours"),
        pytest.param([], [], id="none"),
        pytest.param(["no_such_module.Authentication", OURS], [], id="cannot-be-imported"),
    ],
)
def test_neighbours_that_change_our_answers_warn(classes, ids, secure):
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
    assert found(deploy=True) == ids


@each_row(
    ("classes", "ids"),
    [
        pytest.param([OURS], ["W012"], id="alone"),
        pytest.param([OURS, f"{__name__}.OurSubclass"], ["W012"], id="with-ourselves"),
        pytest.param([OURS, SILENT], [], id="silent-after"),
        pytest.param([OURS, BEARER], [], id="bearer-after"),
        pytest.param([OURS, OURS, BEARER], [], id="twice"),
        pytest.param([BEARER, OURS], ["W012"], id="bearer-before"),
        pytest.param([SILENT, OURS, BEARER], ["W012"], id="in-the-middle"),
        pytest.param([BEARER, SILENT], [], id="without-ours"),
        pytest.param([], [], id="none"),
    ],
)
def test_list_that_does_not_suit_observing_warns(classes, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "MODE": "observe"}
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
    assert found() == ids


def test_observing_is_reminded_of_under_deploy(secure):
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [OURS, BEARER]}
    secure.CLERK_AUTH = {**SECURE, "MODE": "observe"}
    assert (found(), found(deploy=True)) == ([], ["W013"])
    secure.CLERK_AUTH = {**SECURE, "MODE": "enforce"}
    assert found(deploy=True) == ["W005"]


def test_observing_is_reminded_of_whatever_is_wrong_with_other_settings(secure):
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [BEARER, OURS]}
    secure.CLERK_AUTH = {"MODE": "observe"}
    assert found(deploy=True) == ["E001", "W012", "W013"]


# The cache


def with_options(**options: Any) -> dict[str, Any]:
    return {**SHARED, "OPTIONS": options}


def django_redis(**changes: Any) -> dict[str, Any]:
    return {**SHARED, "OPTIONS": {"SERIALIZER": JSON, **TIMEOUTS}, **changes}


DJANGO = "django.core.cache.backends."


@each_row(
    ("cache", "ids"),
    [
        pytest.param({"BACKEND": DJANGO + "locmem.LocMemCache"}, ["W006"], id="locmem"),
        pytest.param({"BACKEND": DJANGO + "dummy.DummyCache"}, ["W006"], id="dummy"),
        pytest.param(
            {"BACKEND": DJANGO + "filebased.FileBasedCache", "LOCATION": "/var/tmp/keys"},
            ["W007"],
            id="file",
        ),
        pytest.param(
            {"BACKEND": DJANGO + "db.DatabaseCache", "LOCATION": "keys"}, ["W007"], id="database"
        ),
        pytest.param(
            {"BACKEND": DJANGO + "memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:11211"},
            ["W007", "W008"],
            id="memcached",
        ),
        pytest.param(
            {
                "BACKEND": DJANGO + "memcached.PyMemcacheCache",
                "LOCATION": "127.0.0.1:11211",
                "OPTIONS": {"connect_timeout": 1, "timeout": 1},
            },
            ["W007"],
            id="memcached-with-timeouts",
        ),
        pytest.param(
            {"BACKEND": DJANGO + "memcached.PyLibMCCache", "LOCATION": "127.0.0.1:11211"},
            ["W007"],
            id="libmemcached",
        ),
        pytest.param({"BACKEND": f"{__name__}.UnheardOf"}, ["W007", "W008"], id="unheard-of"),
        pytest.param(
            {"BACKEND": f"{__name__}.UnheardOf", "OPTIONS": {"SERIALIZER": JSON, **TIMEOUTS}},
            ["W007", "W008"],
            id="unheard-of-whatever-its-options",
        ),
        *(
            pytest.param(with_options(SERIALIZER=serializer, **TIMEOUTS), ids, id=str(serializer))
            for serializer, ids in [
                (f"{__name__}.Renamed", ["W007"]),
                (f"{__name__}.Overridden", ["W007"]),
                (f"{__name__}.Mixed", ["W007"]),
                (f"{__name__}.Foreign", ["W007"]),
                (f"{__name__}.OwnEncoder", []),
                ("host.serializers.JsonSerializer", []),
                ("host.serializers.FastPickle", ["W007"]),
                ("clerk_auth.users.no_such", []),
                (None, ["W007"]),
                ("", []),
                (5, ["W007"]),
            ]
        ),
        *(
            pytest.param(
                {
                    "BACKEND": DJANGO + "redis.RedisCache",
                    "OPTIONS": {"serializer": serializer, **LOWER},
                },
                ids,
                id=f"django-{number}",
            )
            for number, (serializer, ids) in enumerate(
                [
                    (json, []),
                    (PickleSerializer, ["W007"]),
                    (f"{__name__}.Renamed", ["W007"]),
                    (Foreign(), ["W007"]),
                    ("django.core.cache.backends.redis.RedisSerializer", ["W007"]),
                ]
            )
        ),
        *(
            pytest.param(with_options(SERIALIZER=JSON, **options), ids, id=str(options))
            for options, ids in [
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 5}, []),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 5.1}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 0}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": -1}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": None}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": True}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": "soon"}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": float("nan")}, ["W008"]),
                ({**TIMEOUTS, "SOCKET_TIMEOUT": 10**400}, ["W008"]),
                (LOWER, ["W008"]),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": BLOCKING}, ["W008"]),
                ({**TIMEOUTS, **BLOCKING_FOR[1]}, []),
                ({**TIMEOUTS, **BLOCKING_FOR[20]}, ["W008"]),
                ({**TIMEOUTS, **BLOCKING_FOR[None]}, ["W008"]),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": f"{__name__}.OwnBlockingPool"}, ["W008"]),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": "redis.ConnectionPool"}, []),
                ({**TIMEOUTS, "CONNECTION_POOL_CLASS": "no_such_module.Pool"}, ["W008"]),
            ]
        ),
        *(
            pytest.param(
                {**with_options(SERIALIZER=JSON), "LOCATION": location}, ids, id=str(location)
            )
            for location, ids in [
                ([f"redis://a.example/5?{QUERY}", f"redis://b.example/5?{QUERY}"], []),
                ([f"redis://a.example/5?{QUERY}", "redis://b.example/5"], ["W008"]),
                (f"redis://a.example/5?{QUERY},redis://b.example/5?{QUERY}", []),
                (f"redis://a.example/5?{QUERY},redis://b.example/5", ["W008"]),
                ("redis://a.example/5?socket_timeout=60&socket_connect_timeout=1", ["W008"]),
            ]
        ),
        pytest.param(with_options(**TIMEOUTS), ["W007"], id="django-redis-default-serializer"),
        pytest.param(
            with_options(SERIALIZER="django_redis.serializers.pickle.PickleSerializer", **TIMEOUTS),
            ["W007"],
            id="django-redis-pickle",
        ),
        pytest.param(
            with_options(
                SERIALIZER="django_redis.serializers.msgpack.MSGPackSerializer", **TIMEOUTS
            ),
            [],
            id="django-redis-msgpack",
        ),
        pytest.param(with_options(SERIALIZER=JSON), ["W008"], id="no-timeouts"),
        pytest.param(
            with_options(SERIALIZER=JSON, SOCKET_TIMEOUT=1), ["W008"], id="no-connect-timeout"
        ),
        pytest.param(
            with_options(SERIALIZER=JSON, SOCKET_CONNECT_TIMEOUT=1), ["W008"], id="no-read-timeout"
        ),
        pytest.param(
            with_options(
                SERIALIZER=JSON,
                CONNECTION_POOL_KWARGS={"socket_timeout": 1, "socket_connect_timeout": 1},
            ),
            [],
            id="timeouts-of-the-pool",
        ),
        pytest.param(
            {
                **with_options(SERIALIZER=JSON),
                "LOCATION": "redis://a.example/5?socket_timeout=1&socket_connect_timeout=1",
            },
            [],
            id="timeouts-in-the-url",
        ),
        pytest.param(
            {
                **with_options(SERIALIZER=JSON),
                "LOCATION": ["redis://a.example/5", "redis://b.example/5"],
            },
            ["W008"],
            id="no-timeouts-in-a-list",
        ),
        pytest.param(
            {"BACKEND": DJANGO + "redis.RedisCache", "LOCATION": "redis://a.example/5"},
            ["W007", "W008"],
            id="django-default",
        ),
        pytest.param(
            {
                "BACKEND": DJANGO + "redis.RedisCache",
                "LOCATION": "redis://a.example/5",
                "OPTIONS": {
                    "serializer": "host.JsonSerializer",
                    "socket_timeout": 1,
                    "socket_connect_timeout": 1,
                },
            },
            [],
            id="django-json-with-timeouts",
        ),
    ],
)
def test_cache_of_the_keys(cache, ids, secure):
    secure.CACHES = {"default": {"BACKEND": DJANGO + "dummy.DummyCache"}, "keys": cache}
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys"}
    assert found(deploy=True) == ids
    assert found() == [check_id for check_id in ids if check_id != "W006"]


# The names that django-valkey has; its rules are those of django-redis.
VALKEY = """
from django.core.cache.backends.base import BaseCache
class BaseValkeyCache(BaseCache): pass
class ValkeyCache(BaseValkeyCache): pass
class JSONSerializer:
    def loads(self, value): return value
class PickleSerializer(JSONSerializer):
    def loads(self, value): return value
"""


@each_row(
    ("options", "ids"),
    [
        ({}, ["W007", "W008"]),
        (TIMEOUTS, ["W007"]),
        ({"SERIALIZER": "django_valkey.serializers.json.JSONSerializer"}, ["W008"]),
        ({"SERIALIZER": "django_valkey.serializers.json.JSONSerializer", **TIMEOUTS}, []),
        ({"SERIALIZER": "django_valkey.serializers.pickle.PickleSerializer", **TIMEOUTS}, ["W007"]),
    ],
)
def test_valkey_unpickles_by_default(options, ids, secure, monkeypatch):
    for name in ("", ".base", ".cache", ".serializers", ".serializers.json", ".serializers.pickle"):
        module = types.ModuleType(f"django_valkey{name}")
        source = VALKEY if name != ".cache" else "from django_valkey.base import ValkeyCache"
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(source, vars(module))
    backend = "django_valkey.cache.ValkeyCache"
    secure.CACHES = {"default": {"BACKEND": backend, "OPTIONS": options}}
    assert found(deploy=True) == ids


def test_subclass_of_a_backend_is_judged_as_the_backend(secure):
    secure.CACHES = {"default": {"BACKEND": f"{__name__}.OurMemory"}}
    assert found(deploy=True) == ["W006"]


def test_other_aliases_are_not_looked_at(secure):
    secure.CACHES = {"default": SHARED, "pages": with_options()}
    assert found(deploy=True) == []


@each_row(("alias", "ids"), [("default", []), ("keys", ["E008"])])
def test_alias_must_be_there(alias, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": alias}
    assert found(deploy=True) == ids


def test_aliases_that_are_there_are_named(secure):
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys"}
    secure.CACHES = {"default": SHARED, "pages": SHARED, "redis://:password@a.example": SHARED}
    (error,) = messages_of(TAG)
    assert error.hint == "Use one of: default, pages."


def test_alias_that_is_missing_stops_the_first_use_too(secure):
    """Servers run no checks, and each process would fetch for itself in silence."""
    secure.CLERK_AUTH = {**SECURE, "CACHE_ALIAS": "keys"}
    with pytest.raises(ImproperlyConfigured, match=r"CACHE_ALIAS.*default"):
        get_verifier()
    secure.CACHES = {"default": SHARED, "keys": SHARED}
    get_verifier()


def test_cache_is_not_looked_at_where_no_keys_are_fetched(secure, local_issuer):
    secure.CACHES = {"default": {"BACKEND": DJANGO + "locmem.LocMemCache"}}
    assert found(deploy=True) == ["W006"]
    secure.CLERK_AUTH = {**SECURE, "JWT_KEY": local_issuer.public_pem.strip()}
    assert found(deploy=True) == []


def test_backend_that_cannot_be_imported_is_left_to_django(secure):
    secure.CACHES = {"default": {"BACKEND": "no_such_module.Cache"}}
    assert found(deploy=True) == []


# Users


@each_row(
    ("values", "ids"),
    [
        pytest.param({"USER_RESOLVER": "no_such_module.resolve"}, ["E006"], id="no-module"),
        pytest.param({"USER_RESOLVER": "clerk_auth.users.no_such"}, ["E006"], id="no-function"),
        pytest.param({"USER_RESOLVER": "clerk_auth.conf.OBSERVE"}, ["E006"], id="no-callable"),
        pytest.param(
            {"USER_RESOLVER": "tests.users.test_resolvers.later"}, ["E006"], id="coroutine"
        ),
        pytest.param({"METRICS": ["no_such_module.Sink"]}, ["E006"], id="no-sink"),
        pytest.param({"METRICS": ["clerk_auth.metrics.Sink"]}, [], id="sink"),
        pytest.param({"USER_RESOLVER": "clerk_auth.users.stateless_user"}, [], id="stateless"),
        pytest.param({"USER_ID_FIELD": "email"}, [], id="field-that-nobody-uses"),
        pytest.param({"USER_RESOLVER": "clerk_auth.users.database_user"}, ["W009"], id="username"),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "username"},
            ["W009"],
            id="username-by-name",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "email"},
            ["E007"],
            id="field-not-unique",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "no_such"},
            ["E007"],
            id="field-missing",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.existing_user", "USER_ID_FIELD": "email"},
            ["E007"],
            id="existing-user",
        ),
        pytest.param(
            {"USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "id"},
            ["E012"],
            id="unique-field-of-another-type",
        ),
    ],
)
def test_users_and_sinks(values, ids, secure):
    secure.CLERK_AUTH = {**SECURE, **values}
    assert found(deploy=True) == ids


COLUMNS = {**SECURE, "USER_RESOLVER": "clerk_auth.users.database_user", "USER_ID_FIELD": "clerk_id"}
EXISTING = {"USER_RESOLVER": "clerk_auth.users.existing_user"}


@each_row(
    ("model", "values", "ids"),
    [
        ("Member", {}, []),
        ("Member", {"USER_ID_FIELD": "username"}, ["W009"]),
        ("ConstraintMember", {}, []),
        ("HalfUniqueMember", {}, ["E007"]),
        ("HalfUniqueMember", EXISTING, ["E007"]),
        ("ProxyMember", {}, []),
        ("CleaningNeedsTitle", {}, []),
        ("ShortIdMember", {}, ["E012"]),
        ("ShortIdMember", EXISTING, ["E012"]),
        ("UuidMember", EXISTING, ["E012"]),
        ("NumberMember", {}, ["E012", "E013"]),
        ("NumberMember", EXISTING, ["E012"]),
        ("ShortNameMember", {}, ["E013"]),
        ("ShortNameMember", {"USER_ID_FIELD": "username"}, ["E012", "W009"]),
        ("ShortNameMember", EXISTING, []),
        ("NumberNameMember", {}, ["E013"]),
        ("NumberNameMember", {"USER_FIELDS": {"username": "number"}}, ["W014"]),
        ("ShortPasswordMember", {}, ["E013"]),
        ("PasswordlessMember", {}, []),
        ("PlainMember", {}, []),
        ("LegacyMember", {}, []),
        ("AddressMember", {}, []),
        ("AddressMember", {"USER_ID_FIELD": "email"}, ["E012", "W009"]),
        ("ContactMember", {}, ["W015"]),
        ("TenantMember", {}, ["W015"]),
        ("TenantMember", EXISTING, []),
        ("SelfFillingMember", {}, ["W015"]),
    ],
)
def test_columns_of_the_user_model(model, values, ids, secure):
    secure.AUTH_USER_MODEL = f"accounts.{model}"
    secure.CLERK_AUTH = {**COLUMNS, **values}
    assert found(deploy=True) == ids


@each_row(
    ("model", "labels"),
    [
        ("ShortIdMember", ["ShortIdMember.clerk_id"]),
        ("ShortNameMember", ["ShortNameMember.username"]),
        ("ContactMember", ["ContactMember.email"]),
        ("TenantMember", ["TenantMember.tenant", "TenantMember.joined", "TenantMember.email"]),
    ],
)
def test_columns_are_named_with_a_remedy(model, labels, secure):
    secure.AUTH_USER_MODEL = f"accounts.{model}"
    secure.CLERK_AUTH = COLUMNS
    (message,) = (m for m in run_checks(tags=[Tags.security]) if m.id.startswith("clerk_auth."))
    assert [word.strip(",.") for word in message.msg.split() if word.startswith("accounts.")] == [
        f"accounts.{label}" for label in labels
    ]
    assert ("USER_FIELDS" in message.hint) == (model != "ShortIdMember")


def test_remedy_for_a_unique_column_is_none_that_another_check_refuses(secure):
    """E010 refuses a claim for a unique column that cannot be null."""
    secure.AUTH_USER_MODEL = "accounts.ContactMember"
    secure.CLERK_AUTH = COLUMNS
    (message,) = (m for m in run_checks(tags=[TAG]) if m.id == "clerk_auth.W015")
    assert "if it is not unique, a default or a claim in USER_FIELDS" in message.hint
    secure.CLERK_AUTH = {**COLUMNS, "USER_FIELDS": {"email": "email"}}
    assert "E010" in found(deploy=True)


def test_sample_is_as_long_as_clerks_ids():
    assert len(columns._SAMPLE_ID) == 32


def test_model_and_field_are_named(secure):
    secure.CLERK_AUTH = {
        **SECURE,
        "USER_RESOLVER": "clerk_auth.users.database_user",
        "USER_ID_FIELD": "first_name",
    }
    (error,) = (m for m in run_checks(tags=[Tags.security]) if m.id == "clerk_auth.E007")
    assert f"{User._meta.label}.first_name" in error.msg


@each_row(
    ("fields", "ids"),
    [
        pytest.param({"email": "email", "first_name": "name"}, [], id="columns-of-text"),
        pytest.param({"no_such": "email"}, ["E010"], id="field-missing"),
        pytest.param({"date_joined": "iat"}, ["E010"], id="date"),
        pytest.param({"groups": "roles", "pk": "sub"}, ["E011", "E011"], id="groups-and-pk"),
        pytest.param({"username": "username"}, ["E011"], id="holds-the-user-id"),
    ],
)
@each_row("resolver", ["clerk_auth.users.database_user", f"{__name__}.refuse_claims"])
def test_profile_fields(fields, ids, resolver, secure):
    """Whichever resolver: one of the project's own may call ours."""
    secure.CLERK_AUTH = {**SECURE, "USER_RESOLVER": resolver, "USER_FIELDS": fields}
    assert [check_id for check_id in found() if check_id.startswith("E")] == ids


def test_profile_field_by_which_others_find_users(secure):
    secure.CLERK_AUTH = {**SECURE, "USER_ID_FIELD": "email", "USER_FIELDS": {"username": "name"}}
    assert found() == ["W014"]


# Metrics


@each_row(
    ("sinks", "middleware", "ids"),
    [
        ([], [], []),
        (["clerk_auth.metrics.Sink"], [], ["W011"]),
        (["clerk_auth.metrics.Sink"], ["clerk_auth.middleware.ResponseCounter"], []),
    ],
)
def test_responses_are_counted_where_metrics_go_somewhere(sinks, middleware, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "METRICS": sinks}
    secure.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *middleware]
    assert found() == ids


# What else is installed, and what runs us


@pytest.mark.parametrize(
    ("name", "ids"),
    [("clerk-auth-django", ["E009"]), ("Clerk_Auth.Django", ["E009"]), ("django-clerk-auth", [])],
)
def test_foreign_distribution_of_our_import_name_is_an_error(
    name, ids, secure, tmp_path, monkeypatch
):
    directory = tmp_path / f"{name.replace('-', '_').replace('.', '_')}-0.1.1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert found() == ids


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["W010"]),
        ({b"http": b":8000", b"processes": b"4"}, ["W010"]),
        ({b"enable-threads": True}, []),
        ({b"threads": b"8"}, []),
        ({"enable-threads": True}, []),
    ],
)
def test_uwsgi_without_threads_warns(options, ids, secure, monkeypatch):
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt=options))
    assert found() == ids


# What checks may do


class ForbiddenCache(RedisCache):
    """Fails on every use."""

    def _refuse(self, *args, **kwargs):
        raise AssertionError("a check used the cache")

    add = get = set = touch = delete = clear = incr = has_key = _refuse


def test_checks_use_no_cache_no_network_and_no_database(configured, settings, monkeypatch):
    # pytest-django refuses the database already.
    settings.CACHES = {
        "default": {"BACKEND": f"{__name__}.ForbiddenCache", "OPTIONS": SHARED["OPTIONS"]}
    }
    settings.CLERK_AUTH = {
        **settings.CLERK_AUTH,
        "USER_RESOLVER": "clerk_auth.users.database_user",
    }

    def refuse(*args, **kwargs):
        raise AssertionError("a check opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert found(deploy=True) == ["W009"]
    assert configured.fetches == 0


def test_checks_resolve_no_user(secure):
    secure.CLERK_AUTH = {**SECURE, "USER_RESOLVER": f"{__name__}.refuse_claims"}
    assert found(deploy=True) == []


def refuse_claims(claims) -> ClerkUser:
    raise AssertionError("a check resolved a user")


# From the command line

PRODUCTION = {
    "DJANGO_SECRET_KEY": "k0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "DJANGO_ALLOWED_HOSTS": "api.example.com",
    "CLERK_PUBLISHABLE_KEY": PK_TEST.replace("test", "live"),
    "CLERK_AUTHORIZED_PARTIES": PARTY,
    "CLERK_AUDIENCE": "api",
    "REDIS_URL": "rediss://cache.example.com:6379/0",
}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        pytest.param({}, [], id="production"),
        pytest.param({"CLERK_AUTHORIZED_PARTIES": ""}, ["clerk_auth.W002"], id="no-parties"),
        pytest.param({"REDIS_URL": ""}, ["clerk_auth.W006"], id="no-redis"),
        pytest.param({"AUTH_DEV_MODE": "1"}, ["clerk_auth.E004"], id="development-mode"),
    ],
)
def test_deploy_check_of_a_production_environment(changes, ids):
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=django_settings.BASE_DIR,
        env={**inherit_environment(), **PRODUCTION, **changes},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (1 if ids else 0), done.stderr
    assert [word for word in done.stderr.split() if word.startswith("(clerk_auth.")] == [
        f"({check_id})" for check_id in ids
    ]
    assert done.stderr.count("HINT") == len(ids)
