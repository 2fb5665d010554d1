"""What a verified token says: one shape for both versions, read-only, and nothing by mistake."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clerk_auth.core.claims import Claims, Organization, is_identifier
from clerk_auth.issuer.local import ABSENT
from tests.conftest import ISSUER, NOW, PARTY
from tests.core import conftest

ATTRIBUTES = (
    "user_id",
    "session_id",
    "issuer",
    "authorized_party",
    "issued_at",
    "expires_at",
    "organization",
    "features",
    "plans",
    "factor_ages",
    "actor",
    "status",
    "version",
)


@pytest.fixture(scope="module")
def make_claims(local_issuer) -> Callable[..., Claims]:
    return lambda **claims: conftest.make_claims(local_issuer, **claims)


def read_everything(claims: Claims) -> dict[str, Any]:
    values = {name: getattr(claims, name) for name in ATTRIBUTES}
    return values | {name: claims.get(name) for name in claims.payload}


# What every token says.


def test_claims_that_are_checked_are_attributes(make_claims):
    claims = make_claims(sid="sess_1", sts=ABSENT)
    assert (claims.user_id, claims.session_id, claims.issuer) == ("user_1", "sess_1", ISSUER)
    assert (claims.issued_at, claims.expires_at) == (NOW, NOW + 60)
    assert (claims.authorized_party, claims.status) == (PARTY, "active")


def test_what_a_token_does_not_say_is_none_or_empty(make_claims):
    claims = make_claims(iat=ABSENT, v=ABSENT)
    assert claims.issued_at is None
    assert (claims.organization, claims.actor, claims.factor_ages) == (None, None, None)
    assert (claims.features, claims.plans) == ((), ())


def test_customised_claims_are_read_by_name(make_claims):
    claims = make_claims(email="a@example.com", empty=None, flag=False)
    assert claims.get("email") == "a@example.com"
    assert claims.get("flag") is False
    assert claims.get("empty", "default") is None
    assert claims.get("other") is None
    assert claims.get("other", "default") == "default"


def test_payload_is_what_the_token_carries(make_claims):
    payload = make_claims(custom={"a": 1}).payload
    assert payload["iss"] == ISSUER
    assert payload["custom"] == {"a": 1}
    assert "sts" in payload
    assert "user_id" not in payload


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (2, 2),
        (2.0, 2),
        (1, 1),
        (1.0, 1),
        (ABSENT, 1),
        (3, 0),
        (0, 0),
        (-2, 0),
        (1.5, 0),
        ("2", 0),
        ("1", 0),
        (True, 0),
        (None, 0),
        ([2], 0),
    ],
)
def test_version_is_what_the_token_says_and_an_unknown_one_grants_nothing(
    version, expected, make_claims
):
    claims = make_claims(
        v=version,
        org_id="org_1",
        org_role="org:admin",
        o={"id": "org_1", "rol": "admin"},
        fea="o:a",
        pla="o:pro",
    )
    assert claims.version == expected
    assert claims.has(role="admin") is (expected != 0)
    assert claims.has(feature="a") is claims.has(plan="pro") is (expected == 2)


# Read-only, all the way down.

NESTED = {"a": [{"b": [1, {"c": {}}]}, []], "d": {"e": {"f": "g"}}}


def containers(value: object):
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from containers(inner)
    elif isinstance(value, list | tuple):
        yield value
        for inner in value:
            yield from containers(inner)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda claims: claims.payload, id="payload"),
        pytest.param(lambda claims: claims.get("custom"), id="get"),
        pytest.param(lambda claims: claims.actor, id="actor"),
    ],
)
def test_every_container_is_read_only(read, make_claims):
    found = list(containers(read(make_claims(custom=NESTED, act=NESTED))))
    assert len(found) >= len(list(containers(NESTED)))
    for container in found:
        assert not isinstance(container, list | dict)
        with pytest.raises(TypeError):
            container["x" if isinstance(container, Mapping) else 0] = "changed"
        with pytest.raises(AttributeError):
            container.clear()


def test_no_attribute_can_be_set_or_deleted(make_claims):
    claims = make_claims()
    for name in (*ATTRIBUTES, "payload", "new"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(claims, name, "changed")
        with pytest.raises((AttributeError, TypeError)):
            delattr(claims, name)
    assert claims.user_id == "user_1"


def test_organization_cannot_be_changed(make_claims):
    organization = make_claims(o={"id": "org_1", "rol": "member"}).organization
    with pytest.raises((AttributeError, TypeError)):
        organization.role = "org:admin"
    assert isinstance(organization.permissions, tuple)


def test_repr_names_the_session_and_no_other_claim(make_claims):
    claims = make_claims(email="canary@mail.test", act={"sub": "user_admin"}, o={"id": "org_1"})
    for text in (repr(claims), str(claims), f"{claims}"):
        assert "user_1" in text
        assert not [word for word in ("canary", "email", "user_admin", "org_1") if word in text]


def test_claims_survive_a_trip_to_another_process(make_claims):
    claims = make_claims(custom=NESTED, fea="o:a", o={"id": "org_1", "per": "r", "fpm": "1"})
    again = pickle.loads(pickle.dumps(claims))
    assert read_everything(again) == read_everything(claims)


# Version 1: flat claims.


def test_organization_of_version_1(make_claims):
    claims = make_claims(
        v=ABSENT,
        org_id="org_1",
        org_slug="acme",
        org_role="org:admin",
        org_permissions=["org:reports:read", "org:reports:manage"],
    )
    permissions = ("org:reports:read", "org:reports:manage")
    assert claims.organization == Organization("org_1", "acme", "org:admin", permissions)


def test_version_1_has_no_features_and_no_version_2_organization(make_claims):
    claims = make_claims(v=ABSENT, o={"id": "org_1", "rol": "admin"}, fea="o:reports", pla="o:pro")
    assert claims.organization is None
    assert (claims.features, claims.plans) == ((), ())


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        pytest.param(ABSENT, (), id="absent"),
        pytest.param(None, (), id="null"),
        pytest.param("org:reports:read", (), id="text"),
        pytest.param({"org:reports:read": True}, (), id="object"),
        pytest.param([], (), id="empty"),
        pytest.param(["a", 1, None, ["b"], {}, "", "c d", "e"], ("a", "e"), id="some-malformed"),
    ],
)
def test_malformed_permissions_of_version_1_grant_nothing(permissions, expected, make_claims):
    claims = make_claims(v=ABSENT, org_id="org_1", org_permissions=permissions)
    assert claims.organization.permissions == expected


def test_role_without_an_organization_is_none_in_version_1(make_claims):
    claims = make_claims(v=ABSENT, org_role="org:admin", org_permissions=["org:reports:read"])
    assert claims.organization is None


# Version 2: the compact claims.


def test_organization_of_version_2(make_claims):
    claims = make_claims(
        fea="o:dashboard,o:teams",
        o={"id": "org_1", "slg": "acme", "rol": "admin", "per": "manage,read", "fpm": "3,2"},
    )
    permissions = ("org:dashboard:manage", "org:dashboard:read", "org:teams:read")
    assert claims.organization == Organization("org_1", "acme", "org:admin", permissions)


@pytest.mark.parametrize("role", ["admin", "org:admin"])
@pytest.mark.parametrize("version", [1, 2])
def test_role_has_its_prefix_in_both_versions(role, version, make_claims):
    claims = (
        make_claims(o={"id": "org_1", "rol": role})
        if version == 2
        else make_claims(v=1, org_id="org_1", org_role=role)
    )
    assert claims.organization.role == "org:admin"


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({}, id="without-an-organization"),
        pytest.param({"o": None}, id="null"),
        pytest.param({"o": {}}, id="empty"),
        pytest.param({"o": {"rol": "admin"}}, id="without-an-id"),
        pytest.param({"o": [{"id": "org_1"}]}, id="list"),
    ],
)
def test_flat_claims_never_forge_an_organization_of_version_2(forged, make_claims):
    flat = {"org_id": "org_1", "org_role": "org:admin", "org_permissions": ["org:reports:read"]}
    assert make_claims(v=2, **flat, **forged).organization is None


def test_flat_claims_add_nothing_to_an_organization_of_version_2(make_claims):
    claims = make_claims(
        o={"id": "org_1"},
        org_id="org_2",
        org_slug="other",
        org_role="org:admin",
        org_permissions=["org:reports:read"],
    )
    assert claims.organization == Organization("org_1", None, None, ())


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        pytest.param("o:reports", ("o:reports",), id="organization"),
        pytest.param("u:beta", ("u:beta",), id="user"),
        pytest.param("ou:a,uo:b", ("ou:a", "uo:b"), id="both"),
        pytest.param(" o:a , u:b ", ("o:a", "u:b"), id="blanks-around"),
        pytest.param("reports", (), id="without-a-scope"),
        pytest.param("x:a,oo:b,O:c,:d,uou:e", (), id="unknown-scopes"),
        pytest.param("o:,o: a,o:b c", (), id="without-a-name"),
        pytest.param("o:a,,u:b,", ("o:a", "u:b"), id="empty-entries"),
        pytest.param("", (), id="empty"),
        pytest.param(ABSENT, (), id="absent"),
        pytest.param(None, (), id="null"),
        pytest.param(["o:a"], (), id="list"),
        pytest.param({"o": "a"}, (), id="object"),
        pytest.param(1, (), id="number"),
    ],
)
def test_features_and_plans_keep_their_scope(claim, expected, make_claims):
    assert make_claims(fea=claim).features == expected
    assert make_claims(pla=claim).plans == expected


# Clerk, "Session tokens"; Clerk's Python and Go SDKs count positions in the whole of `fea`.
@pytest.mark.parametrize(
    ("features", "names", "masks", "expected"),
    [
        pytest.param(
            "o:dashboard,o:teams",
            "manage,read",
            "3,2",
            ["dashboard:manage", "dashboard:read", "teams:read"],
            id="documented-example",
        ),
        pytest.param(
            "o:repositories,uo:projects,u:goldprofileborder",
            "read,create,update,delete,revoke",
            "7,21,0",
            [
                "repositories:read",
                "repositories:create",
                "repositories:update",
                "projects:read",
                "projects:update",
                "projects:revoke",
            ],
            id="feature-of-both",
        ),
        pytest.param(
            "u:gold,o:repos,o:billing",
            "read,manage",
            "0,3,0",
            ["repos:read", "repos:manage"],
            id="position-in-all-features",
        ),
        pytest.param("u:gold,o:repos", "read", "1,0", [], id="bits-of-a-user-feature"),
        pytest.param("x:a,reports,o:b", "read", "1,1,1", ["b:read"], id="malformed-features-count"),
        pytest.param("oo:a,xo:b,o:c", "read", "1,1,1", ["c:read"], id="unknown-scopes-with-an-o"),
        pytest.param(",o:b", "read", "0,1", ["b:read"], id="empty-features-count"),
        pytest.param("o:a,o:b", "r,w", "1", ["a:r"], id="fewer-masks"),
        pytest.param("o:a", "r,w", "1,3", ["a:r"], id="more-masks"),
        pytest.param("o:a", "r,w", "0", [], id="no-bit"),
        pytest.param("o:a", "r,w", "4", [], id="bit-past-the-names"),
        pytest.param("o:a", "r,w", "7", ["a:r", "a:w"], id="more-bits-than-names"),
        pytest.param("o:a", "r,,w", "7", ["a:r", "a:w"], id="empty-names-count"),
        pytest.param("o:a", "r,w x,d", "7", ["a:r", "a:d"], id="blank-in-a-name"),
        pytest.param(" o:a , o:b ", " r , w ", " 1 , 2 ", ["a:r", "b:w"], id="blanks-around"),
        pytest.param("o:a,o:b", "r,w", "-1,1", ["b:r"], id="negative"),
        pytest.param("o:a,o:b", "r,w", "+1,1", ["b:r"], id="signed"),
        pytest.param("o:a,o:b", "r,w", "1.0,1", ["b:r"], id="fraction"),
        pytest.param("o:a,o:b", "r,w", "0x1,1", ["b:r"], id="hexadecimal"),
        pytest.param("o:a,o:b", "r,w", "1_0,1", ["b:r"], id="underscore"),
        pytest.param("o:a,o:b", "r,w", "١,1", ["b:r"], id="other-digits"),
        pytest.param("o:a,o:b", "r,w", "²,1", ["b:r"], id="superscript"),
        pytest.param("o:a,o:b", "r,w", ",1", ["b:r"], id="empty-mask"),
        pytest.param("o:a,o:b", "r,w", "9" * 5000 + ",1", ["b:r"], id="mask-of-5000-digits"),
        pytest.param("o:a", "r,w", "0001", ["a:r"], id="leading-zeros"),
        pytest.param("o:a", "r,w", "", [], id="no-masks"),
        pytest.param("o:a", "", "1", [], id="no-names"),
        pytest.param("", "r", "1", [], id="no-features"),
        pytest.param(None, "r", "1", [], id="features-null"),
        pytest.param("o:a", None, "1", [], id="names-null"),
        pytest.param("o:a", ["r"], "1", [], id="names-list"),
        pytest.param("o:a", "r", 1, [], id="mask-number"),
        pytest.param("o:a", "r", [1], [], id="mask-list"),
        pytest.param("o:a", "r", None, [], id="mask-null"),
        pytest.param(["o:a"], "r", "1", [], id="features-list"),
    ],
)
def test_permissions_of_version_2(features, names, masks, expected, make_claims):
    claims = make_claims(fea=features, o={"id": "org_1", "per": names, "fpm": masks})
    assert claims.organization.permissions == tuple(f"org:{name}" for name in expected)


@pytest.mark.parametrize("bit", [52, 53, 54, 63, 64, 65, 200])
def test_mask_may_be_wider_than_a_machine_word(bit, make_claims):
    names = ",".join(f"p{number}" for number in range(bit + 2))
    claims = make_claims(fea="o:a", o={"id": "org_1", "per": names, "fpm": str(1 << bit | 1)})
    assert claims.organization.permissions == ("org:a:p0", f"org:a:p{bit}")


# Optional claims that are malformed.

JUNK = [None, True, 0, -1, 1.5, "", " ", "\ud800", "\u202eorg_1", [], [None], [[]], {}, {"id": {}}]


@pytest.mark.parametrize(("version", "claim"), [(1, "org_id"), (2, "o")])
def test_malformed_organization_is_none(version, claim, make_claims):
    rest = {"v": version, "org_role": "org:admin", "fea": "o:a"}
    for junk in JUNK:
        assert make_claims(**rest, **{claim: junk}).organization is None, junk


def test_malformed_id_of_an_organization_is_none(make_claims):
    for junk in JUNK:
        assert make_claims(o={"id": junk, "rol": "admin"}).organization is None, junk


def test_malformed_parts_of_an_organization_are_none(make_claims):
    for junk in JUNK:
        flat = {"org_slug": junk, "org_role": junk, "org_permissions": [junk, junk]}
        parts = {"slg": junk, "rol": junk, "per": junk, "fpm": junk}
        bare = Organization("org_1", None, None, ())
        assert make_claims(v=1, org_id="org_1", **flat).organization == bare, junk
        assert make_claims(v=2, fea=junk, o={"id": "org_1", **parts}).organization == bare, junk


@pytest.mark.parametrize("version", [1, 2])
def test_malformed_optional_claims_raise_nothing(version, make_claims):
    names = ["o", "fea", "pla", "fva", "org_id", "org_slug", "org_role", "org_permissions", "x"]
    for junk in JUNK:
        values = read_everything(make_claims(v=version, **dict.fromkeys(names, junk)))
        assert values["organization"] is None, junk
        assert (values["features"], values["plans"], values["factor_ages"]) == ((), (), None), junk


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        pytest.param([0, -1], (0, -1), id="second-not-enrolled"),
        pytest.param([-1, -1], (-1, -1), id="none-enrolled"),
        pytest.param([5, 1440], (5, 1440), id="both"),
        pytest.param([0.5, 2.0], (0.5, 2.0), id="fractions"),
        pytest.param([-1.0, 0], (-1.0, 0), id="minus-one-as-a-float"),
        pytest.param([0, -0.5], None, id="between-minus-one-and-zero"),
        pytest.param([-2, 0], None, id="below-minus-one"),
        pytest.param([0], None, id="one"),
        pytest.param([0, 0, 0], None, id="three"),
        pytest.param([], None, id="empty"),
        pytest.param(["0", 0], None, id="text"),
        pytest.param([True, 0], None, id="boolean"),
        pytest.param([0, None], None, id="null-inside"),
        pytest.param([[0], 0], None, id="list-inside"),
        pytest.param(None, None, id="null"),
        pytest.param("0,1", None, id="text-alone"),
        pytest.param({"0": 0, "1": 1}, None, id="object"),
        pytest.param(ABSENT, None, id="absent"),
    ],
)
def test_factor_ages_are_two_numbers_or_none(ages, expected, make_claims):
    assert make_claims(fva=ages).factor_ages == expected


def test_actor_is_who_impersonates(make_claims):
    assert make_claims(act={"sub": "user_admin"}).actor == {"sub": "user_admin"}


def test_actor_is_none_when_nobody_impersonates(make_claims):
    assert make_claims(act=ABSENT).actor is None


@pytest.mark.parametrize(
    "actor", [None, {}, [], "", "user_admin", 0, False, [{"sub": "user_admin"}]]
)
def test_malformed_actor_is_somebody(actor, make_claims):
    found = make_claims(act=actor).actor
    assert found is not None
    assert found == {}


# What counts as an id, and as a number.


def test_identifier_is_visible_text():
    clerks = "user_2GIpXOEpVyJw51rkZn9Kmnc6Sxr"
    for value in ("u", clerks, "a:b/c-d.e+f@g", "é", "名前", "😀", "x" * 255, "é" * 255):
        assert is_identifier(value), value


INVISIBLE = [
    "\0",  # nul
    "\t",  # tab
    "\n",  # newline
    "\r",  # carriage return
    "\x1b",  # escape
    " ",  # blank
    "\x7f",  # delete
    "\x85",  # next line
    "\xa0",  # no break space
    "\xad",  # soft hyphen
    "\u061c",  # arabic letter mark
    "\u2003",  # em space
    "\u200b",  # zero width space
    "\u200d",  # zero width joiner
    "\u200f",  # right to left mark
    "\u2028",  # line separator
    "\u2029",  # paragraph separator
    "\u202a",  # left to right embedding
    "\u202e",  # right to left override
    "\u2066",  # left to right isolate
    "\u2069",  # pop isolate
    "\u3000",  # ideographic space
    "\ufeff",  # byte order mark
    "\U000e0041",  # tag
    "\ud800",  # high surrogate
    "\udfff",  # low surrogate
]


def test_identifier_holds_nothing_blank_or_invisible():
    for character in INVISIBLE:
        for around in ("{}user", "us{}er", "user{}", "é{}", "{}"):
            assert not is_identifier(around.format(character)), ascii(character)


@pytest.mark.parametrize(
    ("length", "is_one"), [(0, False), (1, True), (254, True), (255, True), (256, False)]
)
def test_identifier_has_1_to_255_characters(length, is_one):
    assert is_identifier("x" * length) is is_one
    assert is_identifier("é" * length) is is_one


def test_identifier_is_text():
    assert not any(map(is_identifier, [None, True, 0, 1, 1.5, b"user", ["user"], {"user": 1}]))
