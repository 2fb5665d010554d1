"""Whatever Django's and REST framework's settings hold: no check of ours raises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import UserSettingsHolder
from django.conf import settings as django_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.settings import api_settings

from clerk_auth.checks import TAG, load_checks
from clerk_auth.conf import lifetime

pytestmark = pytest.mark.integration

GOOD = {
    "FRONTEND_API": "clerk.example.com",
    "AUTHORIZED_PARTIES": ["https://app.example.com"],
    "METRICS": ["clerk_auth.metrics.sinks.Sink"],
}
BACKENDS = [
    "django.core.cache.backends.locmem.LocMemCache",
    "django.core.cache.backends.dummy.DummyCache",
    "django.core.cache.backends.filebased.FileBasedCache",
    "django.core.cache.backends.db.DatabaseCache",
    "django.core.cache.backends.memcached.PyMemcacheCache",
    "django.core.cache.backends.redis.RedisCache",
    "django_redis.cache.RedisCache",
    "no_such_module.Cache",
    "os.path",
    "django.core.cache.caches",
]
odd = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=12),
        st.binary(max_size=4),
        st.sampled_from([object(), int, len, "a.b", "redis://[", "redis://a/0?socket_timeout=x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.text(max_size=6), inner, max_size=3),
    ),
    max_leaves=6,
)
option_names = st.sampled_from(
    [
        *("SERIALIZER", "serializer", "SOCKET_TIMEOUT", "socket_timeout", "CONNECTION_POOL_CLASS"),
        *("CONNECTION_POOL_KWARGS", "pool_class", "timeout", "connect_timeout"),
    ]
)
caches = st.one_of(
    odd,
    st.fixed_dictionaries({"default": odd}),
    st.fixed_dictionaries(
        {
            "default": st.fixed_dictionaries(
                {"BACKEND": st.one_of(st.sampled_from(BACKENDS), odd)},
                optional={
                    "LOCATION": odd,
                    "OPTIONS": st.one_of(odd, st.dictionaries(option_names, odd, max_size=3)),
                },
            )
        }
    ),
)
rest_framework = st.one_of(
    odd,
    st.dictionaries(
        st.sampled_from(["DEFAULT_AUTHENTICATION_CLASSES", "UNAUTHENTICATED_USER"]), odd
    ),
    st.fixed_dictionaries(
        {
            "DEFAULT_AUTHENTICATION_CLASSES": st.lists(
                st.sampled_from(
                    [
                        "clerk_auth.authentication.ClerkAuthentication",
                        "rest_framework.authentication.SessionAuthentication",
                        "os.path",
                        "builtins.int",
                        "builtins.len",
                        f"{__name__}.Raises",
                    ]
                )
            )
        }
    ),
)
clerk_auth = st.one_of(
    odd,
    st.builds(
        lambda changes: {**GOOD, **changes},
        st.dictionaries(
            st.sampled_from(
                [
                    *("USER_RESOLVER", "USER_ID_FIELD", "USER_FIELDS", "METRICS", "CACHE_ALIAS"),
                    *("AUTHORIZED_PARTIES", "ISSUER", "MODE", "FRONTEND_API", "PUBLISHABLE_KEY"),
                ]
            ),
            st.one_of(
                odd,
                st.sampled_from(
                    [
                        "clerk_auth.users.database_user",
                        "builtins.int",
                        "django.conf.settings",
                        {"email": "email"},
                        {"": ""},
                    ]
                ),
            ),
            max_size=3,
        ),
    ),
)


class Raises:
    def __init__(self) -> None:
        raise SystemError

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError


def run_ours() -> set[str]:
    """Run our checks one by one, as Django's other checks need not hold."""
    checks = [check for deploy in (False, True) for check in load_checks(deploy=deploy)]
    found = [message for check in checks for message in check()]
    assert len(checks) > 10
    assert all(message.id.startswith("clerk_auth.") for message in found)
    # What Django prints of them.
    assert all(str(message) for message in found)
    return {message.id.removeprefix("clerk_auth.") for message in found}


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "CLERK_AUTH": clerk_auth,
            "CACHES": caches,
            "REST_FRAMEWORK": rest_framework,
            "MIDDLEWARE": odd,
            "DATABASES": odd,
        },
    )
)
def test_no_check_raises(values):
    with overridden({"CLERK_AUTH": GOOD, **values}):
        run_ours()


@contextmanager
def overridden(values: dict[str, Any]) -> Iterator[None]:
    """Have these settings, and tell no receiver of other packages, which might not take them."""
    before = django_settings._wrapped
    holder = UserSettingsHolder(before)
    for name, value in values.items():
        setattr(holder, name, value)
    django_settings._wrapped = holder
    forget()
    try:
        yield
    finally:
        django_settings._wrapped = before
        forget()


def forget() -> None:
    api_settings.reload()
    lifetime.forget()


