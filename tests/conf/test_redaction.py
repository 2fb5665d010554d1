"""Whatever a caller, Clerk, the cache or the settings say: no log record holds any of it.

Everything that must not be written has a mark in it. The one exception is the id of a verified
user.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.test import Client, override_settings

from clerk_auth.core.errors import CODES, UserInactive
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.logs import refusals
from clerk_auth.verifier import get_verifier
from tests.issuer_server import IssuerServer, answer

pytestmark = pytest.mark.integration

MARK = "zq7marked"
LOGGERS = ("clerk_auth", "django", "py")
HEADERS = ("alg", "typ", "cat", "kid", "crit", "b64", "jku", "jwk", "x5u", "x5c", "cty", MARK)
CLAIMS = (
    *("exp", "iat", "nbf", "iss", "sub", "sid", "azp", "aud", "sts", "v", "o", "fea", "pla"),
    *("fva", "act", "org_id", "org_role", "org_permissions", "email", MARK),
)
GARBAGE = (
    *(f"Bearer {MARK}", f"Bearer {MARK} {MARK}", f"Bearer\t{MARK}", f"Basic {MARK}, Bearer {MARK}"),
    *(f"Bearer {MARK}.{MARK}.{MARK}", f"Bearer {MARK}\ud800", "Bearer " + MARK * 3000, MARK),
)


class MarkedCache(LocMemCache):
    """Fails, and says what it was asked for."""

    def get(self, key, *args, **kwargs):
        raise OSError(f"{MARK}: {key}")

    add = set = delete = get


def inactive(claims):
    raise UserInactive


@pytest.fixture
def marked(settings, local_issuer) -> Iterator[IssuerServer]:
    """Settings and an issuer whose every name, URL and secret has the mark."""
    server = IssuerServer(local_issuer)
    server.signers = [local_issuer.acting_as(f"{server.issuer}/{MARK}", kid=f"ins_{MARK}")]
    settings.SECRET_KEY = MARK * 8
    settings.SECURE_SSL_REDIRECT = False
    settings.CLERK_AUTH = {
        "ISSUER": f"{server.issuer}/{MARK}",
        "JWKS_URL": f"{server.issuer}/{MARK}/jwks.json",
        "AUTHORIZED_PARTIES": [f"https://{MARK}.example.com"],
        "AUDIENCE": MARK,
        "CACHE_ALIAS": MARK,
    }
    settings.CACHES = {
        alias: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": alias}
        for alias in ("default", MARK)
    }
    yield server
    server.stop()


class Log:
    """The records of ours, and what must not be in them."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self._forbidden = {MARK}
        self._client = Client(raise_request_exception=False, SERVER_NAME="localhost")

    def send(self, authorization: str) -> int:
        """Send a request through the whole of Django; return the status."""
        refusals.forget()  # no record is left out
        parts = authorization.removeprefix("Bearer ").split(".")
        self._forbidden |= {part for part in parts if len(part) > 8}
        return self._client.get("/api/me", HTTP_AUTHORIZATION=authorization).status_code

    def events(self) -> set[str]:
        """Return the events logged; fail if a record holds what it must not."""
        formatter = logging.Formatter("%(message)s")
        found = set()
        for record in self.caplog.records:
            if record.name.partition(".")[0] in LOGGERS:
                text = formatter.format(record) + repr(vars(record)) + repr(record.args)
                assert not [part for part in self._forbidden if part in text], record.name
                found.add(getattr(record, "event", record.getMessage()))
        return found


@pytest.fixture
def written(caplog) -> Iterator[Log]:
    # The demo's settings give the last a level of its own.
    for name in ("", *LOGGERS, "django.request"):
        caplog.set_level(logging.DEBUG, logger=name)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        yield Log(caplog)
        logging.captureWarnings(False)


def good_payload(signer: LocalIssuer, **claims: object) -> dict[str, object]:
    return signer.session_payload(
        "user_visible",
        azp=f"https://{MARK}.example.com",
        aud=MARK,
        **{"sid": f"sess_{MARK}", "email": f"{MARK}@example.com", "name": MARK, **claims},
    )


def every_token(signer: LocalIssuer) -> Iterator[str]:
    """Yield a good token, every bad one, and one for each header member and claim, marked."""
    payload = good_payload(signer)
    yield signer.sign(payload, {"oiat": MARK})
    for kind in BAD_TOKENS.values():
        yield kind.make(signer, {**payload, "sub": f"user_{MARK}"})
    for name in HEADERS:
        yield signer.sign(payload, {name: MARK})
    for name in CLAIMS:
        yield signer.sign({**payload, "sub": f"user_{MARK}\n", name: [MARK]})
    header, body, _signature = signer.sign(payload).split(".")
    yield f"{header}.{body}.{MARK}AAA"
    yield f"{header}.{MARK}AAA.{MARK}AAA"
    yield f"{MARK}AAA.{body}.{MARK}AAA"


def send_all(written: Log, server: IssuerServer) -> set[int]:
    tokens = (f"Bearer {token}" for token in every_token(server.signer))
    return {written.send(header) for header in (*tokens, *GARBAGE)}


def test_tokens_and_headers(marked, written):
    assert send_all(written, marked) == {200, 401}
    assert written.events() >= {
        "JWT signature verified for user user_visible",
        "token_rejected",
        "keys_changed",
        "Unauthorized: /api/me",
    }


def test_every_code_is_among_them(marked, written, caplog):
    send_all(written, marked)
    codes = {record.code for record in caplog.records if hasattr(record, "code")}
    # These are of the other tests: of users, and of keys that cannot be had.
    assert codes == set(CODES) - {
        *("user_inactive", "user_unknown"),
        *("keys_unavailable", "keys_busy"),
    }


