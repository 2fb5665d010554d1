"""Observe mode: what it counts and logs, and that no response shows it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
    TokenAuthentication,
)
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from clerk_auth import metrics, signals
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.conf import ENFORCE, OBSERVE
from clerk_auth.core.errors import CODES
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.verifier import get_verifier
from tests.conftest import ISSUER, PARTY
from tests.issuer_server import IssuerServer, answer

pytestmark = pytest.mark.integration

factory = APIRequestFactory(enforce_csrf_checks=True)

GARBAGE = (
    *("", "Bearer", "Bearer ", "Bearer a b", "Bearer\ta.b.c", "Bearer ..", "Bearer \ud800", "abc"),
    *("Basic abc, Bearer a.b.c", "Basic dXNlcjpwYXNz", "Basic %%%", "Token abc", "Token bad"),
    *("Bearer é", "Bearer a\x00b", "Bearer " + "a" * 20_000, "Bearer " + "." * 10_000),
)


class User:
    is_active = is_authenticated = True

    def __init__(self, name: str) -> None:
        self.name = self.pk = name

    def __str__(self) -> str:
        return self.name


class OurSubclass(ClerkAuthentication):
    """A project's own, which changes nothing."""


class Basic(BasicAuthentication):
    def authenticate_credentials(self, userid, password, request=None):
        return User(userid), None


class Token(TokenAuthentication):
    def authenticate_credentials(self, key):
        if key == "bad":
            raise AuthenticationFailed("Invalid token.")
        return User("of a token"), key


class UnverifiedBearer(BaseAuthentication):
    """What is replaced: it believes whatever a token says."""

    def authenticate(self, request):
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme != "Bearer":
            return None
        if token.count(".") != 2:
            raise AuthenticationFailed("Old refusal.")
        return User("of an old token"), token[:8]

    def authenticate_header(self, request):
        return 'Bearer realm="old"'


class Remembering(BaseAuthentication):
    """Its challenge is that of an instance which has authenticated nobody."""

    seen = "nobody"

    def authenticate(self, request):
        self.seen = "somebody"

    def authenticate_header(self, request):
        return f"Remembering {self.seen}"


class Challengeless(BaseAuthentication):
    def authenticate(self, request):
        return None

    def authenticate_header(self, request):
        raise LookupError("a defect of the neighbour")


class Either(BaseAuthentication):
    """Asks ours on its own behalf."""

    def authenticate(self, request):
        return ClerkAuthentication().authenticate(request)

    def authenticate_header(self, request):
        return ClerkAuthentication().authenticate_header(request)


NEIGHBOURS: tuple[tuple[type[BaseAuthentication], ...], ...] = (
    (SessionAuthentication,),
    (Basic,),
    (Token,),
    (UnverifiedBearer,),
    (Remembering,),
    (Challengeless,),
    (SessionAuthentication, UnverifiedBearer),
    (UnverifiedBearer, Basic, SessionAuthentication),
)


def with_ours(others: tuple[type, ...]) -> Iterator[tuple[type, ...]]:
    """Yield the lists of ``others`` with ours first, in the middle, last, twice and subclassed."""
    for place in range(len(others) + 1):
        for ours in ((ClerkAuthentication,), (OurSubclass,), (ClerkAuthentication, OurSubclass)):
            yield (*others[:place], *ours, *others[place:])
    yield (ClerkAuthentication, *others, ClerkAuthentication)


class Echo(APIView):
    def get(self, request):
        return Response({"user": str(request.user), "auth": str(request.auth)})

    post = get


Answer = tuple[Any, ...]


def ask(
    classes: tuple[type, ...],
    authorization: str | None,
    *,
    permission: type = IsAuthenticated,
    method: str = "get",
    session: bool = False,
) -> Answer:
    """Return status, headers and body of a response, or the exception that came instead."""
    view = Echo.as_view(authentication_classes=classes, permission_classes=[permission])
    extra = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
    request = getattr(factory, method)("/", **extra)
    if session:
        request.user = User("of a session")
    try:
        response = view(request).render()
    except Exception as error:
        return type(error), str(error)
    return response.status_code, sorted(response.items()), response.content


def all_tokens(server: IssuerServer) -> list[str]:
    """Return a good token and every bad one, of the claims that the settings ask for."""
    payload = server.signer.session_payload("user_1", azp=PARTY, aud="api")
    bad = [kind.make(server.signer, payload) for kind in BAD_TOKENS.values()]
    return [server.signer.sign(payload), *bad]


@pytest.fixture
def observing(settings, local_issuer):
    """Observe with a configured key: nothing is fetched."""
    settings.CLERK_AUTH = {
        "ISSUER": ISSUER,
        "JWT_KEY": local_issuer.public_pem,
        "AUTHORIZED_PARTIES": [PARTY],
        "MODE": "observe",
    }
    return settings


