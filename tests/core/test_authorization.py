"""What may be asked of claims, and that nothing unclear is a yes."""

from __future__ import annotations

import pytest

from clerk_auth.core.authorization import (
    LEVELS,
    PRESETS,
    Reverification,
    is_named,
    is_reverified,
    is_scoped,
    read_reverification,
    split_scope,
)
from tests.core import conftest

ORGANIZATION = {"id": "org_1", "rol": "admin", "per": "read,manage", "fpm": "3,0"}
GRANTS = {
    "o": ORGANIZATION,
    "fea": "o:reports,u:beta",
    "pla": "o:pro",
    "fva": [5, -1],
}
WRONG = [None, True, 1, 0, "", ":", "org:", "x:", b"org:admin", [], ["admin"], {}, object()]


@pytest.fixture(scope="module")
def claims(local_issuer):
    return conftest.make_claims(local_issuer, **GRANTS)


@pytest.fixture(scope="module")
def alone(local_issuer):
    """A user without anything."""
    return conftest.make_claims(local_issuer)


# has()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"role": "admin"}, True),
        ({"role": "org:admin"}, True),
        ({"role": "member"}, False),
        ({"role": "user:admin"}, False),
        ({"role": "org:org:admin"}, False),
        ({"role": "Admin"}, False),
        ({"permission": "org:reports:read"}, True),
        ({"permission": "reports:manage"}, True),
        ({"permission": "org:beta:read"}, False),
        ({"permission": "org:reports:delete"}, False),
        ({"permission": "org:reports"}, False),
        ({"feature": "reports"}, True),
        ({"feature": "org:reports"}, True),
        ({"feature": "user:reports"}, False),
        ({"feature": "user:beta"}, True),
        ({"feature": "beta"}, True),
        ({"feature": "team:beta"}, False),
        ({"plan": "pro"}, True),
        ({"plan": "organization:pro"}, True),
        ({"plan": "u:pro"}, False),
        ({"reverification": "strict"}, True),
        ({"reverification": {"level": "first_factor", "afterMinutes": 5}}, False),
        ({"reverification": {"level": "first_factor", "afterMinutes": 6}}, True),
        ({"role": "admin", "permission": "reports:read", "feature": "beta", "plan": "pro"}, True),
        ({"role": "member", "permission": "reports:read"}, False),
        ({"role": "admin", "permission": "reports:delete"}, False),
        ({"role": "admin", "feature": "absent"}, False),
        ({"role": "admin", "plan": "absent"}, False),
        ({"role": "admin", "reverification": "strict_mfa"}, True),
        ({"role": "admin", "reverification": "unknown"}, False),
        ({}, False),
    ],
)
def test_all_that_is_asked_must_be_granted(claims, question, answer):
    assert claims.has(**question) is answer


@pytest.mark.parametrize("name", ["role", "permission", "feature", "plan", "reverification"])
def test_question_in_a_wrong_form_is_not_granted_whatever_else_is(claims, name):
    for wrong in WRONG:
        assert claims.has(**{name: wrong}) is False, wrong
        assert claims.has(**{"role": "admin", "feature": "reports"} | {name: wrong}) is False, wrong


@pytest.mark.parametrize(
    "question",
    [
        {"role": "org:admin"},
        {"permission": "org:reports:read"},
        {"feature": "reports"},
        {"plan": "pro"},
        {"reverification": "lax"},
    ],
)
def test_user_without_anything_has_nothing(alone, question):
    assert alone.has(**question) is False


def test_role_of_version_1_is_asked_the_same_way(local_issuer):
    claims = conftest.make_claims(
        local_issuer,
        v=1,
        org_id="org_1",
        org_role="org:admin",
        org_permissions=["org:reports:read", 5, None],
    )
    assert claims.has(role="admin", permission="reports:read")
    assert not claims.has(permission="reports:manage")


def test_flat_claims_beside_version_2_grant_nothing(local_issuer):
    claims = conftest.make_claims(
        local_issuer, org_id="org_1", org_role="org:admin", org_permissions=["org:reports:read"]
    )
    assert not claims.has(role="admin")
    assert not claims.has(permission="reports:read")


def test_role_without_an_active_organization_is_none(local_issuer):
    claims = conftest.make_claims(local_issuer, o={"rol": "admin", "per": "read", "fpm": "1"})
    assert not claims.has(role="admin")


# What a token may carry in place of what it should

DIGITS = "9" * 4000
MALFORMED = [
    pytest.param({"o": value}, id=f"organization-{name}")
    for name, value in {
        "null": None,
        "text": "org_1",
        "number": 1,
        "list": [ORGANIZATION],
        "without-id": {"rol": "admin", "per": "read", "fpm": "1"},
        "id-is-a-number": ORGANIZATION | {"id": 1},
        "id-is-blank": ORGANIZATION | {"id": " "},
        "id-is-a-list": ORGANIZATION | {"id": ["org_1"]},
    }.items()
] + [
    pytest.param({"o": ORGANIZATION | changes, "fea": "o:reports"}, id=f"organization-{name}")
    for name, changes in {
        "role-is-a-list": {"rol": ["admin"], "per": None},
        "role-is-a-number": {"rol": 1, "per": None},
        "role-is-empty": {"rol": "", "per": None},
        "names-are-a-list": {"rol": None, "per": ["read"]},
        "names-are-null": {"rol": None, "per": None},
        "masks-are-a-number": {"rol": None, "fpm": 3},
        "masks-are-a-list": {"rol": None, "fpm": ["3"]},
        "mask-is-negative": {"rol": None, "fpm": "-1"},
        "mask-is-hexadecimal": {"rol": None, "fpm": "0x3"},
        "mask-has-an-underscore": {"rol": None, "fpm": "1_1"},
        "mask-is-a-fraction": {"rol": None, "fpm": "1.0"},
        "mask-is-of-other-digits": {"rol": None, "fpm": "\u0663"},
        "mask-of-5000-digits": {"rol": None, "fpm": "9" * 5000},
        "names-of-blanks": {"rol": None, "per": " , ,"},
    }.items()
]


