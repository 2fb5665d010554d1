"""Two Clerk instances in one project: whose view takes whose token, and who pays for what."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from clerk_auth import metrics, signals
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.conf import Config, get_aliases, read_configs
from clerk_auth.conf.aliases import RESERVED
from clerk_auth.conf.declarations import INHERITED, OWN, PROCESS, declared
from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.errors import ClaimInvalid, TokenRejected, UserInactive, UserUnknown
from clerk_auth.permissions import HasRole, IsOfInstance, IsOwner
from clerk_auth.users import ClerkUser
from clerk_auth.verifier import choose_instance, get_verifier
from tests.conftest import PARTY
from tests.issuer_server import IssuerServer
from tests.tenants import STAFF_PARTY, change_staff, serve_staff
from tests.test_docs import blocks, read

pytestmark = pytest.mark.integration

ALICE = "user_alice"
factory = APIRequestFactory()


class Staff(ClerkAuthentication):
    instance = "staff"


class Anybody(ClerkAuthentication):
    instances = ("default", "staff")


class AnybodyStaffFirst(ClerkAuthentication):
    instances = ("staff", "default")


class WhoAmI(APIView):
    authentication_classes = [ClerkAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request):
        return Response({"user": request.user.pk, "instance": request.auth.instance})


class ForStaff(WhoAmI):
    authentication_classes = [Staff]


class ForAnybody(WhoAmI):
    authentication_classes = [Anybody]


class ForAnybodyStaffFirst(WhoAmI):
    authentication_classes = [AnybodyStaffFirst]


def call(view, token: str | None = None, **attributes):
    extra = {} if token is None else {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    return view.as_view(**attributes)(factory.get("/", **extra)).render()


def verdict(view, token: str | None = None, **attributes):
    """Return whose token it is, or the code of the refusal."""
    response = call(view, token, **attributes)
    found = response.data
    return found["instance"] if response.status_code == 200 else found.get("code")


@pytest.fixture
def staff_server(configured, settings) -> Iterator[IssuerServer]:
    """Another instance, whose key has the id that the key of the first one has."""
    with serve_staff(settings, REALM="staff") as server:
        yield server


@pytest.fixture
def customer(staff_server, issuer_server) -> str:
    return issuer_server.signer.token(ALICE, azp=PARTY)


@pytest.fixture
def staff(staff_server) -> str:
    return staff_server.signer.token(ALICE, azp=STAFF_PARTY)


def test_keys_of_both_have_one_id(issuer_server, staff_server):
    assert issuer_server.signer.kid == staff_server.signer.kid


@pytest.mark.parametrize(
    ("view", "whose", "expected"),
    [
        (WhoAmI, "customer", "default"),
        (WhoAmI, "staff", "signature_invalid"),
        (ForStaff, "customer", "signature_invalid"),
        (ForStaff, "staff", "staff"),
        (ForAnybody, "customer", "default"),
        (ForAnybody, "staff", "staff"),
        (ForAnybodyStaffFirst, "customer", "default"),
        (ForAnybodyStaffFirst, "staff", "staff"),
    ],
)
def test_token_opens_the_views_of_its_own_instance(request, view, whose, expected):
    token = request.getfixturevalue(whose)
    assert [verdict(view, token) for _ in range(2)] == [expected] * 2, "and again from the cache"


def test_token_that_one_instance_has_verified_is_as_new_to_the_other(customer, staff):
    """The laxer door first: nothing that one verifier remembers counts at another."""
    assert (verdict(ForAnybody, customer), verdict(ForAnybody, staff)) == ("default", "staff")
    assert verdict(ForStaff, customer) == verdict(WhoAmI, staff) == "signature_invalid"


def test_each_instance_fetches_its_own_keys_once(customer, staff, issuer_server, staff_server):
    for _ in range(2):
        verdict(ForAnybody, customer)
    assert (issuer_server.fetches, staff_server.fetches) == (1, 0)
    for _ in range(2):
        verdict(ForAnybody, staff)
    assert (issuer_server.fetches, staff_server.fetches) == (1, 1)


def test_second_process_takes_each_set_from_its_own_document(customer, staff, issuer_server):
    """Both share one cache; a document of one is never the other's."""
    assert verdict(ForAnybody, customer) == "default"
    before = get_verifier().source.status().keys
    assert verdict(ForAnybody, staff) == "staff"
    assert get_verifier().source.status().keys == before
    assert get_verifier("staff").source.status().keys != before


