"""What Django mails when something breaks: no token, no segment of one, no e-mail address.

Each public entry is made to fail deep inside, by components that fail and nothing that is patched.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import models
from django.test import Client, RequestFactory
from django.urls import path
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter
from rest_framework.request import Request

from clerk_auth import health
from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.core.errors import ClerkAuthError, TokenRejected
from clerk_auth.core.tokens import Policy
from clerk_auth.diagnostics import inspection
from clerk_auth.error_reports import hide_locals
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.jwks.waiting import End
from clerk_auth.signals import token_rejected
from clerk_auth.testing import BadTokens, ClerkAPIClient, clerk_token
from clerk_auth.token_cache import TokenCache
from clerk_auth.users import aresolve_user, database_user, existing_user, link
from clerk_auth.verifier import Verifier, get_verifier
from tests.conftest import ISSUER, PARTY

pytestmark = pytest.mark.integration

EMAIL = "zq7marked@example.com"


class Broken(Exception):
    """A defect, of the machine or of somebody's code."""


class BrokenSource(StaticKeySource):
    """Keys that break where they are asked for."""

    def __init__(self) -> None:
        super().__init__(())

    def keys_for(self, kid):
        raise Broken


class LateSource(StaticKeySource):
    """Keys that break after a wait, where a generator was suspended."""

    def __init__(self) -> None:
        super().__init__(())

    def load(self, kid):
        yield End(), 0.01
        raise_broken(kid)


def raise_broken(kid):
    raise Broken


def broken_resolver(claims):
    email = claims.get("email")
    raise Broken(len(email))


def failing_lookup(claims):
    return database_user(claims)


class Reports:
    """Reports of one failure, as Django writes them, and what must not be in them."""

    def __init__(self, token: str) -> None:
        self.secrets = [
            EMAIL,
            token,
            *token.split("."),
            f"{'Bearer'} ey",
        ]  # not as this line has it

    def of(self, work: Callable[[], Any], *, raising: type[BaseException] = Broken) -> str:
        """Run ``work``, which fails, and return what a report of it says."""
        with pytest.raises(raising) as caught:
            work()
        traceback = caught.value.__traceback__
        # The frames of the tests, which are not the package's.
        while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
            traceback = traceback.tb_next
        request = RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {self.secrets[1]}")
        error = caught.value.with_traceback(traceback)  # of which the reporter takes it in a chain
        reporter = ExceptionReporter(request, type(error), error, traceback)
        html, text = reporter.get_traceback_html(), reporter.get_traceback_text()
        self.check(html, text)
        return html

    def check(self, *reports: str) -> None:
        """Fail if a report holds what it must not."""
        for report in reports:
            assert not [secret for secret in self.secrets if secret in report]


@pytest.fixture
def token(local_issuer) -> str:
    return local_issuer.token("user_1", azp=PARTY, email=EMAIL)


@pytest.fixture
def reports(token, key_configured) -> Reports:
    return Reports(token)


@pytest.fixture
def verifier(policy) -> Verifier:
    return Verifier(BrokenSource(), policy, cache_size=8)


@pytest.mark.parametrize("entry", ["verify", "check"])
def test_verifier(reports, verifier, token, entry):
    html = reports.of(lambda: getattr(verifier, entry)(token))
    # The frames are there, and every local of theirs is hidden.
    assert "keys_for" in html
    assert "********************" in html


@pytest.mark.parametrize("source", [BrokenSource, LateSource])
def test_coroutine(reports, policy, token, source):
    """What its frames hold is cleared: no way leads from them to the frame that hides it."""
    verifier = Verifier(source(), policy, cache_size=8)
    html = reports.of(lambda: asyncio.run(verifier.averify(token)))
    assert "averify" in html
    assert ("keys_for" if source is BrokenSource else "raise_broken") in html


def test_wait_in_a_thread(reports, policy, token):
    verifier = Verifier(LateSource(), policy, cache_size=8)
    assert "raise_broken" in reports.of(lambda: verifier.verify(token))


