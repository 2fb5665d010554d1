"""System checks of Django REST framework's settings, and of the middleware that counts answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.settings import api_settings

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.checks.registration import check, read_config
from clerk_auth.conf import is_observing

__all__ = ["check_authenticators", "check_responses_are_counted"]

_RESPONSE_COUNTER = "clerk_auth.middleware.ResponseCounter"


@check()
def check_authenticators() -> Iterator[CheckMessage]:
    """W004, W005, W012: neighbours in DEFAULT_AUTHENTICATION_CLASSES, or the lack of them."""
    try:
        classes: list[Any] = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
        ours = [index for index, cls in enumerate(classes) if issubclass(cls, ClerkAuthentication)]
    except Exception:  # REST framework's own error is clearer
        return
    if not ours:
        return
    if is_observing():
        yield from _check_observed([cls.__name__ for cls in classes], ours)
        return
    if ours[0] > 0 and not _challenge(classes[0]):
        yield Warning(
            f"{classes[0].__name__} comes before ClerkAuthentication and has no challenge: "
            "refused tokens are answered with 403 instead of 401.",
            hint="Put ClerkAuthentication first in DEFAULT_AUTHENTICATION_CLASSES.",
            id="clerk_auth.W004",
        )
    for index, cls in enumerate(classes):
        if index not in ours and _challenge(cls).lower().startswith("bearer"):
            yield Warning(
                f"{cls.__name__} takes Bearer tokens too: it and ClerkAuthentication refuse "
                "each other's.",
                hint="Keep one of them, or give the other one a scheme of its own.",
                id="clerk_auth.W005",
            )


def _check_observed(names: list[str], ours: list[int]) -> Iterator[CheckMessage]:
    if len(ours) == len(names):
        yield Warning(
            "CLERK_AUTH['MODE'] is 'observe', and there is no other authenticator: no user "
            "can sign in.",
            hint="Keep the class that authenticates now after ClerkAuthentication.",
            id="clerk_auth.W012",
        )
    elif ours[0] > 0:
        yield Warning(
            f"CLERK_AUTH['MODE'] is 'observe', and {names[0]} comes before ClerkAuthentication: "
            "what it accepts is not observed, and would not be refused by enforcing.",
            hint="Put ClerkAuthentication first in DEFAULT_AUTHENTICATION_CLASSES.",
            id="clerk_auth.W012",
        )


def _challenge(cls: type[Any]) -> str:
    try:
        return cls().authenticate_header(Request(HttpRequest())) or ""
    except Exception:  # another project's class, asked without a real request
        return ""


@check()
def check_responses_are_counted() -> Iterator[CheckMessage]:
    """W011: metrics go somewhere, and the responses that the alarms need are not counted."""
    config = read_config()
    if config and config.metrics and _RESPONSE_COUNTER not in (settings.MIDDLEWARE or ()):
        yield Warning(
            "CLERK_AUTH['METRICS'] names sinks, but responses are not counted: alarms on "
            "clerk_auth_responses stay silent.",
            hint=f"Put {_RESPONSE_COUNTER!r} first in MIDDLEWARE.",
            id="clerk_auth.W011",
        )