# Tokens that mix two instances, or name none


# What each is: who signs it, and its claims; with what a view for either answers that asks default
# first, and staff first.
CROSSED = {
    "key of default, issuer of staff": (
        lambda ours, theirs: ours.token(ALICE, azp=STAFF_PARTY, iss=theirs.issuer),
        ("signature_invalid", "signature_invalid"),
    ),
    "key of staff, issuer of default": (
        lambda ours, theirs: theirs.token(ALICE, azp=PARTY, iss=ours.issuer),
        ("signature_invalid", "signature_invalid"),
    ),
    "party of default": (
        lambda ours, theirs: theirs.token(ALICE, azp=PARTY),
        ("party_not_allowed", "party_not_allowed"),
    ),
    "party of staff": (
        lambda ours, theirs: ours.token(ALICE, azp=STAFF_PARTY),
        ("party_not_allowed", "party_not_allowed"),
    ),
    # Of none: the first judges, which has the key or has not.
    "issuer of neither": (
        lambda ours, theirs: ours.token(ALICE, azp=PARTY, iss="https://clerk.other.example"),
        ("issuer_not_allowed", "signature_invalid"),
    ),
    "no issuer": (
        lambda ours, theirs: ours.token(ALICE, azp=PARTY, iss=None),
        ("issuer_not_allowed", "signature_invalid"),
    ),
    "issuer in a list": (
        lambda ours, theirs: ours.token(ALICE, azp=PARTY, iss=[theirs.issuer]),
        ("issuer_not_allowed", "signature_invalid"),
    ),
}


@pytest.mark.parametrize("kind", CROSSED)
def test_crossed_token_is_refused(issuer_server, staff_server, kind):
    make, expected = CROSSED[kind]
    token = make(issuer_server.signer, staff_server.signer)
    assert (verdict(ForAnybody, token), verdict(ForAnybodyStaffFirst, token)) == expected


@pytest.mark.parametrize("view", [ForAnybody, ForAnybodyStaffFirst])
@pytest.mark.parametrize("kind", CROSSED)
def test_no_token_makes_more_than_one_instance_fetch(issuer_server, staff_server, kind, view):
    token = CROSSED[kind][0](issuer_server.signer, staff_server.signer)
    verdict(view, token)
    fetches = sorted([issuer_server.fetches, staff_server.fetches])
    # The set, and one look for another key under its id.
    assert fetches in ([0, 1], [0, 2])


def unreadable(token: str) -> dict[str, str]:
    header, payload, signature = token.split(".")
    deep = b'{"iss":' + b"[" * 1000 + b"]" * 1000 + b"}"
    twice = encode_base64url(b'{"iss":"a","iss":"b"}')
    return {
        "not base64url": f"{header}.!{payload}.{signature}",
        "not JSON": f"{header}.{encode_base64url(b'iss')}.{signature}",
        "not an object": f"{header}.{encode_base64url(b'[]')}.{signature}",
        "nested": f"{header}.{encode_base64url(deep)}.{signature}",
        "two issuers": f"{header}.{twice}.{signature}",
        "empty": f"{header}..{signature}",
        "one part": payload,
        "five parts": f"{header}.{payload}.a.b.{signature}",
        "too long": f"{header}.{payload}{'A' * 20_000}.{signature}",
        "opaque": "ak_" + "x" * 40,
    }


@pytest.mark.parametrize(
    ("view", "alias"), [(ForAnybody, "default"), (ForAnybodyStaffFirst, "staff")]
)
@pytest.mark.parametrize("kind", list(unreadable("a.b.c")))
def test_unreadable_token_is_judged_by_the_first(
    staff, kind, view, alias, issuer_server, staff_server
):
    token = unreadable(staff)[kind]
    code = verdict(view, token)
    with pytest.raises(TokenRejected) as caught:
        get_verifier(alias).check(token)
    assert code == caught.value.code
    assert metrics.totals()[metrics.REFUSED, code, "enforce", alias] == 1
    assert min(issuer_server.fetches, staff_server.fetches) == 0


