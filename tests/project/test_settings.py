"""The settings module under different environments."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import warnings

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from project.demo.environment import inherit_environment

pytestmark = pytest.mark.integration

PRODUCTION = {
    "DJANGO_SECRET_KEY": "k" + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "DJANGO_ALLOWED_HOSTS": "api.example.com",
    "CLERK_FRONTEND_API": "clerk.example.com",
    "CLERK_AUTHORIZED_PARTIES": "https://app.example.com",
    "REDIS_URL": "redis://cache.example.com:6379/0",
}


def run(*argv, **environment):
    return subprocess.run(
        [sys.executable, *argv],
        env=inherit_environment() | environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def read_settings(monkeypatch):
    """Run the settings module anew under an environment; return what it sets."""

    def read(*names, **environment):
        for name in set(os.environ) - set(inherit_environment()):
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        module = runpy.run_path(str(settings.BASE_DIR / "project" / "settings.py"))
        for name in environment:
            monkeypatch.delenv(name)
        return {name: module.get(name) for name in names}

    return read


def test_deploy_check_of_a_production_environment_is_clean():
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "System check identified no issues (0 silenced).\n"


def test_defaults_are_those_of_production(read_settings):
    values = read_settings(
        "DEBUG", "ALLOWED_HOSTS", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "CLERK_AUTH"
    )
    assert values == {
        "DEBUG": False,
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "CLERK_AUTH": None,
    }


@pytest.mark.parametrize("environment", [{"DJANGO_HTTPS": "0"}, {"DJANGO_DEBUG": "1"}])
def test_loopback_runs_have_no_redirect(read_settings, environment):
    values = read_settings("SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", **environment)
    assert values == {"SECURE_SSL_REDIRECT": False, "SECURE_HSTS_SECONDS": 0}


def test_proxy_header_is_trusted_on_request_only(read_settings):
    name = "SECURE_PROXY_SSL_HEADER"
    assert read_settings(name) == {name: None}
    assert read_settings(name, DJANGO_PROXY_SSL_HEADER="1") == {
        name: ("HTTP_X_FORWARDED_PROTO", "https")
    }


def test_secret_key_is_never_a_constant(read_settings):
    assert read_settings("SECRET_KEY") != read_settings("SECRET_KEY")
    assert read_settings("SECRET_KEY", DJANGO_SECRET_KEY="given") == {"SECRET_KEY": "given"}


def test_unknown_boolean_stops_the_start_and_names_the_variable(read_settings):
    with pytest.raises(ImproperlyConfigured, match="DJANGO_DEBUG"):
        read_settings(DJANGO_DEBUG="maybe")


@pytest.mark.parametrize(("value", "is_warned"), [("false", 1), ("0", 1), ("true", 0), ("", 0)])
def test_switch_of_older_set_ups_is_ignored_with_one_warning(read_settings, value, is_warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        read_settings(JWT_SIGNATURE_VERIFICATION_ENABLED=value, **PRODUCTION)
    said = [str(warning.message) for warning in caught]
    assert len(said) == is_warned
    for each in said:
        assert "JWT_SIGNATURE_VERIFICATION_ENABLED is ignored" in each


def test_browsable_api_needs_debug(read_settings):
    name = "REST_FRAMEWORK"
    assert len(read_settings(name)[name]["DEFAULT_RENDERER_CLASSES"]) == 1
    assert len(read_settings(name, DJANGO_DEBUG="1")[name]["DEFAULT_RENDERER_CLASSES"]) == 2
