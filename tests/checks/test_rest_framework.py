"""The checks of REST framework's settings, and of the middleware that counts."""

from __future__ import annotations

import pytest
from rest_framework.authentication import BaseAuthentication

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.checks import TAG
from tests.checks.conftest import OURS, SECURE, STAFF, found, messages_of

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


class StaffAuthentication(ClerkAuthentication):
    instance = "staff"


class EitherAuthentication(ClerkAuthentication):
    instances = ("default", "staff")


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


STAFFS, EITHER = f"{__name__}.StaffAuthentication", f"{__name__}.EitherAuthentication"


@pytest.mark.parametrize(
    ("classes", "ids"),
    [
        pytest.param([STAFFS, OURS], [], id="observes-first"),
        pytest.param([OURS, STAFFS], ["W012"], id="never-sees-its-tokens"),
        pytest.param([STAFFS], ["W012"], id="alone"),
        pytest.param([STAFFS, SILENT], [], id="with-another-after"),
        pytest.param([SILENT, STAFFS], ["W012"], id="with-another-before"),
        pytest.param([STAFFS, SILENT, OURS], ["W004"], id="silent-challenge-of-the-next"),
        pytest.param([SILENT, STAFFS, OURS], ["W004", "W012"], id="silent-first"),
        pytest.param([REST + "BasicAuthentication", STAFFS, OURS], ["W012"], id="basic-first"),
        pytest.param([STAFFS, OURS, BEARER], ["W005"], id="bearer-after"),
        pytest.param([STAFFS, BEARER], [], id="bearer-that-decides"),
        pytest.param([EITHER], [], id="one-of-both-enforces"),
        pytest.param([STAFFS, EITHER], [], id="twice"),
        pytest.param([EITHER, BEARER], ["W005"], id="one-of-both-enforces-and-bearer"),
    ],
)
def test_list_with_a_class_that_observes_beside_one_that_enforces(classes, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": {**STAFF, "MODE": "observe"}}}
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
    assert found() == ids
    messages = {message.id: message for message in messages_of(TAG)}
    if "W012" in ids:
        assert messages["clerk_auth.W012"].obj == "INSTANCES.staff.MODE"


@pytest.mark.parametrize(
    ("classes", "ids"),
    [
        ([STAFFS, OURS], ["W005"]),
        ([EITHER, STAFFS], []),
        ([SILENT, STAFFS], ["W004"]),
        ([STAFFS, BEARER], ["W005"]),
    ],
)
def test_neighbours_of_classes_that_all_enforce(classes, ids, secure):
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": STAFF}}
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
    assert found() == ids


def test_class_that_observes_an_instance_of_nobody_is_an_error_only(secure):
    secure.CLERK_AUTH = {**SECURE, "MODE": "observe"}
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [STAFFS, SILENT]}
    assert found() == ["E017"]


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
