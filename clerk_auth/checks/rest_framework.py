"""System checks of Django REST framework's settings, and of the middleware that counts answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.settings import api_settings

from clerk_auth.checks.instances import Ours, find_ours, read_observed
from clerk_auth.checks.registration import check, judge, read_config

__all__ = ["check_authenticators", "check_responses_are_counted"]

_RESPONSE_COUNTER = "clerk_auth.middleware.ResponseCounter"


@check()
def check_authenticators() -> Iterator[CheckMessage]:
    """W004, W005, W012: neighbours in DEFAULT_AUTHENTICATION_CLASSES, or the lack of them."""
    try:
        classes: list[Any] = list(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
        ours = find_ours(classes)
    except Exception:  # REST framework's own error is clearer
        return
    observing = [cls for cls in ours if read_observed(cls)]
    yield from _check_observed(classes, observing)
    if len(observing) == len(ours):
        return
    # The challenge of one that observes is that of the next.
    first, *_ = (cls for cls in classes if cls not in observing)
    if first not in ours and not _challenge(first):
        yield Warning(
            f"{first.__name__} comes before ClerkAuthentication and has no challenge: "
            "refused tokens are answered with 403 instead of 401.",
            hint="Put ClerkAuthentication first in DEFAULT_AUTHENTICATION_CLASSES.",
            id="clerk_auth.W004",
        )
    for cls in classes:
        if cls not in ours and _challenge(cls).lower().startswith("bearer"):
            yield Warning(
                f"{cls.__name__} takes Bearer tokens too: it and ClerkAuthentication refuse "
                "each other's.",
                hint="Keep one of them, or give the other one a scheme of its own.",
                id="clerk_auth.W005",
            )


def _check_observed(classes: list[Any], observing: list[Ours]) -> Iterator[CheckMessage]:
    first = {alias: cls for cls in reversed(observing) for alias in read_observed(cls)}
    if observing and len(observing) == len(classes):
        alias = read_observed(observing[0])[0]
        message = "is 'observe', and there is no other authenticator: no user can sign in."
        hint = "Keep the class that authenticates now after ClerkAuthentication."
        yield judge("clerk_auth.W012", alias, "MODE", message, hint)
        return
    for alias, cls in first.items():
        before = [other for other in classes[: classes.index(cls)] if other not in observing]
        if not before:
            continue
        if find_ours(before[:1]):
            name, what = cls.__name__, "the tokens that would be observed are refused."
        else:
            name = "ClerkAuthentication"
            what = "what it accepts is not observed, and would not be refused by enforcing."
        message = f"is 'observe', and {before[0].__name__} comes before {name}: {what}"
        hint = f"Put {name} first in DEFAULT_AUTHENTICATION_CLASSES."
        yield judge("clerk_auth.W012", alias, "MODE", message, hint)


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