def test_outage_of_one_leaves_the_other(customer, staff, staff_server):
    staff_server.stop()
    response = call(ForAnybody, staff)
    assert (response.status_code, response.data["code"]) == (503, "keys_unavailable")
    assert verdict(ForAnybody, customer) == "default"


# Who the user is


def test_equal_ids_are_different_users(customer, staff):
    customer_claims = get_verifier().check(customer)
    staff_claims = get_verifier("staff").check(staff)
    assert customer_claims.user_id == staff_claims.user_id == ALICE
    assert (customer_claims.user_key, staff_claims.user_key) == (ALICE, f"staff:{ALICE}")
    ours, theirs = ClerkUser(customer_claims), ClerkUser(staff_claims)
    assert ours != theirs
    assert len({ours, theirs, ClerkUser(staff_claims)}) == 2
    assert (theirs.pk, theirs.id, theirs.get_username()) == (f"staff:{ALICE}",) * 3
    throttle = UserRateThrottle.__new__(UserRateThrottle)
    throttle.rate, throttle.scope = "1/s", "user"
    keys = [
        throttle.get_cache_key(type("Request", (), {"user": user})(), None)
        for user in (ours, theirs)
    ]
    assert keys[0] != keys[1]
    assert pickle.loads(pickle.dumps(staff_claims)).user_key == f"staff:{ALICE}"


@pytest.mark.parametrize("user_id", ["staff:user_alice", "user:alice", ":", "default:user_alice"])
def test_user_id_with_a_colon_is_refused(staff_server, issuer_server, user_id):
    token = issuer_server.signer.token(user_id, azp=PARTY)
    with pytest.raises(ClaimInvalid) as caught:
        get_verifier().check(token)
    assert (caught.value.claim, caught.value.reason) == ("sub", "malformed")


def test_user_id_with_a_colon_is_accepted_by_a_single_instance(configured, issuer_server):
    token = issuer_server.signer.token("staff:user_alice", azp=PARTY)
    assert get_verifier().check(token).user_key == "staff:user_alice"


def test_owner_of_one_instance_is_not_of_the_other(customer, staff):
    class Owned(ForAnybody):
        permission_classes = [IsOwner("owner_id")]

        def get(self, request):
            thing = type("Thing", (), {"owner_id": ALICE})()
            self.check_object_permissions(request, thing)
            return super().get(request)

    assert verdict(Owned, customer) == "default"
    assert verdict(Owned, staff) == "ownership_required"


def test_role_of_one_instance_opens_no_view_of_the_other(issuer_server, staff_server):
    organization = {"o": {"id": "org_1", "rol": "admin"}}
    customer = issuer_server.signer.token(ALICE, azp=PARTY, **organization)
    staff = staff_server.signer.token(ALICE, azp=STAFF_PARTY, **organization)
    admins = [HasRole("org:admin")]
    assert verdict(ForAnybody, customer, permission_classes=admins) == "default"
    admins_of_staff = [IsOfInstance("staff") & HasRole("org:admin")]
    assert verdict(ForAnybody, staff, permission_classes=admins_of_staff) == "staff"
    refused = verdict(ForAnybody, customer, permission_classes=admins_of_staff)
    assert refused == "instance_required"
    others = [~IsOfInstance("staff")]
    assert verdict(ForAnybody, customer, permission_classes=others) == "default"
    assert verdict(ForAnybody, staff, permission_classes=others) == "permission_denied"


@pytest.mark.parametrize("alias", ["", "a b", None, 1, "staff-eu"])
def test_instance_of_a_permission_is_an_identifier(alias):
    with pytest.raises(ValueError, match="alias"):
        IsOfInstance(alias)


def staff_member(claims):
    if claims.user_id == "user_gone":
        raise UserInactive("inactive")
    return ClerkUser(claims)


