"""Environment variables as settings."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.environment import (
    read_caches,
    read_clerk_auth,
    read_flag,
    read_list,
    read_text,
)

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("environment", [{}, {"NAME": ""}, {"NAME": " "}])
@pytest.mark.parametrize("read", [read_text, read_flag, read_list])
def test_unset_or_blank_is_absent(read, environment):
    assert read(environment, "NAME") is None


@pytest.mark.parametrize("text", ["1", "True", "YES", "on", " 1 "])
def test_flag_on(text):
    assert read_flag({"NAME": text}, "NAME") is True


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF", " 0 "])
def test_flag_off(text):
    assert read_flag({"NAME": text}, "NAME") is False


@pytest.mark.parametrize("text", ["2", "y", "enabled", "truefalse"])
def test_flag_of_another_spelling_names_the_variable(text):
    with pytest.raises(ImproperlyConfigured, match="AUTH_DEV_MODE"):
        read_flag({"AUTH_DEV_MODE": text}, "AUTH_DEV_MODE")


def test_list():
    assert read_list({"NAME": " a , b"}, "NAME") == ["a", "b"]


@pytest.mark.parametrize("text", [",", "a,", "a,,b"])
def test_list_with_a_blank_entry_names_the_variable(text):
    with pytest.raises(ImproperlyConfigured, match="CLERK_AUDIENCE"):
        read_list({"CLERK_AUDIENCE": text}, "CLERK_AUDIENCE")


def test_absent_variables_leave_their_keys_out():
    assert read_clerk_auth({"PATH": "/bin", "CLERK_AUDIENCE": ""}) == {}


def test_every_variable_has_its_key():
    assert read_clerk_auth(
        {
            "CLERK_FRONTEND_API": "clerk.example.com",
            "CLERK_PUBLISHABLE_KEY": "pk_live_x",
            "CLERK_ISSUER": "https://clerk.example.com,https://proxy.example.com",
            "CLERK_JWKS_URL": "https://clerk.example.com/keys",
            "CLERK_JWT_KEY": "-----BEGIN PUBLIC KEY-----\\n...",
            "CLERK_AUTHORIZED_PARTIES": "https://app.example.com, https://www.example.com",
            "CLERK_AUDIENCE": "api",
            "CLERK_AUTH_MODE": "observe",
            "AUTH_DEV_MODE": "false",
            "CLERK_METRICS": "clerk_auth.contrib.prometheus.PrometheusSink",
        }
    ) == {
        "FRONTEND_API": "clerk.example.com",
        "PUBLISHABLE_KEY": "pk_live_x",
        "ISSUER": ["https://clerk.example.com", "https://proxy.example.com"],
        "JWKS_URL": "https://clerk.example.com/keys",
        "JWT_KEY": "-----BEGIN PUBLIC KEY-----\\n...",
        "AUTHORIZED_PARTIES": ["https://app.example.com", "https://www.example.com"],
        "AUDIENCE": ["api"],
        "MODE": "observe",
        "DEV_MODE": False,
        "METRICS": ["clerk_auth.contrib.prometheus.PrometheusSink"],
    }


def test_cache_is_this_process_alone_without_redis():
    assert read_caches({})["default"]["BACKEND"].endswith("LocMemCache")


def test_redis_url_switches_the_cache():
    cache = read_caches({"REDIS_URL": "redis://cache.example.com/1"})["default"]
    assert cache["BACKEND"] == "django_redis.cache.RedisCache"
    assert cache["LOCATION"] == "redis://cache.example.com/1"
    assert cache["OPTIONS"] == {
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        "SOCKET_CONNECT_TIMEOUT": 0.5,
        "SOCKET_TIMEOUT": 1,
    }
