"""The self-test: does the running configuration let good tokens in, and keep bad ones out?

One list of results serves the command's text, its JSON and whoever else asks.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from django.core.cache import caches

from clerk_auth.conf import ENFORCE, OBSERVE, Config
from clerk_auth.core.errors import ClerkAuthError, KeySetInvalid
from clerk_auth.core.keys import describe_key, parse_jwks
from clerk_auth.dev import LocalIssuer
from clerk_auth.fetch import FetchedDocument, FetchFailed, fetch_document
from clerk_auth.inspection import (
    ACCEPTED,
    FAILED,
    PASSED,
    Inspection,
    find_key_directory,
    inspect,
)
from clerk_auth.payloads import recipient_claims
from clerk_auth.probes import BAD_TOKENS, BadToken
from clerk_auth.redaction import show_url
from clerk_auth.sources import Keys, StaticKeySource
from clerk_auth.verifier import Verifier, make_cached_source, make_source

SCHEMA_VERSION = 1
WARNED, SKIPPED = "warning", "skipped"
_UNSHARED_BACKENDS = ("LocMemCache", "DummyCache")

FETCH_REMEDIES = {
    "tls": "The certificate is not trusted: check the host's CA bundle and a proxy in between.",
    "redirect": "Redirects are not followed: correct FRONTEND_API or JWKS_URL.",
    "status": "Check FRONTEND_API or JWKS_URL: open the URL in a browser.",
    "timeout": "Check egress, DNS and proxy of this host; see JWKS_TIMEOUT_SECONDS.",
    "connection": "Check that the URL is right, and egress, DNS and proxy of this host.",
}
_DOCUMENT_REMEDY = "This is not Clerk's key set: check FRONTEND_API or JWKS_URL, and proxies."


@dataclass(frozen=True, slots=True)
class Result:
    """What one probe found; ``remedy`` says what to do where it did not pass."""

    group: str
    name: str
    status: str
    detail: str
    remedy: str = ""


@dataclass(slots=True)
class Report:
    """Results in the order of a request's way, the keys in use, and what verdicts are for.

    ``inspection`` is that of a token, if one was given.
    """

    results: list[Result] = field(default_factory=list)
    keys: Keys = ()
    mode: str = ENFORCE
    inspection: Inspection | None = None

    @property
    def passed(self) -> bool:
        is_accepted = self.inspection is None or self.inspection.verdict == ACCEPTED
        return is_accepted and all(result.status != FAILED for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; its shape changes only with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "probes": [asdict(result) for result in self.results],
            "keys": [describe_key(key) for key in self.keys],
            "token": self.inspection and self.inspection.as_dict(),
        }


def run(config: Config, *, offline: bool = False, token: str | None = None) -> Report:
    """Run every probe; the shared cache is warm afterwards, if a fetch succeeded."""
    report = Report(mode=config.mode)
    report.results.append(describe(config))
    if config.jwks_url is None:
        report.keys = make_source(config).status().keys
    else:
        report.results.append(_probe_cache(config.cache_alias))
        report.results.extend(_probe_key_set(config, config.jwks_url, report, offline=offline))
    report.results.extend(_probe_claims(config))
    report.results.extend(_probe_keys(config, report.keys))
    if token is not None:
        report.inspection = inspect(
            token,
            config.policy,
            report.keys,
            now=time.time(),
            key_directory=find_key_directory(config),
        )
    return report


def describe(config: Config) -> Result:
    """Say whose tokens are accepted, by which keys; warn where that is less than it could be."""
    keys_from = "the development issuer" if config.dev_mode else "JWT_KEY"
    if config.jwks_url:
        keys_from = show_url(config.jwks_url)
    parties = f"{len(config.authorized_parties)} authorized parties"
    issuers = ", ".join(config.issuers)
    detail = f"issuer {issuers}; keys from {keys_from}; {parties}; mode {config.mode}"
    remedies = []
    if not config.authorized_parties and not config.dev_mode:
        remedies.append("Set AUTHORIZED_PARTIES to your front end's origins.")
    if config.mode == OBSERVE:
        remedies.append("Verdicts decide nothing until MODE is enforce: see docs/rollout.md.")
    status = WARNED if remedies else PASSED
    return Result("settings", "configuration", status, detail, " ".join(remedies))


def _probe_cache(alias: str) -> Result:
    name = "round trip"
    # One that is not there may be anything.
    shown = alias if alias in caches.settings else "CACHE_ALIAS"
    remedy = f"Check CACHES[{shown!r}] and its server: without it each process fetches for itself."
    key, value = f"clerk_auth:selftest:{secrets.token_hex(8)}", secrets.token_hex(8)
    started_at = time.perf_counter()
    try:
        cache = caches[alias]
        backend = f"{type(cache).__module__}.{type(cache).__name__}"
        added = cache.add(key, value, 30)
        found = cache.get(key)
        cache.delete(key)
    except Exception as error:  # backends raise what they like
        return Result("cache", name, FAILED, f"{shown}: {type(error).__name__}", remedy)
    milliseconds = (time.perf_counter() - started_at) * 1000
    detail = f"{shown}: {backend}, {milliseconds:.1f} ms"
    if added is not True or found != value:
        status = WARNED if backend.endswith("DummyCache") else FAILED
        return Result("cache", name, status, f"{detail}, keeps nothing", remedy)
    if backend.endswith(_UNSHARED_BACKENDS):
        hint = "Use Redis when more than one process serves: see docs/deployment.md."
        return Result("cache", name, WARNED, f"{detail}, not shared between processes", hint)
    return Result("cache", name, PASSED, f"{detail}, shared between processes")


def _probe_key_set(config: Config, url: str, report: Report, *, offline: bool) -> Iterator[Result]:
    if offline:
        report.keys = make_cached_source(config, url, _refuse_to_fetch).load_shared().keys
        found = f"the shared cache holds {len(report.keys) or 'no'} keys"
        yield Result("key set", "fetch", SKIPPED, f"offline; {found}")
        return
    started_at = time.time()
    try:
        document = fetch_document(url, config.jwks_timeout_seconds)
        key_set = parse_jwks(document.body)
    except (FetchFailed, KeySetInvalid) as error:
        status = getattr(error, "status", None)
        detail = f"{show_url(url)}: {error.reason}" + (f" {status}" if status else "")
        remedy = FETCH_REMEDIES.get(error.reason, _DOCUMENT_REMEDY)
        yield Result("key set", "fetch", FAILED, detail, remedy)
        return
    report.keys = key_set.keys
    skipped = "".join(f", {count} skipped: {why}" for why, count in key_set.skipped.items())
    detail = (
        f"{len(key_set.keys)} keys from {show_url(url)} in {document.elapsed_seconds * 1000:.0f} ms"
    )
    yield Result("key set", "fetch", PASSED, detail + skipped)
    yield _probe_store(config, url, document)
    yield _probe_clock(document, started_at, config.leeway_seconds)


def _refuse_to_fetch() -> bytes:
    raise FetchFailed("connection")


def _probe_store(config: Config, url: str, document: FetchedDocument) -> Result:
    """Publish what was fetched: the first request after a deploy finds it."""
    make_cached_source(config, url, lambda: document.body).refresh()
    shared = make_cached_source(config, url, _refuse_to_fetch).load_shared()
    if shared.fetched_at is None:
        remedy = "Repair the cache; until then each process fetches for itself."
        return Result("key set", "shared document", WARNED, "it cannot be stored", remedy)
    age_seconds = max(0.0, time.time() - shared.fetched_at)
    return Result("key set", "shared document", PASSED, f"stored, {age_seconds:.0f} s old")


def _probe_clock(document: FetchedDocument, started_at: float, leeway_seconds: float) -> Result:
    try:
        date = parsedate_to_datetime(document.date or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return Result("clock", "against the server", SKIPPED, "the server sent no date")
    # The server wrote it while we waited, in whole seconds.
    earliest, latest = started_at - 1, started_at + document.elapsed_seconds
    skew_seconds = max(earliest - date, 0.0) + min(latest - date, 0.0)
    detail = f"{skew_seconds:+.0f} s"
    if abs(skew_seconds) <= leeway_seconds:
        return Result("clock", "against the server", PASSED, detail)
    remedy = "Synchronise this host's clock (NTP): good tokens are refused as expired or early."
    return Result("clock", "against the server", FAILED, detail, remedy)


def _probe_claims(config: Config) -> Iterator[Result]:
    """Run the policy over a throw-away key: first a good token, then each bad one."""
    issuer = throw_away_issuer().acting_as(config.issuers[0])
    policy = config.policy
    source = StaticKeySource((issuer.verifying_key,), ignore_kid=not policy.kid_required)
    verifier = Verifier(source, policy)
    payload = good_payload(config, issuer)
    try:
        verifier.check(issuer.sign(payload))
    except ClerkAuthError as error:
        detail = f"refused with {error.code}: {error.reason}"
        yield Result("claims", "good token", FAILED, detail, "Report this: it is a defect.")
    else:
        yield Result("claims", "good token", PASSED, "accepted")
    for bad in BAD_TOKENS.values():
        if bad.by_claims:
            if bad.applies(policy):
                token = bad.make(issuer, payload)
                yield _expect_refusal("claims", bad.title, verifier, token, bad)
            else:
                yield Result("claims", bad.title, SKIPPED, "not checked by these settings")


def _probe_keys(config: Config, keys: Keys) -> Iterator[Result]:
    """Try what somebody can make who knows our public keys, against each of them."""
    if not keys:
        yield Result("keys", "key probes", SKIPPED, "there are no keys to try them on")
        return
    policy = config.policy
    verifier = Verifier(StaticKeySource(keys, ignore_kid=not policy.kid_required), policy)
    forger = throw_away_issuer().acting_as(config.issuers[0])
    payload = good_payload(config, forger)
    for key in keys:
        for bad in BAD_TOKENS.values():
            if not bad.by_claims and bad.applies(policy):
                name = f"{key.thumbprint[:8]}: {bad.title}"
                token = bad.make(forger, payload, key)
                yield _expect_refusal("keys", name, verifier, token, bad)


@functools.cache
def throw_away_issuer() -> LocalIssuer:
    """Return an issuer whose key nobody trusts, and which ends with the process."""
    return LocalIssuer.generate("https://selftest.invalid", kid="ins_selftest")


def good_payload(config: Config, issuer: LocalIssuer) -> dict[str, Any]:
    """Return claims that the policy accepts."""
    return issuer.session_payload("user_selftest", **recipient_claims(config))


def _expect_refusal(group: str, name: str, verifier: Verifier, token: str, bad: BadToken) -> Result:
    remedy = "Do not deploy: the lock is open. Report this, see SECURITY.md."
    try:
        verifier.check(token)
    except ClerkAuthError as error:
        if error.code == bad.code:
            return Result(group, name, PASSED, f"refused with {error.code}")
        detail = f"refused with {error.code}, not {bad.code}"
        return Result(group, name, FAILED, detail, "Report this: it is a defect.")
    return Result(group, name, FAILED, "ACCEPTED", remedy)