@pytest.mark.parametrize("change", MALFORMED)
def test_malformed_organization_grants_neither_role_nor_permission(local_issuer, change):
    claims = conftest.make_claims(local_issuer, **GRANTS | change)
    assert not claims.has(role="admin")
    assert not claims.has(permission="reports:read")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 7, -1, 1.5, [], ["o:reports"], {}, {"o": "reports"}),
        *("", ",", "reports", ":reports", "o:", "o:re ports", "x:reports", "o:reports:x"),
        *("O:reports", "org:reports", "o:o:reports", "oo:reports", "uoo:reports"),
    ],
)
def test_malformed_feature_or_plan_grants_nothing(local_issuer, value):
    claims = conftest.make_claims(local_issuer, fea=value, pla=value)
    for asked in ("reports", "org:reports", "user:reports", "re", "ports", "o"):
        assert not claims.has(feature=asked)
        assert not claims.has(plan=asked)


@pytest.mark.parametrize(
    "ages",
    [
        *(None, True, 0, "0", "0,0", {}, [], [0], [0, 0, 0], [[0], [0]], [None, 0], [0, None]),
        *(["0", "0"], [True, True], [False, False], [-2, 0], [0, -2], [-0.5, 0], [0, -1.5]),
        *({"0": 0, "1": 0}, [0, {}], [-int(DIGITS), 0], [0, -int(DIGITS)]),
    ],
    ids=lambda ages: repr(ages)[:20],
)
def test_malformed_factor_ages_prove_nothing(local_issuer, ages):
    claims = conftest.make_claims(local_issuer, fva=ages)
    for preset in PRESETS:
        assert not claims.has(reverification=preset)


def test_numbers_of_thousands_of_digits_are_numbers(local_issuer):
    old = conftest.make_claims(local_issuer, fva=[int(DIGITS), int(DIGITS)])
    assert not old.has(reverification="lax")
    everything = conftest.make_claims(
        local_issuer, fea="o:reports", o=ORGANIZATION | {"fpm": str(2**13000 - 1)}
    )
    assert everything.organization.permissions == ("org:reports:read", "org:reports:manage")


# The parts


@pytest.mark.parametrize(
    ("level", "ages", "is_met"),
    [
        ("first_factor", (9, -1), True),
        ("first_factor", (10, -1), False),
        ("first_factor", (11, 0), False),
        ("first_factor", (-1, 0), False),
        ("first_factor", (0, 999), True),
        ("second_factor", (999, 9), True),
        ("second_factor", (0, 10), False),
        ("second_factor", (0, 11), False),
        ("second_factor", (9, -1), True),
        ("second_factor", (10, -1), False),
        ("second_factor", (-1, 9), True),
        ("second_factor", (-1, -1), False),
        ("multi_factor", (9, 9), True),
        ("multi_factor", (10, 9), False),
        ("multi_factor", (9, 10), False),
        ("multi_factor", (9, -1), True),
        ("multi_factor", (-1, 9), False),
        ("multi_factor", (-1, -1), False),
    ],
)
def test_factor_is_fresh_for_less_than_its_minutes(level, ages, is_met):
    assert Reverification(level, 10).is_met_by(ages) is is_met
    assert is_reverified({"level": level, "afterMinutes": 10}, ages) is is_met


def test_presets_are_clerks():
    assert {name: (preset.level, preset.after_minutes) for name, preset in PRESETS.items()} == {
        "strict_mfa": ("multi_factor", 10),
        "strict": ("second_factor", 10),
        "moderate": ("second_factor", 60),
        "lax": ("second_factor", 1440),
    }


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("minutes", [1, 0.5, 10**400])
def test_reverification_may_be_spelled_out(level, minutes):
    asked = {"level": level, "afterMinutes": minutes}
    assert read_reverification(asked) == Reverification(level, minutes)


@pytest.mark.parametrize(
    "wrong",
    [
        *WRONG,
        *("Strict", "strict ", "super_strict"),
        {"level": "second_factor"},
        {"afterMinutes": 10},
        {"level": "third_factor", "afterMinutes": 10},
        {"level": ["second_factor"], "afterMinutes": 10},
        {"level": "second_factor", "afterMinutes": 10, "more": 1},
        {"level": "second_factor", "after_minutes": 10},
        *(
            {"level": "second_factor", "afterMinutes": minutes}
            for minutes in (0, -1, -0.5, True, "10", None, float("nan"), float("inf"), [10])
        ),
    ],
)
def test_reverification_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="reverification"):
        read_reverification(wrong)


def test_scope_of_both_counts_for_each():
    for held in ("ou:reports", "uo:reports"):
        for asked in ("reports", "org:reports", "user:reports"):
            assert is_scoped(asked, [held])


@pytest.mark.parametrize("asked", ["ou:reports", "team:reports", ":reports", "o:u:reports"])
def test_unknown_scope_is_refused(asked):
    with pytest.raises(ValueError, match="scope"):
        split_scope(asked)
    assert not is_scoped(asked, ["ou:reports", "u:reports", "o:reports"])


def test_prefix_counts_once():
    assert is_named("admin", ["org:admin"])
    assert is_named("org:admin", ["admin"])
    assert not is_named("org:org:admin", ["org:admin"])
    assert not is_named("admin", [])
    for nothing in ("", "org:"):
        assert not is_named(nothing, ["", "org:", "org:org:"])