def test_users_are_resolved_as_their_own_instance_says(settings, issuer_server, staff_server):
    change_staff(settings, USER_RESOLVER=f"{__name__}.staff_member")
    customer = issuer_server.signer.token("user_gone", azp=PARTY)
    staff = staff_server.signer.token("user_gone", azp=STAFF_PARTY)
    assert verdict(ForAnybody, customer) == "default"
    assert verdict(ForAnybody, staff) == "user_inactive"
    assert metrics.totals()[metrics.REFUSED, "user_inactive", "enforce", "staff"] == 1


# Which policy


def test_challenge_is_of_the_instance_that_judged(customer, staff):
    def realm(view, token=None):
        return call(view, token)["WWW-Authenticate"].split(",")[0]

    assert realm(WhoAmI) == realm(ForAnybody) == 'Bearer realm="api"'
    assert realm(ForStaff) == realm(ForAnybodyStaffFirst) == 'Bearer realm="staff"'
    assert realm(ForAnybody, f"{staff}x") == 'Bearer realm="staff"'
    assert realm(ForAnybodyStaffFirst, f"{customer}x") == 'Bearer realm="api"'


def test_longest_token_of_any_instance_is_read(settings, staff_server):
    change_staff(settings, MAX_TOKEN_BYTES=40_000)
    token = staff_server.signer.token(ALICE, azp=STAFF_PARTY, about="x" * 20_000)
    assert verdict(ForAnybody, token) == "staff"


def test_instance_that_is_not_there_is_a_misconfiguration(staff_server):
    class Unknown(ClerkAuthentication):
        instance = "nowhere"

    class AlsoUnknown(ClerkAuthentication):
        instances = ("default", "nowhere")

    for cls in (Unknown, AlsoUnknown):
        with pytest.raises(ImproperlyConfigured, match=r"'nowhere'.*default, staff"):
            call(WhoAmI, "a.b.c", authentication_classes=[cls])


def test_choice_verifies_nothing_and_needs_no_key(customer, staff, issuer_server, staff_server):
    aliases = get_aliases()
    assert [choose_instance(token, aliases) for token in (customer, staff)] == list(aliases)
    assert choose_instance(staff, ["default"]) == "default"
    assert issuer_server.fetches == staff_server.fetches == 0


# Observing one, enforcing the other


@pytest.fixture
def observing_staff(settings, staff_server) -> None:
    change_staff(settings, MODE="observe")


def test_one_observes_while_the_other_enforces(observing_staff, issuer_server, staff_server):
    customer = issuer_server.signer.token(ALICE, azp=PARTY)
    staff = staff_server.signer.token(ALICE, azp=STAFF_PARTY)
    get_verifier("staff").check(staff)  # an observing request waits for no key
    anyone = {"permission_classes": [AllowAny]}

    class Seen(ForAnybody):
        def get(self, request):
            return Response({"instance": getattr(request.auth, "instance", None)})

    assert verdict(Seen, customer, **anyone) == "default"
    assert verdict(Seen, staff, **anyone) is None
    assert verdict(Seen, f"{customer}x", **anyone) == "token_malformed"
    assert call(Seen, f"{staff}x", **anyone).status_code == 200
    totals = metrics.totals()
    assert totals[metrics.VERIFIED, "enforce", "default"] == 1
    assert totals[metrics.VERIFIED, "observe", "staff"] == 1
    assert totals[metrics.REFUSED, "token_malformed", "observe", "staff"] == 1


def test_class_that_observes_leaves_the_challenge_to_the_one_that_enforces(observing_staff):
    class Both(WhoAmI):
        authentication_classes = [Staff, ClerkAuthentication]

    response = call(Both)
    assert (response.status_code, response["WWW-Authenticate"]) == (401, 'Bearer realm="api"')


def test_observing_class_raises_nothing_while_the_settings_are_wrong(settings, observing_staff):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "LEEWAY_SECONDS": "five"}
    attributes = {"permission_classes": [AllowAny], "authentication_classes": [AnybodyStaffFirst]}

    class Quiet(WhoAmI):
        def get(self, request):
            return Response({})

    for token in (None, "a.b.c", "x"):
        assert call(Quiet, token, **attributes).status_code == 200
    with pytest.raises(ImproperlyConfigured):
        call(Quiet, "a.b.c", permission_classes=[AllowAny], authentication_classes=[Anybody])


