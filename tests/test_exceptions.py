"""Our errors are REST framework's: whatever handles those by their leaves can handle ours."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.exceptions import APIException, ErrorDetail, PermissionDenied
from rest_framework.renderers import JSONRenderer
from rest_framework.views import exception_handler

from clerk_auth import exceptions
from clerk_auth.core import errors
from clerk_auth.core.authorization import PERMISSION_DENIED, REFUSALS
from clerk_auth.core.errors import OUTAGES, REJECTIONS
from clerk_auth.exceptions import AuthenticationUnavailable, InvalidToken, ReverificationRequired
from clerk_auth.permissions import ClerkPermission

VERIFICATION = [
    *(InvalidToken(error()) for error in REJECTIONS),
    *(AuthenticationUnavailable(error()) for error in OUTAGES),
]
STEP_UPS = [
    ReverificationRequired(value)
    for value in (
        "strict",
        {"level": "second_factor", "afterMinutes": 10},
        {"level": "second_factor", "afterMinutes": 0.5},
        {"level": "second_factor", "afterMinutes": 10**20},
    )
]


def refused(code: str) -> PermissionDenied:
    message = type("Refusing", (ClerkPermission,), {"code": code, "detail": "No."})().message
    return PermissionDenied(message, code)


ERRORS = [*VERIFICATION, *STEP_UPS, *map(refused, (*REFUSALS, PERMISSION_DENIED))]


def leaves(detail: Any) -> Iterator[Any]:
    """Yield what handlers of other packages make errors of: each leaf that is not empty."""
    if isinstance(detail, dict):
        for value in detail.values():
            yield from leaves(value)
    elif isinstance(detail, list):
        for value in detail:
            yield from leaves(value)
    elif detail or detail == "":
        yield detail


def render(error: APIException) -> str:
    return JSONRenderer().render(exception_handler(error, {}).data).decode()


@pytest.mark.parametrize("error", ERRORS)
def test_every_leaf_has_the_code(error):
    found = list(leaves(error.detail))
    assert found
    code = error.get_codes() if isinstance(error.get_codes(), str) else error.get_codes()["code"]
    for leaf in found:
        assert leaf.code == code
        assert str(leaf)


@pytest.mark.parametrize("error", VERIFICATION)
def test_refused_token_and_outage_are_one_error(error):
    (leaf,) = leaves(error.detail)
    assert type(leaf) is ErrorDetail
    assert error.get_codes() == leaf.code == error.detail["code"]
    assert error.get_full_details() == {"message": leaf, "code": leaf.code}


@pytest.mark.parametrize("error", VERIFICATION)
def test_body_on_the_wire_is_sentence_and_code(error):
    assert json.loads(render(error)) == {
        "detail": error.detail["detail"],
        "code": error.get_codes(),
    }
    assert error.detail == dict(json.loads(render(error)))


@pytest.mark.parametrize("error", STEP_UPS)
def test_numbers_of_a_step_up_stay_numbers(error):
    metadata = json.loads(render(error))["clerk_error"]["metadata"]["reverification"]
    if isinstance(metadata, dict):
        assert type(metadata["afterMinutes"]) in (int, float)
        assert metadata["afterMinutes"] in (10, 0.5, 10**20)
        assert math.isfinite(metadata["afterMinutes"] * 2)


def test_every_error_of_verification_can_be_imported_from_here():
    assert set(errors.__all__) < set(exceptions.__all__)
    for name in exceptions.__all__:
        assert getattr(exceptions, name) is getattr(errors, name, getattr(exceptions, name))
    assert {"ReverificationRequired", "TokenRejected", "KeysUnavailable"} <= set(exceptions.__all__)
