"""The self-test: it passes where the lock is locked, and is able to fail where it is not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate

import pytest
from django.conf import settings as django_settings
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from redis import Redis

from clerk_auth import metrics
from clerk_auth.conf import Config, get_config
from clerk_auth.core.errors import FETCH_REASONS, IssuerNotAllowed, KeyNotFound
from clerk_auth.diagnostics import remedies, selftest
from clerk_auth.diagnostics.inspection import FAILED, PASSED
from clerk_auth.diagnostics.selftest import SKIPPED, WARNED, Report, Result
from clerk_auth.issuer import bad_tokens
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.development import LocalIssuer
from clerk_auth.jwks import breaker
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.jwks.wiring import make_source
from clerk_auth.transport import Answer
from clerk_auth.verifier import Verifier, get_verifier
from tests.commands import run_command
from tests.conftest import ISSUER, NOW, PARTY
from tests.issuer_server import IssuerServer, answer

pytestmark = pytest.mark.integration

BY_CLAIMS = [bad.title for bad in BAD_TOKENS.values() if bad.by_claims]
BY_KEYS = [bad.title for bad in BAD_TOKENS.values() if not bad.by_claims]
TOKEN = re.compile(r"eyJ[\w-]+\.")


def run(**options: bool) -> Report:
    return selftest.run(get_config(), **options)


def find(report: Report, group: str, name: str) -> Result:
    (result,) = (r for r in report.results if (r.group, r.name) == (group, name))
    return result


def with_status(report: Report, status: str) -> set[tuple[str, str]]:
    return {(r.group, r.name) for r in report.results if r.status == status}


# Where all is well


@pytest.fixture(scope="module")
def healthy(local_issuer) -> Iterator[Report]:
    """The report on settings that check everything, and two keys."""
    server = IssuerServer(local_issuer)
    server.signers.append(LocalIssuer.generate(server.issuer, kid="ins_second"))
    values = {
        "ISSUER": server.issuer,
        "JWKS_URL": server.jwks_url,
        "AUTHORIZED_PARTIES": [PARTY],
        "AUDIENCE": "api",
    }
    try:
        with override_settings(CLERK_AUTH=values):
            yield run()
    finally:
        server.stop()


def test_healthy_settings_pass(healthy):
    assert healthy.passed
    assert with_status(healthy, FAILED) == with_status(healthy, SKIPPED) == set()
    # LocMem belongs to one process, and that is said.
    assert with_status(healthy, WARNED) == {("cache", "round trip")}


def test_every_probe_is_in_the_report(healthy):
    assert [(result.group, result.name) for result in healthy.results] == [
        ("settings", "configuration"),
        ("cache", "round trip"),
        ("key set", "fetch"),
        ("key set", "shared document"),
        ("clock", "against the server"),
        ("claims", "good token"),
        *(("claims", title) for title in BY_CLAIMS),
        *(("keys", f"{key.thumbprint[:8]}: {title}") for key in healthy.keys for title in BY_KEYS),
    ]
    assert len(healthy.keys) == 2


def test_every_bad_token_is_refused_with_its_own_code(healthy):
    for bad in BAD_TOKENS.values():
        results = [r for r in healthy.results if r.name.endswith(bad.title)]
        assert len(results) == (1 if bad.by_claims else 2)
        assert {r.detail for r in results} == {f"refused with {bad.code}"}


def test_report_is_json_with_every_key_described(healthy):
    document = json.loads(json.dumps(healthy.as_dict()))
    assert set(document) == {"schema_version", "passed", "counts", "probes", "keys", "token"}
    assert (document["schema_version"], document["passed"]) == (1, True)
    assert len(document["probes"]) == len(healthy.results)
    assert set(document["probes"][0]) == {"group", "name", "status", "detail", "remedy"}
    assert [key["kid"] for key in document["keys"]] == ["ins_server", "ins_second"]
    for described, key in zip(document["keys"], healthy.keys, strict=True):
        assert (
            described.items()
            >= {
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "bits": 2048,
                "thumbprint": key.thumbprint,
            }.items()
        )


def test_report_holds_no_secret_and_no_token(healthy):
    text = json.dumps(healthy.as_dict())
    assert not TOKEN.search(text)
    assert "BEGIN" not in text
    assert django_settings.SECRET_KEY not in text


def test_first_request_after_it_fetches_nothing(configured):
    assert run().passed
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    assert configured.fetches == 1


@pytest.mark.redis
def test_shared_cache_is_warm_for_every_process(configured, settings, redis):
    settings.CACHES = redis_cache(redis.url)
    report = run()
    assert find(report, "cache", "round trip").status == PASSED
    assert "shared between processes" in find(report, "cache", "round trip").detail
    assert with_status(report, WARNED) == set()
    settings.DEBUG = False  # forgets the verifier, as a new process has none
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    assert configured.fetches == 1


def test_it_claims_no_cooldown(configured, other_issuer):
    """Both forced fetches are still there for the tokens that need them."""
    assert run().passed
    verifier = get_verifier()
    for fetches, kid in ((2, "ins_rotated_in"), (3, "ins_rotated_in")):
        signer = other_issuer if fetches == 2 else LocalIssuer.generate(ISSUER)
        configured.signers = [signer.acting_as(configured.issuer, kid=kid)]
        assert verifier.verify(configured.signer.token(azp=PARTY))
        assert configured.fetches == fetches


def test_its_tokens_are_not_counted(configured):
    run()
    assert {
        series: total
        for series, total in metrics.totals().items()
        if series[0] in (metrics.VERIFIED, metrics.REFUSED) and total
    } == {}


def test_keys_that_are_left_out_are_told(configured, local_issuer):
    ec = {"kty": "EC", "kid": "ins_ec", "crv": "P-256", "x": "AA", "y": "AA"}
    body = json.dumps({"keys": [ec, configured.signer.jwk, configured.signer.jwk]})
    configured.script = answer(body.encode())
    report = run()
    assert "1 skipped: key_type, 1 skipped: repeated" in find(report, "key set", "fetch").detail
    assert report.passed


# Where the keys cannot be had


@pytest.mark.parametrize(
    ("script", "detail", "remedy"),
    [
        pytest.param(
            answer(b"<!DOCTYPE html><title>Sign in</title>"), "not_json", "JWKS_URL", id="html"
        ),
        pytest.param(answer(b'{"message": "ok"}'), "not_a_key_set", "JWKS_URL", id="other-json"),
        pytest.param(answer(b'{"keys": []}'), "no_usable_key", "JWKS_URL", id="no-keys"),
        pytest.param(
            answer(b'{"keys": [{"kty": "oct", "kid": "ins_server", "k": "AAAA"}]}'),
            "no_usable_key",
            "JWKS_URL",
            id="symmetric-key",
        ),
        pytest.param(
            answer(b"", status="302 Found", headers=["Location: https://login.example.com/"]),
            "redirect 302",
            "Redirects are not followed",
            id="redirect",
        ),
        pytest.param(answer(b"", status="404 Not Found"), "status 404", "browser", id="404"),
        pytest.param(answer(bytes(300_000)), "too_large", "JWKS_URL", id="large"),
        pytest.param(answer(b"{}", length=9), "body", "JWKS_URL", id="truncated"),
        pytest.param(lambda connection: None, "connection", "egress", id="hung-up"),
    ],
)
def test_issuer_that_serves_no_keys_fails_with_a_remedy(configured, script, detail, remedy):
    configured.script = script
    report = run()
    assert not report.passed
    assert with_status(report, FAILED) == {("key set", "fetch")}
    failed = find(report, "key set", "fetch")
    assert failed.detail == f"{configured.jwks_url}: {detail}"
    assert remedy in failed.remedy
    # The policy is tested all the same, on a key of its own.
    assert find(report, "claims", "expired").status == PASSED
    assert find(report, "keys", "key probes").status == SKIPPED


def test_stopped_issuer_fails_with_a_remedy(configured):
    configured.stop()
    report = run()
    assert with_status(report, FAILED) == {("key set", "fetch")}
    assert "egress" in find(report, "key set", "fetch").remedy


def test_hanging_issuer_fails_with_a_remedy(configured, settings):
    configured.script = lambda connection: connection.recv(1)
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "JWKS_TIMEOUT_SECONDS": 1}
    failed = find(run(), "key set", "fetch")
    assert (failed.status, failed.detail) == (FAILED, f"{configured.jwks_url}: timeout")
    assert "JWKS_TIMEOUT_SECONDS" in failed.remedy


def test_every_failure_of_a_fetch_has_a_remedy():
    assert set(remedies._FETCH) <= set(FETCH_REASONS)
    assert set(remedies._API) <= set(FETCH_REASONS)
    assert all(map(remedies.remedy_for_fetch, FETCH_REASONS))


# Clock


def clock_status(date: str | None, *, asked_at: float = NOW, leeway_seconds: float = 5) -> str:
    """Return the status for an answer with ``date`` that took half a second."""
    headers = {} if date is None else {"Date": date}
    document = Answer(200, headers, b"{}", elapsed_seconds=0.5)
    return selftest._probe_clock(document, asked_at, leeway_seconds).status


@pytest.mark.parametrize("leeway_seconds", [0, 5, 60])
def test_clocks_may_differ_by_the_leeway(leeway_seconds):
    """The server has written its whole seconds at any time while we waited."""
    date = formatdate(NOW, usegmt=True)
    latest, earliest = NOW + 1 + leeway_seconds, NOW - 0.5 - leeway_seconds
    for asked_at, status in [
        (latest - 0.25, PASSED),
        (latest, PASSED),
        (latest + 0.25, FAILED),
        (earliest + 0.25, PASSED),
        (earliest, PASSED),
        (earliest - 0.25, FAILED),
    ]:
        found = clock_status(date, asked_at=asked_at, leeway_seconds=leeway_seconds)
        assert (asked_at, found) == (asked_at, status)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 99 Nov 2026 10:00:00 GMT", "\xff"])
def test_clock_is_not_judged_without_a_date(date):
    assert clock_status(date) == SKIPPED


@pytest.mark.parametrize(("behind_seconds", "status"), [(0, PASSED), (3600, FAILED)])
def test_clock_is_read_from_the_answer(configured, behind_seconds, status):
    body = configured.document()
    date = formatdate(time.time() - behind_seconds, usegmt=True)
    head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n"
    configured.script = lambda connection: connection.sendall(head.encode() + body)
    report = run()
    result = find(report, "clock", "against the server")
    assert (result.status, report.passed) == (status, status == PASSED)
    if status == FAILED:
        assert result.detail in ("+3599 s", "+3600 s")
        assert "NTP" in result.remedy


# Cache


class FailingCache(BaseCache):
    def __init__(self, location, params):
        super().__init__(params)

    def _fail(self, *args, **kwargs):
        raise ConnectionError("redis://:hunter2@cache.example.com refused")

    add = get = set = delete = clear = _fail


class ForgetfulCache(BaseCache):
    """Says yes, and keeps nothing."""

    def __init__(self, location, params):
        super().__init__(params)

    def add(self, *args, **kwargs):
        return True

    def get(self, key, default=None, version=None):
        return default

    def set(self, *args, **kwargs):
        pass

    delete = clear = set


@pytest.mark.parametrize(
    ("backend", "status", "said"),
    [
        ("django.core.cache.backends.locmem.LocMemCache", WARNED, "not shared"),
        ("django.core.cache.backends.dummy.DummyCache", WARNED, "keeps nothing"),
        (f"{__name__}.ForgetfulCache", FAILED, "keeps nothing"),
        (f"{__name__}.FailingCache", FAILED, "ConnectionError"),
        ("no_such_module.Cache", FAILED, "InvalidCacheBackendError"),
    ],
)
def test_cache_is_tried_for_real(settings, backend, status, said):
    settings.CACHES = {**settings.CACHES, "keys": {"BACKEND": backend}}
    result = selftest._probe_cache("keys")
    assert result.status == status
    assert said in result.detail
    assert "hunter2" not in result.detail + result.remedy
    assert result.remedy


class LateCache(LocMemCache):
    """Takes its time for the first call, as one does that imports a client and connects."""

    is_late = True

    def add(self, *args, **kwargs):
        self._start()
        return super().add(*args, **kwargs)

    def get(self, *args, **kwargs):
        self._start()
        return super().get(*args, **kwargs)

    def _start(self):
        if self.is_late:
            time.sleep(0.2)
        self.is_late = False


def test_time_is_that_of_a_call_and_not_of_the_start(settings):
    settings.CACHES = {**settings.CACHES, "keys": {"BACKEND": f"{__name__}.LateCache"}}
    detail = selftest._probe_cache("keys").detail
    (milliseconds,) = re.findall(r", ([\d.]+) ms", detail)
    assert float(milliseconds) < 100
    # What belongs to one process does so under another name, too.
    assert "not shared" in detail


class SmallCache(FileBasedCache):
    """Keeps small values, and refuses a key set without a word."""

    def set(self, key, value, timeout=None, version=None):
        if len(str(value)) < 200:
            super().set(key, value, timeout, version)


class SmallLocMemCache(LocMemCache):
    """As that one, of one process."""

    def set(self, key, value, timeout=None, version=None):
        if len(str(value)) < 200:
            super().set(key, value, timeout, version)


@pytest.mark.parametrize(
    ("backend", "status"),
    [
        ("django.core.cache.backends.locmem.LocMemCache", PASSED),
        ("django.core.cache.backends.dummy.DummyCache", WARNED),
        (f"{__name__}.SmallLocMemCache", WARNED),
        (f"{__name__}.SmallCache", FAILED),
    ],
)
def test_key_set_that_cannot_be_stored_is_a_failure_but_in_tests(
    configured, settings, tmp_path, backend, status
):
    cache = {"BACKEND": backend, "LOCATION": str(tmp_path)}
    settings.CACHES = {**settings.CACHES, "keys": cache}
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "CACHE_ALIAS": "keys"}
    report = run()
    result = find(report, "key set", "shared document")
    assert (result.status, report.passed) == (status, status != FAILED)
    assert status == PASSED or result.detail == (
        "it cannot be stored: the cache does not give back what was fetched: another set is there, "
        "or none"
    )
    assert status == PASSED or "clerk_auth:" in result.remedy


def redis_cache(url: str) -> dict[str, object]:
    options = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "OPTIONS": options,
        }
    }


@pytest.fixture
def reader(redis) -> Iterator[str]:
    """A user of Redis who may store the probe of the self-test, and only read anything else."""
    with Redis.from_url(redis.url) as client:
        client.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+hunter2"],
            categories=["+@all"],
            keys=["*selftest*"],
            reset=True,
        )
        client.execute_command("ACL", "SETUSER", "reader", "%R~*")
        yield redis.url.replace("redis://", "redis://reader:hunter2@")
        client.acl_deluser("reader")


@pytest.mark.redis
def test_server_that_takes_nothing_of_ours_is_a_failure_though_an_older_set_is_there(
    configured, settings, redis, reader
):
    settings.CACHES = redis_cache(redis.url)
    assert run().passed
    settings.CACHES = redis_cache(reader)
    report = run()
    assert with_status(report, FAILED) == {("key set", "shared document")}
    assert find(report, "cache", "round trip").status == PASSED
    assert "NoPermissionError" in find(report, "key set", "shared document").detail
    # It can be read: that is enough where nothing is to be stored.
    assert run(offline=True).passed
    assert "hunter2" not in json.dumps(report.as_dict())


def test_lock_of_another_process_is_no_fault_of_the_store(configured, settings, tmp_path):
    """The other command says the same of it."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path),
        }
    }
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "JWKS_TIMEOUT_SECONDS": 1}
    assert run().passed
    assert make_source(get_config()).fleet.acquire(lease_seconds=60)
    report = run()
    assert with_status(report, FAILED) == {("key set", "shared document")}
    result = find(report, "key set", "shared document")
    assert result.detail.endswith("the cache was not changed: another process holds the lock")
    assert "delete the key that ends in :lock" in result.remedy
    outcome = run_command("clerk_keys", "refresh")
    assert outcome.status == 1
    assert result.remedy in " ".join(outcome.out.split())


