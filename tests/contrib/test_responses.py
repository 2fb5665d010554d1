"""What the components describe is what the package answers."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from rest_framework.exceptions import PermissionDenied

from clerk_auth.contrib.responses import RESPONSES, make_components, ref
from clerk_auth.core import errors
from clerk_auth.core.authorization import (
    LEVELS,
    PERMISSION_DENIED,
    PRESETS,
    REFUSALS,
    read_reverification,
)
from clerk_auth.exceptions import AuthenticationUnavailable, InvalidToken, ReverificationRequired
from clerk_auth.permissions import ClerkPermission

pytestmark = pytest.mark.integration

DRF_BODY = {"detail": "Authentication credentials were not provided."}


def step_up(reverification, *, kind="forbidden", reason="reverification-error"):
    metadata = {"reverification": reverification}
    return {"clerk_error": {"type": kind, "reason": reason, "metadata": metadata}}


def is_described(status, body):
    components = make_components()
    response = components["responses"][RESPONSES[status]]
    schema = response["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": components}).is_valid(body)


@pytest.mark.parametrize("error", errors.REJECTIONS)
def test_every_rejection(error):
    assert is_described("401", InvalidToken(error()).detail)


@pytest.mark.parametrize("error", errors.OUTAGES)
def test_every_outage(error):
    assert is_described("503", AuthenticationUnavailable(error()).detail)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param("401", DRF_BODY, id="no-credential"),
        pytest.param("403", DRF_BODY, id="permission"),
    ],
)
def test_refusals_of_rest_framework(status, body):
    assert is_described(status, body)


@pytest.mark.parametrize("code", [*REFUSALS, PERMISSION_DENIED])
def test_every_refusal_by_a_permission(code):
    permission = type("Refusing", (ClerkPermission,), {"code": code})
    assert is_described("403", PermissionDenied(permission().message).detail)


@pytest.mark.parametrize(
    "reverification",
    [
        *PRESETS,
        *({"level": level, "afterMinutes": 10} for level in LEVELS),
        {"level": "second_factor", "afterMinutes": 0.5},
    ],
)
def test_every_step_up(reverification):
    read_reverification(reverification)
    assert is_described("403", ReverificationRequired(reverification).detail)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param("401", {}, id="nothing"),
        pytest.param("401", {**DRF_BODY, "code": "keys_busy"}, id="outage-as-401"),
        pytest.param("503", {**DRF_BODY, "code": "token_expired"}, id="rejection-as-503"),
        pytest.param("503", DRF_BODY, id="outage-without-a-code"),
        pytest.param("403", {**DRF_BODY, "code": "token_expired"}, id="rejection-as-403"),
        pytest.param("403", {}, id="forbidden-for-no-reason"),
        pytest.param("403", step_up("lenient"), id="unknown-preset"),
        pytest.param("403", step_up({"level": "strict", "afterMinutes": 10}), id="unknown-level"),
        pytest.param("403", step_up({"level": "second_factor"}), id="no-age"),
        pytest.param(
            "403", step_up({"level": "second_factor", "afterMinutes": "10"}), id="age-as-text"
        ),
        pytest.param("403", step_up("strict", kind="not_found"), id="other-type"),
        pytest.param("403", step_up("strict", reason="other"), id="other-reason"),
        pytest.param("403", {"detail": step_up("strict")}, id="wrapped"),
    ],
)
def test_what_is_never_answered_is_not_described(status, body):
    assert not is_described(status, body)


def test_references_lead_somewhere():
    components = make_components()

    def walk(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if "$ref" in node else ()
            for child in node.values():
                yield from walk(child)
        elif isinstance(node, list):
            for child in node:
                yield from walk(child)

    existing = {ref(kind, name)["$ref"] for kind, named in components.items() for name in named}
    assert set(walk(components)) <= existing
    assert {ref("responses", name)["$ref"] for name in RESPONSES.values()} <= existing