@pytest.fixture
def fetching(settings, configured) -> IssuerServer:
    """Observe with keys that are fetched."""
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "AUDIENCE": "api", "MODE": "observe"}
    return configured


@pytest.fixture
def good(local_issuer) -> str:
    return "Bearer " + local_issuer.token("user_1", azp=PARTY)


def counted() -> dict[tuple[str, ...], float]:
    """Return the counts of verdicts that are not 0, by name and labels."""
    names = (metrics.VERIFIED, metrics.REFUSED)
    return {series: n for series, n in metrics.totals().items() if series[0] in names and n}


def refused(code: str, count: int = 1) -> dict[tuple[str, ...], float]:
    return {(metrics.REFUSED, code, OBSERVE): count}


# Responses


def mismatches(headers: list[str | None]) -> list[str]:
    """Compare every list with ours against the same without, for each of ``headers``."""
    found = []
    shapes = list(product(headers, (IsAuthenticated, AllowAny), ("get", "post"), (False, True)))
    for others in NEIGHBOURS:
        expected = [
            ask(others, header, permission=permission, method=method, session=session)
            for header, permission, method, session in shapes
        ]
        for classes in with_ours(others):
            for (header, permission, method, session), without in zip(
                shapes, expected, strict=True
            ):
                with_us = ask(
                    classes, header, permission=permission, method=method, session=session
                )
                if with_us != without:
                    names = [cls.__name__ for cls in classes]
                    found.append(f"{names} {method} {header!r:.40}: {with_us} not {without}")
    return found


class TestNoTokenChangesAResponse:
    def test_of_a_process_with_keys(self, fetching):
        get_verifier().source.refresh()
        headers = [None, *GARBAGE, *(f"Bearer {token}" for token in all_tokens(fetching))]
        assert mismatches(headers) == []
        codes = {labels[0] for (name, *labels) in counted() if name == metrics.REFUSED}
        # The rest needs a user, or keys that cannot be had.
        of_users = {"user_inactive", "user_unknown"}
        assert codes | {"keys_busy"} == set(CODES) - of_users - {"keys_unavailable"}

    def test_of_a_process_without_keys(self, fetching):
        fetching.stop()
        good, forged, *_ = all_tokens(fetching)
        assert mismatches([None, f"Bearer {good}", f"Bearer {forged}", "Bearer a b"]) == []
        assert not [series for series in counted() if series[0] == metrics.VERIFIED]

    @pytest.mark.parametrize(
        "values",
        [
            pytest.param({"ISSUER": None, "JWKS_URL": None}, id="whose-tokens"),
            pytest.param({"LEEWAY_SECONDS": "many", "XYZZY": 1}, id="malformed"),
            pytest.param({"METRICS": [f"{__name__}.missing"]}, id="sink-that-is-not-there"),
            pytest.param({"CACHE_ALIAS": "missing"}, id="cache-that-is-not-there"),
            pytest.param({"USER_RESOLVER": f"{__name__}.missing"}, id="no-resolver"),
        ],
    )
    def test_under_broken_settings(self, values, fetching, settings):
        good = all_tokens(fetching)[0]
        settings.CLERK_AUTH = {**settings.CLERK_AUTH, **values}
        assert mismatches([None, f"Bearer {good}", "Bearer a b"]) == []

    def test_whatever_the_header_is(self, observing):
        # Here alone: it takes longer to import than the tests of this module to run.
        import hypothesis
        from hypothesis import strategies as st

        tokens = st.lists(st.text("abcAyJ.-_= \t,é\x00", max_size=40)).map("Bearer ".join)

        @hypothesis.settings(max_examples=50)
        @hypothesis.given(st.text(max_size=60) | tokens)
        def unchanged(header: str) -> None:
            for others in NEIGHBOURS:
                assert ask((ClerkAuthentication, *others), header) == ask(others, header)

        unchanged()


@pytest.mark.parametrize("others", NEIGHBOURS, ids=lambda others: others[0].__name__)
def test_challenge_is_that_of_the_next_authenticator(others, observing, good):
    for header in (None, good, "Bearer a b"):
        assert ask((ClerkAuthentication, *others), header) == ask(others, header)


def test_alone_it_lets_nobody_in_and_differs_in_one_sentence(observing, good):
    sentence = "Authentication credentials were not provided."
    status, headers, body = ask((), good)
    assert (status, body) == (
        403,
        b'{"detail":"You do not have permission to perform this action."}',
    )
    assert ask((ClerkAuthentication,), good) == (
        status,
        headers,
        f'{{"detail":"{sentence}"}}'.encode(),
    )
    assert ask((ClerkAuthentication,), good, permission=AllowAny) == ask(
        (), good, permission=AllowAny
    )