class UnreadableCache(FileBasedCache):
    """Hangs for a while and fails, for all but the probe of the self-test."""

    def get(self, key, default=None, version=None):
        if "selftest" not in key:
            time.sleep(breaker.SLOW_SECONDS)
            raise ConnectionError
        return super().get(key, default, version)


def test_key_set_that_cannot_be_read_is_a_failure_offline_too(configured, settings, tmp_path):
    cache = {"BACKEND": f"{__name__}.UnreadableCache", "LOCATION": str(tmp_path)}
    settings.CACHES = {**settings.CACHES, "keys": cache}
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "CACHE_ALIAS": "keys"}
    report = run(offline=True)
    assert with_status(report, FAILED) == {("key set", "fetch")}
    assert "cannot be read" in find(report, "key set", "fetch").detail
    assert configured.fetches == 0


def test_alias_that_is_missing_fails():
    assert selftest._probe_cache("no_such_alias").status == FAILED


def test_cache_that_fails_does_not_hide_the_other_probes(configured, settings):
    settings.CACHES = {**settings.CACHES, "keys": {"BACKEND": f"{__name__}.FailingCache"}}
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "CACHE_ALIAS": "keys"}
    report = run()
    assert with_status(report, FAILED) == {("cache", "round trip"), ("key set", "shared document")}
    assert with_status(report, WARNED) == set()
    assert find(report, "key set", "fetch").status == PASSED
    # Small values are not stored either: it is said once what to do.
    remedies = {result.remedy for result in report.results if result.status == FAILED}
    assert len(remedies) == 1
    assert "hunter2" not in json.dumps(report.as_dict())