def test_errors_that_led_to_it(reports, policy, other_issuer):
    """A defect while a bad signature is looked into: that error's frames hold the token, too."""

    class Source(StaticKeySource):
        def keys_after(self, kid, tried):
            yield End(), 0.01
            raise Broken

    forged = other_issuer.token("user_1", azp=PARTY, email=EMAIL)
    reports.secrets += [forged, *forged.split(".")]
    verifier = Verifier(Source((LocalIssuer.generate(ISSUER).verifying_key,)), policy)
    for work in (
        lambda: verifier.verify(forged),
        lambda: asyncio.run(verifier.averify(forged)),
    ):
        html = reports.of(work)
        assert "SignatureInvalid" in html


class BrokenCache(TokenCache):
    def put(self, digest, entry):
        raise Broken


class SlowSource(StaticKeySource):
    """Keys that are there after a wait."""

    def keys_for(self, kid):
        return None

    def load(self, kid):
        yield End(), 0.01
        return self.status().keys


@pytest.mark.parametrize("source", [StaticKeySource, SlowSource])
def test_payload_of_a_token_that_was_verified(reports, policy, token, local_issuer, source):
    verifier = Verifier(source((local_issuer.verifying_key,)), policy, cache_size=8)
    verifier._cache = BrokenCache(8)
    assert "put" in reports.of(lambda: verifier.verify(token))
    assert "put" in reports.of(lambda: asyncio.run(verifier.averify(token)))


def test_error_that_was_handled_on_the_way(reports):
    def fail(email):
        raise ValueError

    @hide_locals
    async def entry(email):
        try:
            fail(email)
        except ValueError:
            raise Broken  # noqa: B904 - with what it was raised in

    assert "fail" in reports.of(lambda: asyncio.run(entry(EMAIL)))


def test_what_a_caller_handled_before_keeps_its_locals(policy, token):
    verifier = Verifier(BrokenSource(), policy)

    def fail() -> None:
        kept = "of the caller"
        raise KeyError(kept)

    async def ask() -> None:
        try:
            fail()
        except KeyError:
            await verifier.averify(token)

    with pytest.raises(Broken) as caught:
        asyncio.run(ask())
    handled = caught.value.__context__
    assert handled.__traceback__.tb_next.tb_frame.f_locals == {"kept": "of the caller"}


def test_user_of_a_coroutine(reports, settings, token):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.broken_resolver"}
    claims = get_verifier().verify(token)
    assert "broken_resolver" in reports.of(lambda: asyncio.run(aresolve_user(claims)))


@pytest.mark.parametrize("wrap", [lambda request: request, Request], ids=["django", "drf"])
def test_authentication(reports, settings, token, wrap):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.broken_resolver"}
    request = wrap(RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}"))
    assert "broken_resolver" in reports.of(lambda: ClerkAuthentication().authenticate(request))


def test_authentication_under_settings_that_cannot_be_used(reports, settings, token):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "LEEWAY_SECONDS": "x"}
    request = RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}")
    reports.of(lambda: ClerkAuthentication().authenticate(request), raising=Exception)


def test_inspection(reports, token):
    policy: Any = Policy(frozenset({ISSUER}), leeway_seconds="x")  # type: ignore[arg-type]
    reports.of(lambda: inspection.inspect(token, policy, (), now=0), raising=ValueError)


@pytest.fixture
def refusing_rows(settings, db) -> Iterator[None]:
    """Make every row of a user fail in the model's own code."""
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_FIELDS": {"email": "email"}}

    def refuse(**_: Any) -> None:
        raise Broken

    for signal in (models.signals.pre_save, models.signals.post_init):
        signal.connect(refuse, sender=User)
    yield
    for signal in (models.signals.pre_save, models.signals.post_init):
        signal.disconnect(refuse, sender=User)


def test_database_user(reports, refusing_rows, token):
    claims = get_verifier().verify(token)
    assert "_make_row" in reports.of(lambda: database_user(claims))


def test_existing_user(reports, token, db):
    user = User.objects.create(username="user_1")

    def refuse(**_: Any) -> None:
        raise Broken

    claims = get_verifier().verify(token)
    models.signals.post_init.connect(refuse, sender=User)
    try:
        reports.of(lambda: existing_user(claims))
    finally:
        models.signals.post_init.disconnect(refuse, sender=User)
    reports.of(lambda: link(user, claims), raising=Exception)
    reports.of(lambda: link(EMAIL, claims), raising=TypeError)