@pytest.mark.parametrize("model", ["", "auth", "auth.Nobody", "no_such.User", "a.b.c", None, 5, []])
@pytest.mark.parametrize("resolver", ["stateless_user", "database_user", "existing_user"])
def test_user_model_that_is_none_is_an_error_where_rows_are_wanted(model, resolver):
    values = {
        "AUTH_USER_MODEL": model,
        "CLERK_AUTH": {
            **GOOD,
            "USER_RESOLVER": f"clerk_auth.users.{resolver}",
            "USER_FIELDS": {"email": "email"},
        },
    }
    with overridden(values):
        found = run_ours()
    assert ("E015" in found) == (resolver != "stateless_user")
    assert "W018" not in found


@pytest.mark.parametrize(
    "cache",
    [
        {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": None},
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": None},
        {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": 5, "OPTIONS": None},
        {"BACKEND": "django_redis.cache.RedisCache", "OPTIONS": ["a"]},
        {"BACKEND": "django_redis.cache.RedisCache", "OPTIONS": {"CONNECTION_POOL_KWARGS": "a"}},
        {"BACKEND": None},
        {"BACKEND": len},
        {},
        None,
        "redis://127.0.0.1",
    ],
)
def test_cache_of_another_form_needs_no_net(cache):
    """Each is looked at, and not only caught."""
    with overridden({"CLERK_AUTH": GOOD, "CACHES": {"default": cache}}):
        assert "W018" not in run_ours()


@pytest.mark.parametrize("middleware", [None, (), "text", {}])
def test_middleware_of_another_form_needs_no_net(middleware):
    with overridden({"CLERK_AUTH": GOOD, "MIDDLEWARE": middleware}):
        assert run_ours() & {"W011", "W018"} == {"W011"}


def test_what_cannot_be_looked_at_is_a_warning():
    with overridden({"CLERK_AUTH": GOOD, "MIDDLEWARE": 5}):
        assert "W018" in run_ours()


# A project of somebody else's

SETTINGS = """
import os
SECRET_KEY = "a-key-of-the-test-that-is-long-enough-for-the-checks-0123456789"
ALLOWED_HOSTS = ["localhost"]
INSTALLED_APPS = ["rest_framework", "drf_spectacular", "clerk_auth"]
MIDDLEWARE = []
ROOT_URLCONF = "urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("REDIS_URL"),
        "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    }
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["clerk_auth.authentication.ClerkAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
CLERK_AUTH = {
    "FRONTEND_API": "clerk.example.com",
    "AUTHORIZED_PARTIES": ["https://app.example.com"],
}
"""
URLS = """
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response

@api_view(["GET"])
def me(request):
    return Response({"user": request.user and request.user.pk})

urlpatterns = [path("me", me)]
"""
ASK = """
import django
django.setup()
from django.test import Client
for headers in ({}, {"Authorization": "Bearer a.b.c"}):
    answer = Client(SERVER_NAME="localhost").get("/me", headers=headers)
    print(answer.status_code, answer.headers["WWW-Authenticate"].split()[0])
from clerk_auth.testing import ClerkAPIClient, override_clerk_auth
with override_clerk_auth():
    client = ClerkAPIClient()
    client.sign_in("user_1")
    print(client.get("/me").json())
"""


@pytest.fixture
def run_in_project(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A project without ``django.contrib.auth``, whose Redis is not configured."""
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "urls.py").write_text(URLS)
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])]),
    }

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_project_without_users_and_without_redis_is_built(run_in_project):
    gate = ("check", "--tag", TAG, "--deploy", "--fail-level", "WARNING")
    for command, status, said in [
        (["migrate", "--verbosity", "0"], 0, "clerk_auth.W008"),
        (["check"], 0, "clerk_auth.W008"),
        (["check", "--deploy"], 0, "security.W"),
        (["spectacular", "--file", "schema.yml"], 0, ""),
        (gate, 1, "clerk_auth.W008"),
    ]:
        done = run_in_project("-m", "django", *command)
        assert done.returncode == status, done.stderr
        assert said in done.stderr
        assert "clerk_auth.W018" not in done.stderr
    assert "security.W" not in done.stderr


def test_project_without_users_answers(run_in_project):
    done = run_in_project("-c", ASK, PYTEST_VERSION="8")
    assert done.stdout.splitlines() == ["401 Bearer", "401 Bearer", "{'user': 'user_1'}"]


def test_permission_of_ours_may_be_the_default_one(run_in_project):
    """REST framework imports what it names while it imports its own views."""
    ours = [
        "clerk_auth.permissions.IsNotImpersonated",
        "clerk_auth.permissions.IsOrganizationMember",
    ]
    change = f"import settings\nsettings.REST_FRAMEWORK['DEFAULT_PERMISSION_CLASSES'] = {ours}\n"
    done = run_in_project("-c", change + ASK, PYTEST_VERSION="8")
    *refused, answer = done.stdout.splitlines()
    assert refused == ["401 Bearer", "401 Bearer"]
    assert "organization_required" in answer
