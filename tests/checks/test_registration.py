"""All checks together: under which tags they run, and what they may do."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.core.cache.backends.base import BaseCache
from django.core.checks import Tags
from django_redis.cache import RedisCache

from clerk_auth.checks import TAG
from project.demo.environment import inherit_environment
from tests.checks.conftest import SHARED, found, messages_of
from tests.conftest import PARTY

pytestmark = pytest.mark.integration


class UnheardOf(BaseCache):
    """A shared backend of the host project."""


def test_secure_settings_are_clean(secure):
    assert found(deploy=True) == []


@pytest.mark.parametrize("deploy", [False, True])
def test_each_message_is_under_both_tags(deploy, secure):
    secure.CLERK_AUTH = {
        "FRONTEND_API": "clerk.example.com",
        "METRICS": ["clerk_auth.metrics.Sink"],
    }
    secure.CACHES = {"default": {"BACKEND": f"{__name__}.UnheardOf"}}
    ours = messages_of(TAG, deploy=deploy)
    assert len(ours) >= 2
    assert messages_of(Tags.security, deploy=deploy) == ours


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


PRODUCTION = {
    "DJANGO_SECRET_KEY": "k0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "DJANGO_ALLOWED_HOSTS": "api.example.com",
    "CLERK_PUBLISHABLE_KEY": "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k",
    "CLERK_AUTHORIZED_PARTIES": PARTY,
    "CLERK_AUDIENCE": "api",
    "REDIS_URL": "rediss://cache.example.com:6379/0",
}


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


_SERVE = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["rest_framework", "clerk_auth"], CLERK_AUTH={"DEV_MODE": 1})
django.setup()
import clerk_auth.authentication, sys
from django.core.checks import run_checks
print(*sorted(name for name in sys.modules if name.startswith("clerk_auth.checks")))
print(*(message.id for message in run_checks(tags=["clerk_auth"])))
"""


def test_checks_are_loaded_when_they_run_and_not_before():
    done = subprocess.run(
        [sys.executable, "-c", _SERVE],
        cwd=django_settings.BASE_DIR,
        env=inherit_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["clerk_auth.checks", "clerk_auth.E003"], done.stderr