class KeptMail(AdminEmailHandler):
    """Keeps what it would send; the ways to send it differ between Django's versions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mails: list[tuple[str, str, str]] = []

    def send_mail(self, subject, message, *args, html_message=None, **kwargs):
        self.mails.append((subject, message, html_message))


@pytest.mark.django_db
def test_mail_to_the_administrators(reports, refusing_rows, settings, token):
    """The whole of Django, as in production: with the page of the debugger in the mail."""
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.failing_lookup"}
    settings.SECURE_SSL_REDIRECT = False
    logger, handler = logging.getLogger("django.request"), KeptMail(include_html=True)
    logger.addHandler(handler)
    try:
        response = Client(raise_request_exception=False, SERVER_NAME="localhost").get(
            "/api/me", HTTP_AUTHORIZATION=f"Bearer {token}"
        )
    finally:
        logger.removeHandler(handler)
    assert response.status_code == 500
    ((subject, message, html),) = handler.mails
    assert "_make_row" in html
    reports.check(html, message, subject)


def test_health(reports, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "HEALTH_DETAILS": True}
    request = RequestFactory().get("/ready", HTTP_AUTHORIZATION="Bearer x")
    assert health.ready(request).status_code == 200
    # It catches what fails; a report would need a defect of its own.
    for view in (health.ready, health.read_readiness):
        reports.of(lambda view=view: view(None, None, None), raising=TypeError)


@pytest.mark.parametrize("command", ["clerk_inspect", "clerk_selftest"])
def test_commands(reports, token, command, monkeypatch):
    class Input:
        buffer = io.BytesIO(token.encode())

        @staticmethod
        def isatty():
            return False

    monkeypatch.setattr(sys, "stdin", Input)
    arguments = [command, "--token", "-"] if command == "clerk_selftest" else [command]
    assert "handle" in reports.of(lambda: call_command(*arguments, stdout=BrokenOutput()))


class BrokenOutput(io.StringIO):
    def write(self, text: str) -> int:
        raise Broken


def broken_view(request):
    raise Broken


urlpatterns = [path("broken", broken_view)]


def test_testing_helpers(reports, settings):
    settings.ROOT_URLCONF = __name__
    settings.SECURE_SSL_REDIRECT = False
    client = ClerkAPIClient(SERVER_NAME="localhost")
    client.sign_in("user_1", email=EMAIL)
    reports.of(lambda: client.get("/broken"))
    for work in (
        lambda: client.sign_in("user_1", email=EMAIL, role="admin"),
        lambda: clerk_token("user_1", email=EMAIL, role="admin"),
        lambda: BadTokens(email=EMAIL, role="admin"),
    ):
        reports.of(work, raising=ValueError)
    bad = BadTokens(email=EMAIL)
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "LEEWAY_SECONDS": "x"}
    for work in (lambda: clerk_token(email=EMAIL), lambda: bad.expired, lambda: list(bad)):
        reports.of(work, raising=ImproperlyConfigured)


# What is kept of a refusal


@pytest.mark.parametrize("change", [{"azp": "https://evil.example"}, {"exp": 1}])
def test_refusal_that_is_kept_has_no_frames(local_issuer, key_configured, change):
    kept: list[ClerkAuthError] = []

    def keep(error, **_):
        kept.append(error)

    token_rejected.connect(keep)
    request = RequestFactory().get(
        "/", HTTP_AUTHORIZATION=f"Bearer {local_issuer.token(**({'azp': PARTY} | change))}"
    )
    try:
        with pytest.raises(Exception, match="token") as caught:
            ClerkAuthentication().authenticate(request)
    finally:
        token_rejected.disconnect(keep)
    stored = request._clerk_auth_refusal
    assert isinstance(stored, TokenRejected)
    for error in (stored, caught.value.__context__, *kept):
        assert error is stored
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_refusal_of_a_resolver_has_no_frames(key_configured, token, db):
    key_configured.CLERK_AUTH = {
        **key_configured.CLERK_AUTH,
        "USER_RESOLVER": "clerk_auth.users.existing_user",
    }
    request = RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}")
    with pytest.raises(Exception, match="no account here"):
        ClerkAuthentication().authenticate(request)
    assert request._clerk_auth_refusal.__context__ is None