# Offline, and without a key set to fetch


def test_offline_makes_no_request(configured):
    report = run(offline=True)
    assert report.passed
    assert configured.fetches == 0
    assert report.keys == ()
    assert with_status(report, SKIPPED) >= {("key set", "fetch"), ("keys", "key probes")}


def test_offline_tries_the_keys_that_are_shared_already(configured):
    get_verifier().verify(configured.signer.token(azp=PARTY))
    configured.stop()
    report = run(offline=True)
    assert report.passed
    assert [key.kid for key in report.keys] == ["ins_server"]
    assert len([r for r in report.results if r.group == "keys"]) == len(BY_KEYS)


def test_configured_key_is_tried_without_network(key_configured, local_issuer):
    report = run()
    assert report.passed
    assert [key["kid"] for key in report.as_dict()["keys"]] == [None]
    assert {r.group for r in report.results} == {"settings", "claims", "keys"}
    assert with_status(report, SKIPPED) == {("claims", BAD_TOKENS["wrong-audience"].title)}
    title = BAD_TOKENS["unknown-kid"].title
    assert not [r for r in report.results if r.name.endswith(title)]


def test_development_issuer_is_tried_too(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    report = run()
    assert report.passed
    assert [key.kid for key in report.keys] == ["ins_local"]
    assert with_status(report, WARNED) == set()


@pytest.mark.parametrize(
    ("parties", "said"),
    [
        ([], "; 0 authorized parties; "),
        ([PARTY], "; 1 authorized party; "),
        ([PARTY, f"{PARTY}:8443"], "; 2 authorized parties; "),
    ],
)
def test_parties_are_counted(key_configured, parties, said):
    key_configured.CLERK_AUTH = {**key_configured.CLERK_AUTH, "AUTHORIZED_PARTIES": parties}
    assert said in selftest.describe(get_config()).detail


def test_query_of_the_key_url_is_not_shown(configured, settings):
    url = f"{configured.jwks_url}?key=hunter2"
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "JWKS_URL": url}
    for _ in range(2):
        text = json.dumps(run().as_dict())
        assert f"{configured.jwks_url}?..." in text
        assert "hunter2" not in text
        configured.script = answer(b"", status="503 Busy")


