"""What tests of system checks share: settings without a flaw, and what the checks report."""

from __future__ import annotations

import pytest
from django.core.checks import CheckMessage, Tags, run_checks

from clerk_auth.checks import TAG
from tests.conftest import PARTY

SECURE = {"FRONTEND_API": "clerk.example.com", "AUTHORIZED_PARTIES": [PARTY]}
STAFF = {"FRONTEND_API": "clerk.staff.example.com", "AUTHORIZED_PARTIES": [PARTY]}
OURS = "clerk_auth.authentication.ClerkAuthentication"
JSON = "django_redis.serializers.json.JSONSerializer"
TIMEOUTS = {"SOCKET_CONNECT_TIMEOUT": 0.5, "SOCKET_TIMEOUT": 1}
SHARED = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": "redis://cache.example.com:6379/5",
    "OPTIONS": {"SERIALIZER": JSON, **TIMEOUTS},
}


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


def subjects(*, deploy: bool = False) -> list[tuple[str, object]]:
    """Return the ids with what each is about, and hold the messages to name that too."""
    ours = messages_of(TAG, deploy=deploy)
    assert all(f"CLERK_AUTH[{message.obj!r}]" in message.msg for message in ours)
    return [(message.id.removeprefix("clerk_auth."), message.obj) for message in ours]


@pytest.fixture
def secure(settings):
    """Settings of which no check has anything to say; tests change one thing."""
    settings.CLERK_AUTH = SECURE
    settings.CACHES = {"default": SHARED}
    return settings
