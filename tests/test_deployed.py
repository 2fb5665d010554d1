"""Probes over HTTP: they pass where the API is locked, and say what is wrong where it is not."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.http import HttpResponse
from django.urls import path
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth import deployed, metrics
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.conf import ENFORCE, get_config
from clerk_auth.dev import LocalIssuer
from clerk_auth.inspection import FAILED, PASSED
from clerk_auth.probes import BAD_TOKENS
from clerk_auth.selftest import SKIPPED, WARNED, Report, Result
from clerk_auth.verifier import get_verifier
from project.urls import urlpatterns as project_urlpatterns
from tests.api_server import serve_api
from tests.conftest import PARTY
from tests.issuer_server import IssuerServer, answer, hang

pytestmark = pytest.mark.integration

BY_ANYBODY = [bad for bad in BAD_TOKENS.values() if not bad.by_claims]
TITLES = [bad.title for bad in BY_ANYBODY]


class Closed(APIView):
    def get(self, request):
        return Response({"user": request.user.pk})


class Public(Closed):
    permission_classes = (AllowAny,)


class Unguarded(Public):
    authentication_classes = ()


class SessionFirst(Closed):
    authentication_classes = (SessionAuthentication, ClerkAuthentication)


class Nobody(BasePermission):
    def has_permission(self, request, view):
        return False


class Forbidden(Closed):
    permission_classes = (Nobody,)


class PostOnly(APIView):
    def post(self, request):
        return Response()


def login_page(request):
    return HttpResponse("<!DOCTYPE html><title>Sign in</title>", status=401)


urlpatterns = [
    *project_urlpatterns,
    path("closed", Closed.as_view()),
    path("public", Public.as_view()),
    path("unguarded", Unguarded.as_view()),
    path("session-first", SessionFirst.as_view()),
    path("forbidden", Forbidden.as_view()),
    path("post-only", PostOnly.as_view()),
    path("login-page", login_page),
]


@pytest.fixture
def api(configured, settings) -> Iterator[str]:
    settings.ROOT_URLCONF = __name__
    with serve_api() as url:
        yield url


@pytest.fixture
def fake(local_issuer) -> Iterator[IssuerServer]:
    """Something that answers every request by a script."""
    server = IssuerServer(local_issuer)
    yield server
    server.stop()


def run(url: str, **options) -> Report:
    return deployed.run(get_config(), url, **options)


def find(report: Report, name: str) -> Result:
    (result,) = (r for r in report.results if r.name == name)
    return result


def failures(report: Report) -> dict[str, str]:
    return {r.name: r.detail for r in report.results if r.status == FAILED}


# Where it is locked


@pytest.mark.parametrize("view", ["/api/me", "/closed"])
def test_locked_api_passes(api, view):
    report = run(api + view)
    assert report.passed
    assert [(r.name, r.status) for r in report.results] == [
        ("configuration", PASSED),
        ("no credential", PASSED),
        *((title, PASSED) for title in TITLES),
    ]
    for bad in BY_ANYBODY:
        assert find(report, bad.title).detail == f"401 {bad.code}"


def test_public_view_is_said_to_be_one_and_passes(api):
    report = run(f"{api}/public")
    assert report.passed
    assert find(report, "no credential").status == WARNED
    assert {find(report, title).status for title in TITLES} == {PASSED}


def test_api_with_a_configured_key_passes(settings, local_issuer):
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {
        "ISSUER": local_issuer.issuer,
        "JWT_KEY": local_issuer.public_pem.strip(),
        "AUTHORIZED_PARTIES": [PARTY],
        "REALM": "the books",
    }
    with serve_api() as url:
        report = run(f"{url}/api/me")
    assert report.passed
    assert BAD_TOKENS["unknown-kid"].title not in {r.name for r in report.results}


def test_probes_cost_the_api_no_cooldown_and_no_look_for_keys(api, configured):
    """Both forced fetches are still there for the tokens that need them."""
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    before = configured.fetches
    assert run(f"{api}/closed").passed
    assert configured.fetches == before, "what the API shares serves the probes too"
    for kid in ("ins_rotated_in", "ins_rotated_in"):
        configured.signers = [LocalIssuer.generate(configured.issuer, kid=kid)]
        assert get_verifier().verify(configured.signer.token(azp=PARTY))
    assert configured.fetches == before + 2


def test_every_token_that_is_sent_has_expired(fake, configured):
    fake.script = answer(b"{}", status="401 Unauthorized")
    run(f"{fake.issuer}/")
    sent = [re.search(rb"Bearer ([^\r]*)", request) for request in fake.requests]
    assert sent[0] is None
    assert len(sent) == 1 + len(BY_ANYBODY)
    for match in sent[1:]:
        parts = match[1].split(b".")
        payload = json.loads(base64.urlsafe_b64decode(parts[len(parts) > 1] + b"=="))
        assert payload["exp"] < time.time() - 60


# Where it is not


@pytest.mark.parametrize("view", ["/unguarded", "/health/live"])
def test_view_that_lets_everybody_in_fails(api, view):
    report = run(api + view)
    assert failures(report) == dict.fromkeys(TITLES, "ACCEPTED with 200")
    assert all("Do not deploy" in r.remedy for r in report.results if r.status == FAILED)


def test_api_that_accepts_everything_fails(fake, configured):
    fake.script = answer(b'{"user": "user_1"}')
    report = run(f"{fake.issuer}/api/me")
    assert not report.passed
    assert failures(report) == dict.fromkeys(TITLES, "ACCEPTED with 200")


def test_one_token_that_gets_in_is_enough_to_fail(fake, configured):
    """As with a library that takes ``none`` for an algorithm."""
    refused = answer(b'{"detail": "", "code": "signature_invalid"}', status="401 Unauthorized")
    unsigned = re.compile(rb"Bearer [\w-]+\.[\w-]+\.\r")

    def script(connection):
        accepted = unsigned.search(fake.requests[-1])
        (answer(b"{}") if accepted else refused)(connection)

    fake.script = script
    assert failures(run(fake.issuer))[BAD_TOKENS["alg-none-unsigned"].title].startswith("ACCEPTED")


@pytest.mark.parametrize(
    ("view", "detail", "remedy"),
    [
        ("/session-first", "403", "W004"),
        ("/no/such/path", "404", "no such path"),
        ("/login-page", "401", "page"),
    ],
)
def test_answer_of_somebody_else_is_explained(api, view, detail, remedy):
    report = run(api + view)
    assert failures(report).keys() == {"no credential", *TITLES}
    for result in report.results:
        if result.status == FAILED and result.name != "no credential":
            assert result.detail.startswith(detail)
            assert remedy in result.remedy


@pytest.mark.parametrize(
    ("script", "detail", "remedy"),
    [
        (answer(b"", status="301 Moved", headers=["Location: /x"]), "301", "not followed"),
        (answer(b"<html>", status="403 Forbidden"), "403", "page"),
        (answer(b"{}", status="400 Bad Request"), "400", "ALLOWED_HOSTS"),
        (answer(b"{}", status="405 Method Not Allowed"), "405", "GET"),
        (answer(b"{}", status="429 Too Many Requests"), "429", "repeat"),
        (answer(b"", status="500 Internal Server Error"), "500", "log"),
        (answer(b"", status="502 Bad Gateway"), "502", "log"),
        (
            answer(b'{"code": "keys_unavailable"}', status="503 Service Unavailable"),
            "503 keys_unavailable",
            "no keys",
        ),
        (answer(b'{"code": "\x1b[2J"}', status="401 Unauthorized"), "401 without", "settings"),
        (answer(b'{"code": 7}', status="401 Unauthorized"), "401 without", "settings"),
        (answer(b"[1]", status="401 Unauthorized"), "401 without", "settings"),
        (answer(b'{"code":"token_expired"}', status="401 X"), "401 token_expired, not", "settings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_other_answer_is_explained(fake, configured, script, detail, remedy):
    fake.script = script
    report = run(fake.issuer)
    assert not report.passed
    for title in TITLES:
        result = find(report, title)
        assert (result.status, result.detail.startswith(detail)) == (FAILED, True), result
        assert remedy in result.remedy


def _as_ours(bad, **changes: str):
    """Answer as we do, but for ``changes``."""
    parts = {
        "detail": bad.error.detail,
        "code": bad.code,
        "challenge": f'Bearer realm="api", error="invalid_token", '
        f'error_description="{bad.error.detail}"',
        **changes,
    }
    challenge = parts.pop("challenge")
    return answer(
        json.dumps(parts).encode(),
        status="401 Unauthorized",
        headers=[f"WWW-Authenticate: {challenge}"],
    )


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({}, None),
        ({"detail": "No."}, "401 signature_invalid with another body"),
        ({"trace": "x"}, "401 signature_invalid with another body"),
        ({"code": "key_not_found"}, "401 key_not_found, not signature_invalid"),
        (
            {"challenge": 'Bearer realm="api"'},
            "401 signature_invalid with another WWW-Authenticate",
        ),
        ({"challenge": "Basic"}, "401 signature_invalid with another WWW-Authenticate"),
    ],
    ids=str,
)
def test_answer_is_compared_with_what_is_documented(fake, configured, changes, detail):
    forged = BAD_TOKENS["forged"]
    fake.script = _as_ours(forged, **changes)
    assert failures(run(fake.issuer)).get(forged.title) == detail


def test_challenge_of_somebody_else_without_a_credential_is_found(fake, configured):
    fake.script = answer(b"{}", status="401 X", headers=['WWW-Authenticate: Basic realm="api"'])
    assert failures(run(fake.issuer))["no credential"] == "401 with another WWW-Authenticate"


# Where nothing answers


def _stop(server: IssuerServer) -> str:
    server.stop()
    return server.issuer


def _hang(server: IssuerServer) -> str:
    server.script = hang()
    return server.issuer


def _lie(server: IssuerServer) -> str:
    server.script = answer(b"{}", status="404 Not Found", length=9)
    return server.issuer


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_stop, "connection"),
        (_hang, "timeout"),
        (_lie, "body"),
    ],
)
def test_first_request_without_an_answer_is_the_last(fake, configured, prepare, reason):
    url = prepare(fake)
    report = run(url, timeout_seconds=1.0)
    assert failures(report) == {"answer": f"{url}: {reason}"}
    assert find(report, "answer").remedy
    assert fake.fetches <= 1


def test_server_without_tls_is_said_to_be_one(api):
    report = run(f"{api}/closed".replace("http:", "https:"))
    assert list(failures(report)) == ["answer"]
    assert find(report, "answer").detail.endswith(": tls")
    assert "certificate" in find(report, "answer").remedy


def test_answers_before_an_outage_are_kept(fake, configured):
    def script(connection):
        if len(fake.requests) < 4:
            answer(b"{}", status="404 Not Found")(connection)

    fake.script = script
    assert list(failures(run(fake.issuer))) == ["no credential", *TITLES[:2], "answer"]


def test_no_token_is_made_up_where_there_are_no_keys(fake, configured):
    configured.stop()
    fake.script = answer(b"{}", status="404 Not Found")
    report = run(fake.issuer)
    assert failures(report)["bad tokens"] == "not sent: there are no keys"
    assert fake.fetches == 1


# A token of somebody


def test_good_token_is_let_in(api, configured):
    token = configured.signer.token(azp=PARTY)
    report = run(f"{api}/closed", token=f" Bearer {token}\n")
    assert report.passed
    assert find(report, "the token given") == Result(
        "deployed API", "the token given", PASSED, "200"
    )


def test_token_that_is_refused_here_is_not_sent(api, configured):
    report = run(f"{api}/closed", token=configured.signer.token(azp=PARTY, expires_in=-60))
    assert not report.passed
    assert report.inspection.code == "token_expired"
    assert find(report, "the token given").status == SKIPPED
    assert metrics.totals()[(metrics.REFUSED, "token_expired", ENFORCE)] == 0


@pytest.mark.parametrize(
    ("view", "detail", "remedy"),
    [("/forbidden", "403", "permission"), ("/post-only", "405", "GET")],
)
def test_good_token_without_success_is_explained(api, configured, view, detail, remedy):
    report = run(api + view, token=configured.signer.token(azp=PARTY))
    result = find(report, "the token given")
    assert result.status == FAILED
    assert result.detail.startswith(detail)
    assert remedy in result.remedy


def test_good_token_that_the_api_refuses_is_explained(api, configured):
    elsewhere = "https://elsewhere.example.com"
    config = replace(get_config(), authorized_parties=(elsewhere,))
    token = configured.signer.token(azp=elsewhere)
    result = find(deployed.run(config, f"{api}/closed", token=token), "the token given")
    assert (result.status, result.detail) == (FAILED, "401 party_not_allowed")
    assert "compare the settings" in result.remedy


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "302 Found", "403 Forbidden"])
def test_token_is_not_sent_to_what_is_not_the_api(fake, configured, status):
    fake.script = answer(b"<html>", status=status)
    token = configured.signer.token(azp=PARTY)
    assert find(run(fake.issuer, token=token), "the token given").status == SKIPPED
    assert not any(token.encode() in request for request in fake.requests)


def test_no_token_is_in_the_report(api, configured):
    token = configured.signer.token(azp=PARTY)
    text = json.dumps(run(f"{api}/forbidden", token=token).as_dict())
    assert all(segment not in text for segment in token.split("."))