def test_missing_parties_are_a_warning(key_configured):
    key_configured.CLERK_AUTH = {**key_configured.CLERK_AUTH, "AUTHORIZED_PARTIES": []}
    assert selftest.describe(get_config()).status == WARNED
    assert "AUTHORIZED_PARTIES" in selftest.describe(get_config()).remedy


def test_life_without_session_category_is_named_and_no_limit_is_a_warning(key_configured):
    described = selftest.describe(get_config())
    assert "; exp at most 3600 s ahead without session category; " in described.detail
    values = {**key_configured.CLERK_AUTH, "UNCATEGORIZED_TOKEN_MAX_SECONDS": 0}
    key_configured.CLERK_AUTH = values
    described = selftest.describe(get_config())
    assert described.status == WARNED
    assert "; exp at any time without session category; " in described.detail
    assert "JWT template" in described.remedy


def test_mode_is_named_and_observing_is_a_warning(key_configured):
    described = selftest.describe(get_config())
    assert (described.status, described.remedy) == (PASSED, "")
    assert described.detail.endswith("; mode enforce")
    key_configured.CLERK_AUTH = {**key_configured.CLERK_AUTH, "MODE": "observe"}
    described = selftest.describe(get_config())
    assert described.status == WARNED
    assert described.detail.endswith("; mode observe")
    assert "Verdicts decide nothing" in described.remedy