def test_class_that_asks_ours_on_its_own_behalf_gets_no_challenge(observing, good):
    assert ask((Either,), good)[0] == 403
    assert ClerkAuthentication().authenticate_header(factory.get("/")) is None


def test_request_carries_no_trace(observing, good):
    for header in (good, "Bearer a b"):
        request = factory.get("/", HTTP_AUTHORIZATION=header)
        before = set(vars(request))
        assert ClerkAuthentication().authenticate(request) is None
        assert set(vars(request)) == before


# Verdicts


def test_good_token_is_counted_and_logged_with_the_mode(observing, good, caplog):
    caplog.set_level(logging.INFO, "clerk_auth")
    ask((ClerkAuthentication, UnverifiedBearer), good)
    assert counted() == {(metrics.VERIFIED, OBSERVE): 1}
    (record,) = caplog.records
    assert record.getMessage() == "JWT signature verified for user user_1"
    assert record.mode == "observe"


def test_refusal_is_counted_and_logged_with_the_mode(observing, local_issuer, caplog):
    caplog.set_level(logging.INFO, "clerk_auth")
    token = local_issuer.token(azp="https://other.example")
    assert ask((ClerkAuthentication, UnverifiedBearer), f"Bearer {token}")[0] == 200
    assert counted() == refused("party_not_allowed")
    (record,) = caplog.records
    assert record.getMessage() == (
        "clerk_auth.token_rejected code=party_not_allowed claim=azp "
        "reason=mismatch mode=observe "
        'found="https://other.example"'
    )


def test_malformed_header_is_a_verdict_too(observing):
    ask((ClerkAuthentication, UnverifiedBearer), "Bearer a b")
    assert counted() == refused("token_malformed")


def test_request_without_a_bearer_token_is_no_verdict(observing):
    for header in (None, "", "Basic dXNlcjpwYXNz"):
        ask((ClerkAuthentication, Basic), header)
    assert counted() == {}


