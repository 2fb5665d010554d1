"""The checks of REST framework's settings, and of the middleware that counts."""

from __future__ import annotations

import pytest
from rest_framework.authentication import BaseAuthentication

from clerk_auth.authentication import ClerkAuthentication
from tests.checks.conftest import OURS, SECURE, found

pytestmark = pytest.mark.integration


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


REST = "rest_framework.authentication."
BEARER, SILENT = f"{__name__}.OtherBearer", f"{__name__}.Silent"


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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