# What tells them apart for an operator


def test_metrics_logs_and_signals_name_the_instance(customer, staff, caplog):
    caplog.set_level(logging.INFO, "clerk_auth")
    refused = []
    connect = signals.token_rejected.connect
    connect(receiver := lambda **facts: refused.append(facts["instance"]), weak=False)
    try:
        verdict(ForAnybody, staff)
        verdict(ForAnybody, f"{staff}x")
        verdict(ForAnybody, f"{customer}x")
    finally:
        signals.token_rejected.disconnect(receiver)
    assert refused == ["staff", "default"]
    named = [record.instance for record in caplog.records if hasattr(record, "instance")]
    assert named == ["staff", "staff", "default"], "keys that changed, and two refusals"
    assert f"JWT signature verified for user staff:{ALICE}" in caplog.messages
    totals = metrics.totals()
    assert totals[metrics.MISSES, "staff"] == 1
    assert totals[metrics.FETCHED_AT, "staff"] > 0
    assert totals[metrics.FETCHED_AT, "default"] == 0


def test_one_instance_has_no_label(configured, issuer_server):
    get_verifier().verify(issuer_server.signer.token(ALICE, azp=PARTY))
    totals = metrics.totals()
    assert totals[metrics.VERIFIED, "enforce"] == 1
    assert not [series for series in totals if "default" in series]
    with override_settings(CLERK_AUTH={"FRONTEND_API": "clerk.example.com", "INSTANCES": {}}):
        assert metrics.totals() == totals


# What the page says


PAGE = read("instances.md")


def python(opening: str) -> dict:
    """Run the block of the page that begins so; return what it defines."""
    (block,) = [block for block in blocks(PAGE, "python") if block.startswith(opening)]
    names: dict = {}
    exec(block, names)
    return names


def test_settings_of_the_page_are_two_instances():
    configs = read_configs(python("CLERK_AUTH")["CLERK_AUTH"], debug=False)
    assert [*configs] == ["default", "staff"]
    assert configs["staff"].issuers == ("https://clerk.staff.example.com",)


def test_classes_of_the_page_take_what_it_says(customer, staff):
    classes = python("from clerk_auth.authentication")
    of_staff, of_anybody = classes["StaffAuthentication"], classes["AnybodyAuthentication"]
    assert verdict(WhoAmI, staff, authentication_classes=[of_staff]) == "staff"
    assert verdict(WhoAmI, customer, authentication_classes=[of_anybody]) == "default"
    both = [of_staff, ClerkAuthentication]
    assert verdict(WhoAmI, customer, authentication_classes=both) == "signature_invalid"


@pytest.mark.parametrize(
    ("scope", "row"), [(INHERITED, "inherited"), (OWN, "never"), (PROCESS, "of the whole process")]
)
def test_page_lists_what_is_inherited(scope, row):
    keys = [key for key, (_, setting) in declared(Config).items() if setting.scope == scope]
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row}")]
    assert sorted(re.findall(r"`([A-Z_]+)`", line)) == sorted(keys)


def test_page_lists_the_reserved_aliases():
    (line,) = [line for line in PAGE.splitlines() if line.startswith("An alias is an identifier")]
    text = PAGE[PAGE.index(line) :].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", text)) == RESERVED


@pytest.mark.django_db
@override_settings(AUTH_USER_MODEL="accounts.Member")
def test_resolver_of_the_page_finds_the_row_of_the_old_instance(staff_server):
    moved_user = python("from django.contrib.auth")["moved_user"]
    rows = get_user_model().objects
    row = rows.create(username="alice", clerk_id=ALICE)

    def resolve(**claims):
        token = staff_server.signer.token("user_new", azp=STAFF_PARTY, **claims)
        return moved_user(get_verifier("staff").check(token))

    assert resolve(external_id=ALICE) == row
    for claims in ({}, {"external_id": ""}, {"external_id": None}, {"external_id": "user_new"}):
        with pytest.raises(UserUnknown):
            resolve(**claims)
    rows.update(is_active=False)
    with pytest.raises(UserInactive):
        resolve(external_id=ALICE)