@pytest.mark.parametrize(
    ("values", "skipped"),
    [
        ({"ACCEPT_PENDING": True}, {"pending", "wrong-audience"}),
        ({"UNCATEGORIZED_TOKEN_MAX_SECONDS": 0}, {"long-lived", "wrong-audience"}),
        ({"AZP_POLICY": "if_present"}, {"no-party", "wrong-audience"}),
        ({"AUTHORIZED_PARTIES": []}, {"wrong-party", "no-party", "wrong-audience"}),
        ({"AUDIENCE": "api"}, set()),
    ],
)
def test_what_the_settings_let_in_is_skipped_and_said(key_configured, values, skipped):
    key_configured.CLERK_AUTH = {**key_configured.CLERK_AUTH, **values}
    results = list(selftest._probe_claims(get_config()))
    assert {r.name for r in results if r.status == SKIPPED} == {
        BAD_TOKENS[name].title for name in skipped
    }
    assert {r.status for r in results} <= {PASSED, SKIPPED}


# Where the lock is open


def claims_failures(config: Config) -> dict[str, str]:
    return {r.name: r.detail for r in selftest._probe_claims(config) if r.status == FAILED}


def test_clock_skew_without_bound_is_found(key_configured):
    """A ``Config`` that the settings would never allow."""
    config = replace(get_config(), leeway_seconds=86_400)
    assert claims_failures(config) == {"expired": "ACCEPTED", "not valid yet": "ACCEPTED"}