@pytest.mark.parametrize("values", [{}, {"JWKS_URL": None}, {"LEEWAY_SECONDS": MARK}])
def test_observe_mode(marked, written, settings, values):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, **values, "MODE": "observe"}
    assert send_all(written, marked) == {403}
    expected = "observation_failed" if values else "token_rejected"
    assert expected in written.events()


def test_settings_that_cannot_be_used(marked, written, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "LEEWAY_SECONDS": MARK}
    token = next(every_token(marked.signer))
    assert written.send(f"Bearer {token}") == 500
    assert "Internal Server Error: /api/me" in written.events()


def documents(signer: LocalIssuer) -> dict[str, Callable]:
    """Return what an issuer may answer, each with the mark in it."""
    return {
        "status": answer(MARK.encode(), status=f"500 {MARK}"),
        "redirect": answer(b"", status="302 Found", headers=[f"Location: http://{MARK}.example/"]),
        "not_json": answer(f"<html>{MARK}".encode()),
        "not_a_key_set": answer(f'{{"{MARK}": "{MARK}"}}'.encode()),
        "no_usable_key": answer(f'{{"keys": [{{"kid": "{MARK}", "kty": "{MARK}"}}]}}'.encode()),
        "body": answer(MARK.encode(), headers=["Content-Encoding: gzip"]),
        "connection": lambda connection: None,
    }


@pytest.mark.parametrize("reason", [*documents(None)])
def test_key_documents(reason, marked, written):
    marked.script = documents(marked.signer)[reason]
    token = next(every_token(marked.signer))
    assert written.send(f"Bearer {token}") == 503
    assert written.events() >= {
        "keys_fetch_failed",
        "token_rejected",
        "Service Unavailable: /api/me",
    }


def test_keys_that_are_left_out(marked, written):
    private = {"kid": MARK, "kty": "RSA", "n": MARK, "e": "AQAB", "d": MARK}
    marked.script = answer(json.dumps({"keys": [private, marked.signer.jwk]}).encode())
    assert written.send(f"Bearer {next(every_token(marked.signer))}") == 200
    assert "keys_skipped" in written.events()


def test_cache_that_fails(marked, written, settings):
    settings.CACHES = {**settings.CACHES, MARK: {"BACKEND": f"{__name__}.MarkedCache"}}
    assert written.send(f"Bearer {next(every_token(marked.signer))}") == 200
    assert "cache_unavailable" in written.events()


@pytest.mark.parametrize("document", [MARK, f'{{"keys": "{MARK}"}}:{MARK}', 5])
def test_shared_document_of_somebody_else(document, marked, written):
    get_verifier().source.fleet.breaker.set("document", document, 60)
    assert written.send(f"Bearer {next(every_token(marked.signer))}") == 200
    assert "shared_document_refused" in written.events()


def test_flight_and_sink_that_fail(marked, written, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "METRICS": [f"{__name__}.MarkedSink"]}

    def fail() -> bytes:
        raise ValueError(MARK)

    get_verifier().source.fleet.load = fail
    assert written.send(f"Bearer {next(every_token(marked.signer))}") == 503
    assert written.events() >= {"keys_flight_failed", "metrics_sink_failed"}


class MarkedSink:
    def increment(self, name, by, labels):
        raise ValueError(MARK)

    set = increment


@pytest.mark.django_db
def test_users(marked, written, settings):
    token = f"Bearer {next(every_token(marked.signer))}"
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.inactive"}
    assert written.send(token) == 401
    settings.CLERK_AUTH = {
        **settings.CLERK_AUTH,
        "USER_RESOLVER": "clerk_auth.users.database_user",
    }
    User.objects.create(username="user_visible", email=f"{MARK}@example.com", is_active=False)
    assert written.send(token) == 401
    assert "token_rejected" in written.events()


@pytest.mark.parametrize(
    "command",
    [
        ["clerk_selftest"],
        ["clerk_selftest", "--json", "--offline"],
        ["clerk_keys", "status"],
        ["clerk_keys", "refresh"],
        ["check", "--deploy", "--tag", "clerk_auth"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("is_up", [True, False])
def test_commands(command, is_up, marked, written):
    if not is_up:
        marked.script = answer(MARK.encode(), status=f"500 {MARK}")
    with contextlib.suppress(SystemExit):
        call_command(*command, stdout=io.StringIO(), stderr=io.StringIO())
    events = written.events()
    if command == ["clerk_keys", "refresh"]:
        assert ("keys_changed" if is_up else "keys_fetch_failed") in events


def test_development_mode(written, settings, tmp_path):
    settings.BASE_DIR = tmp_path
    with override_settings(DEBUG=True, CLERK_AUTH={"DEV_MODE": True}, SECURE_SSL_REDIRECT=False):
        out = io.StringIO()
        call_command("clerk_token", "--user", "user_visible", stdout=out)
        assert written.send(f"Bearer {out.getvalue().strip()}") == 200
        assert "JWT signature verified for user user_visible" in written.events()


def test_net_has_no_hole(written):
    """A record that does hold a mark is found, wherever it is in it."""
    logger = logging.getLogger("clerk_auth")
    for write in (
        lambda: logger.debug("said %s", MARK),
        lambda: logger.debug("said", extra={"claim": MARK}),
        lambda: logger.debug("said", exc_info=ValueError(MARK)),
        lambda: warnings.warn(MARK, stacklevel=1),
    ):
        write()
        with pytest.raises(AssertionError):
            written.events()
        written.caplog.clear()
