"""Probes over HTTP: they pass where the API is locked, and say what is wrong where it is not."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from django.http import HttpResponse
from django.urls import path
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.response import Response
from rest_framework.views import APIView

from clerk_auth import metrics
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.conf import ENFORCE, OBSERVE, get_config
from clerk_auth.diagnostics import deployed
from clerk_auth.diagnostics.report import FAILED, PASSED, SKIPPED, WARNED, Report, Result
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.verifier import get_verifier
from project.urls import urlpatterns as project_urlpatterns
from tests.api_server import serve_api
from tests.conftest import PARTY
from tests.issuer_server import IssuerServer, answer, hang
from tests.tenants import STAFF_PARTY, change_staff, serve_staff

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


class StaffAuthentication(ClerkAuthentication):
    instance = "staff"


class AnybodyAuthentication(ClerkAuthentication):
    instances = ("default", "staff")


class OfStaff(Closed):
    authentication_classes = (StaffAuthentication,)


class OfAnybody(Closed):
    authentication_classes = (AnybodyAuthentication,)


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
    path("of-staff", OfStaff.as_view()),
    path("of-anybody", OfAnybody.as_view()),
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


def run(url: str, *, instance: str = "default", **options) -> Report:
    return deployed.run(get_config(instance), url, **options)


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


@pytest.fixture
def staff(configured, settings) -> Iterator[IssuerServer]:
    with serve_staff(settings, REALM="staff") as server:
        server.signers = [server.signer.acting_as(server.issuer, kid="ins_staff")]
        yield server


def test_view_of_an_instance_passes_the_probes_of_that_instance(api, staff):
    token = staff.signer.token(azp=STAFF_PARTY)
    report = run(f"{api}/of-staff", instance="staff", token=token)
    assert report.passed, failures(report)
    assert find(report, "the token given").status == PASSED


def test_view_of_another_instance_fails_and_names_the_option(api, staff):
    report = run(f"{api}/of-staff")
    forged = find(report, BAD_TOKENS["forged"].title)
    assert (forged.status, forged.detail) == (FAILED, "401 key_not_found, not signature_invalid")
    assert forged.remedy.endswith("Or the view is for another instance: name it with --instance.")


@pytest.mark.parametrize("instance", ["default", "staff"])
def test_view_of_several_instances_passes_the_probes_of_each(api, staff, settings, instance):
    change_staff(settings, REALM="api")
    report = run(f"{api}/of-anybody", instance=instance)
    assert report.passed, failures(report)


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
        assert "instance" not in result.remedy


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


# What is in between


def relay(server: IssuerServer, url: str, change) -> str:
    """Let ``server`` answer as the API at ``url`` does to a request that ``change`` has changed."""
    host, _, port = urlsplit(url).netloc.partition(":")

    def script(connection):
        request = change(server.requests[-1]).replace(b"keep-alive", b"close")
        with socket.create_connection((host, int(port)), timeout=10) as api:
            api.sendall(request)
            while part := api.recv(65536):
                connection.sendall(part)

    server.script = script
    return server.issuer


def without_credential(request: bytes) -> bytes:
    return re.sub(rb"Authorization: [^\r]*\r\n", b"", request)


def test_header_that_does_not_arrive_is_said_to_be_missing(api, fake):
    report = run(f"{relay(fake, api, without_credential)}/closed")
    assert failures(report).keys() == set(TITLES)
    assert find(report, "no credential").status == PASSED
    for title in TITLES:
        remedy = find(report, title).remedy
        assert "the Authorization header does not arrive" in remedy
        assert "WSGIPassAuthorization" in remedy
        assert "gateways" in remedy


def test_header_that_does_not_arrive_at_a_public_view_may_be_missing(api, fake):
    report = run(f"{relay(fake, api, without_credential)}/public")
    assert failures(report) == dict.fromkeys(TITLES, "ACCEPTED with 200")
    for title in TITLES:
        assert find(report, title).remedy.startswith("Do not deploy")
        assert "WSGIPassAuthorization" in find(report, title).remedy


@pytest.mark.parametrize(
    ("status", "is_about_the_header"),
    [
        ("401 Unauthorized", True),
        ("403 Forbidden", True),
        ("404 Not Found", False),
        ("502 Bad Gateway", False),
    ],
)
def test_answers_that_no_header_would_change_are_not_blamed_on_it(
    fake, configured, status, is_about_the_header
):
    fake.script = answer(b"{}", status=status)
    report = run(fake.issuer)
    for title in TITLES:
        remedy = find(report, title).remedy
        assert ("WSGIPassAuthorization" in remedy) == is_about_the_header, remedy


def test_answers_that_differ_say_that_the_header_arrives(api):
    report = run(f"{api}/session-first")
    assert not any("WSGIPassAuthorization" in result.remedy for result in report.results)


def test_hop_that_passes_everything_on_passes(api, fake):
    assert run(f"{relay(fake, api, bytes)}/closed").passed


# While it observes


@pytest.mark.parametrize("view", ["/closed", "/public", "/unguarded", "/session-first"])
def test_api_that_observes_is_said_to(api, settings, view):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "MODE": "observe"}
    report = run(api + view)
    assert not report.passed
    assert failures(report).keys() >= set(TITLES)
    remedies = {result.remedy for result in report.results if result.status == FAILED}
    assert len(remedies) == 1
    assert "MODE is observe" in remedies.pop()


def test_what_has_nothing_to_do_with_observing_is_said_as_ever(api, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "MODE": "observe"}
    report = run(f"{api}/no/such/path")
    assert {find(report, title).remedy[:20] for title in TITLES} == {"There is no such pat"}


def test_api_that_enforces_passes_whatever_this_host_does(api, settings):
    config = replace(get_config(), mode=OBSERVE)
    report = deployed.run(config, f"{api}/closed")
    assert report.passed
    assert find(report, "configuration").status == WARNED


# A token of somebody


@pytest.mark.parametrize(
    ("allowed", "debug", "host", "status"),
    [
        (["api.example.com"], False, "api.example.com", PASSED),
        (["api.example.com"], False, "API.Example.COM:8443", PASSED),
        (["api.example.com"], False, "api.example.com.", PASSED),
        (["api.example.com"], False, "api.example.com.evil.example", FAILED),
        (["api.example.com"], False, "example.com", FAILED),
        (["api.example.com"], False, "xapi.example.com", FAILED),
        (["api.example.com"], True, "localhost", FAILED),
        ([".example.com"], False, "api.example.com", PASSED),
        ([".example.com"], False, "example.com:443", PASSED),
        ([".example.com"], False, "evilexample.com", FAILED),
        (["[::1]"], False, "[::1]:8000", PASSED),
        (["127.0.0.1"], False, "127.0.0.2", FAILED),
        ([], False, "127.0.0.1", FAILED),
        ([], True, "127.0.0.1:8000", PASSED),
        ([], True, "api.localhost", PASSED),
        ([], True, "api.example.com", FAILED),
        (["*"], False, "anything.example", WARNED),
        (["api.example.com"], False, "b\u00fccher.example", FAILED),
        (["api.example.com"], False, "api.example.com%2eevil.example", FAILED),
    ],
)
def test_host_is_compared_as_django_does(settings, allowed, debug, host, status):
    settings.ALLOWED_HOSTS, settings.DEBUG = allowed, debug
    assert deployed._judge_host(host, any_host=False).status == status
    overridden = deployed._judge_host(host, any_host=True).status
    assert overridden == (WARNED if status == FAILED else status)


def test_token_is_not_given_to_a_host_that_imitates_every_answer(api, fake, configured, settings):
    url = relay(fake, api, lambda request: re.sub(rb"Host: [^\r]*", b"Host: localhost", request))
    settings.ALLOWED_HOSTS = ["localhost"]
    token = configured.signer.token(azp=PARTY)
    report = run(f"{url}/closed", token=token)
    assert not report.passed
    assert list(failures(report)) == ["host"]
    assert "--any-host" in find(report, "host").remedy
    assert find(report, "the token given").status == SKIPPED
    assert {find(report, title).status for title in TITLES} == {PASSED}
    assert not any(token.encode() in request for request in fake.requests)
    report = run(f"{url}/closed", token=token, any_host=True)
    assert report.passed
    assert find(report, "host").status == WARNED
    assert token.encode() in fake.requests[-1]


def test_host_is_of_no_interest_without_a_token(api, settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert "host" not in {result.name for result in run(f"{api}/closed").results}


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
    assert "compare settings" in result.remedy


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