def test_key_that_an_attacker_has_is_found(key_configured):
    """The configured key is the very one that the forged tokens are signed with."""
    forger = bad_tokens._forger("")
    key_configured.CLERK_AUTH = {
        **key_configured.CLERK_AUTH,
        "JWT_KEY": forger.public_pem.strip(),
    }
    report = run()
    assert not report.passed
    opened = [r for r in report.results if r.status == FAILED]
    assert {r.name.partition(": ")[2] for r in opened} == {
        BAD_TOKENS["forged"].title,
        BAD_TOKENS["embedded-key"].title,
    }
    assert {r.detail for r in opened} == {"ACCEPTED"}
    assert all("Do not deploy" in r.remedy for r in opened)


class OpenVerifier(Verifier):
    """Lets everybody in."""

    def check(self, text: str):
        return None


class UniformVerifier(Verifier):
    """Refuses everybody, for one reason."""

    def check(self, text: str):
        raise KeyNotFound


def test_verifier_that_lets_one_in_is_found(local_issuer, policy):
    source = StaticKeySource((local_issuer.verifying_key,))
    for bad in BAD_TOKENS.values():
        result = selftest._expect_refusal("keys", "x", OpenVerifier(source, policy), "token", bad)
        assert (result.status, result.detail) == (FAILED, "ACCEPTED")
        assert "Do not deploy" in result.remedy


def test_verifier_that_refuses_for_one_reason_alone_is_found(local_issuer, policy):
    source = StaticKeySource((local_issuer.verifying_key,))
    for bad in BAD_TOKENS.values():
        verifier = UniformVerifier(source, policy)
        result = selftest._expect_refusal("keys", "x", verifier, "token", bad)
        assert result.status == (PASSED if bad.code == "key_not_found" else FAILED)


def test_refusal_for_another_reason_is_found(local_issuer, policy):
    expired = BAD_TOKENS["expired"]
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)
    token = expired.make(local_issuer, local_issuer.session_payload(now=NOW, azp=PARTY))
    right = selftest._expect_refusal("claims", "x", verifier, token, expired)
    assert right.status == PASSED
    mistaken = replace(expired, error=IssuerNotAllowed)
    wrong = selftest._expect_refusal("claims", "x", verifier, token, mistaken)
    assert wrong.status == FAILED
    assert wrong.detail == "refused with token_expired, not issuer_not_allowed"


def test_policy_that_refuses_good_tokens_is_found(key_configured):
    key_configured.CLERK_AUTH = {**key_configured.CLERK_AUTH, "MAX_TOKEN_BYTES": 100}
    failures = claims_failures(get_config())
    assert failures["good token"].startswith("refused with token_malformed")