def test_user_is_not_resolved(observing, good):
    observing.CLERK_AUTH = {**observing.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.refuse_claims"}
    assert ask((ClerkAuthentication, UnverifiedBearer), good)[0] == 200
    assert counted() == {(metrics.VERIFIED, OBSERVE): 1}


def refuse_claims(claims):
    raise AssertionError("a user was resolved")


def test_nobody_is_told_by_signal(observing, good):
    heard: list[object] = []

    def hear(**facts: object) -> None:
        heard.append(facts)

    told = (signals.token_verified, signals.token_rejected)
    for signal in told:
        signal.connect(hear)
    try:
        ask((ClerkAuthentication,), good)
        ask((ClerkAuthentication,), "Bearer a b")
        assert heard == []
    finally:
        for signal in told:
            signal.disconnect(hear)


def test_verdicts_asked_for_by_the_project_decide_as_ever(observing, local_issuer):
    get_verifier().verify(local_issuer.token(azp=PARTY))
    assert counted() == {(metrics.VERIFIED, ENFORCE): 1}


def test_setting_alone_turns_the_lock_and_turns_it_back(observing, good, other_issuer):
    classes = (ClerkAuthentication, UnverifiedBearer)
    forged = "Bearer " + other_issuer.token("user_1", azp=PARTY)
    given = []
    for mode in ("observe", "enforce", "observe"):
        observing.CLERK_AUTH = {**observing.CLERK_AUTH, "MODE": mode}
        given.append([ask(classes, header)[0] for header in (good, forged)])
    assert given == [[200, 200], [200, 401], [200, 200]]


# Keys that are not there yet


@pytest.fixture
def held_back(fetching) -> Iterator[Callable[[], None]]:
    """Make the issuer answer only once the returned function is called."""
    released = threading.Event()

    def script(connection):
        released.wait(10)
        answer(fetching.document())(connection)

    def release() -> None:
        flight = get_verifier().source._desk.flight
        released.set()
        assert flight.done.wait(5)

    fetching.script = script
    yield release
    released.set()


def test_process_without_keys_gives_no_verdict_and_gets_them_meanwhile(fetching, held_back):
    good, *_ = (f"Bearer {token}" for token in all_tokens(fetching))
    for _ in range(2):
        assert ask((ClerkAuthentication, UnverifiedBearer), good)[0] == 200
    assert counted() == refused("keys_busy", 2)
    held_back()
    ask((ClerkAuthentication,), good)
    assert counted() == refused("keys_busy", 2) | {(metrics.VERIFIED, OBSERVE): 1}
    assert fetching.fetches == 1


@pytest.mark.parametrize("kind", ["unknown-kid", "forged"])
def test_key_that_must_be_looked_for_is_no_verdict_until_the_look_has_ended(
    kind, fetching, held_back
):
    script, fetching.script = fetching.script, None
    get_verifier().source.refresh()
    fetching.script = script
    payload = fetching.signer.session_payload(azp=PARTY, aud="api")
    token = BAD_TOKENS[kind].make(fetching.signer, payload)
    ask((ClerkAuthentication,), f"Bearer {token}")
    assert counted() == refused("keys_busy")
    held_back()
    ask((ClerkAuthentication,), f"Bearer {token}")
    assert counted() == refused("keys_busy") | refused(BAD_TOKENS[kind].code)


def test_rotated_key_is_verified_at_its_second_use(fetching):
    get_verifier().source.refresh()
    signer = fetching.rotate("ins_next")
    header = "Bearer " + signer.token(azp=PARTY, aud="api")
    ask((ClerkAuthentication,), header)
    get_verifier().source._desk.flight.done.wait(5)
    ask((ClerkAuthentication,), header)
    assert counted()[metrics.VERIFIED, OBSERVE] >= 1
    assert counted().keys() <= {(metrics.VERIFIED, OBSERVE), *refused("keys_busy")}


def test_failed_fetch_is_what_enforcing_would_answer_with_503(fetching):
    fetching.stop()
    header = f"Bearer {all_tokens(fetching)[0]}"
    ask((ClerkAuthentication,), header)
    get_verifier().source._desk.flight.done.wait(5)
    ask((ClerkAuthentication,), header)
    assert counted()[metrics.REFUSED, "keys_unavailable", OBSERVE] >= 1


# What may break


class FailingCache(LocMemCache):
    def get(self, *args, **kwargs):
        raise OSError("cache")

    add = set = delete = get


class FailingSink:
    def increment(self, name, by, labels):
        raise OSError("sink")

    set = increment


class UnmadeSink:
    def __init__(self):
        raise OSError("sink")


def defects(caplog) -> list[str]:
    return [m for m in caplog.messages if m.startswith("clerk_auth.observation_failed")]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        pytest.param({"JWT_KEY": None}, "ImproperlyConfigured", id="settings"),
        pytest.param({"METRICS": [f"{__name__}.missing"]}, "ImportError", id="import"),
    ],
)
def test_defect_reaches_no_request_and_is_logged_once_per_kind(
    values, error, observing, good, caplog
):
    observing.CLERK_AUTH = {**observing.CLERK_AUTH, **values}
    for header in (good, good, "Bearer a b"):
        assert ask((ClerkAuthentication, UnverifiedBearer), header) == ask(
            (UnverifiedBearer,), header
        )
    assert defects(caplog) == [f"clerk_auth.observation_failed error={error}"]
    assert counted() == {}


@pytest.mark.parametrize("sink", ["FailingSink", "UnmadeSink"])
def test_failing_sink_costs_no_verdict(observing, good, caplog, sink):
    observing.CLERK_AUTH = {**observing.CLERK_AUTH, "METRICS": [f"{__name__}.{sink}"]}
    assert ask((ClerkAuthentication, UnverifiedBearer), good)[0] == 200
    assert counted() == {(metrics.VERIFIED, OBSERVE): 1}
    assert defects(caplog) == []


def test_failing_cache_costs_no_verdict(fetching, settings):
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.FailingCache"}}
    header = f"Bearer {all_tokens(fetching)[0]}"
    ask((ClerkAuthentication,), header)
    get_verifier().source._desk.flight.done.wait(5)
    ask((ClerkAuthentication,), header)
    assert counted()[metrics.VERIFIED, OBSERVE] >= 1


def test_log_that_fails_reaches_no_request(observing, good):
    def fail(record: logging.LogRecord) -> bool:
        raise OSError("log")

    logger = logging.getLogger("clerk_auth")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addFilter(fail)
    try:
        assert ask((ClerkAuthentication, UnverifiedBearer), good)[0] == 200
        assert ask((ClerkAuthentication, UnverifiedBearer), "Bearer a.b.c")[0] == 200
    finally:
        logger.removeFilter(fail)
        logger.setLevel(level)


def test_each_class_of_error_is_said_once(observing, good, caplog):
    caplog.set_level(logging.ERROR, "clerk_auth")
    for metrics_setting in (["no_such_module.Sink"], "no list", ["no_such_module.Sink"]):
        observing.CLERK_AUTH = {**observing.CLERK_AUTH, "METRICS": metrics_setting}
        ask((ClerkAuthentication, UnverifiedBearer), good)
    errors = [record.error for record in caplog.records if record.event == "observation_failed"]
    assert sorted(errors) == ["ImproperlyConfigured", "ModuleNotFoundError"]
