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
from django.core.cache.backends.dummy import DummyCache

from clerk_auth.conf import ENFORCE, OBSERVE, Config
from clerk_auth.conf.caches import CacheSettings
from clerk_auth.conf.redaction import show_url
from clerk_auth.core.errors import ClerkAuthError, KeySetInvalid
from clerk_auth.core.keys import describe_key, parse_jwks
from clerk_auth.diagnostics.explanations import count
from clerk_auth.diagnostics.inspection import (
    ACCEPTED,
    FAILED,
    PASSED,
    Inspection,
    inspect_now,
)
from clerk_auth.diagnostics.shared_keys import load_shared, refresh_fleet
from clerk_auth.issuer.bad_tokens import BAD_TOKENS, BadToken
from clerk_auth.issuer.development import LocalIssuer
from clerk_auth.issuer.payloads import recipient_claims
from clerk_auth.jwks.document import fetch_document
from clerk_auth.jwks.source import Keys, StaticKeySource
from clerk_auth.jwks.wiring import make_cached_source, make_source
from clerk_auth.transport import Answer, FetchFailed
from clerk_auth.verifier import Verifier

SCHEMA_VERSION = 1
WARNED, SKIPPED = "warning", "skipped"
STATUSES = (PASSED, WARNED, FAILED, SKIPPED)

FETCH_REMEDIES = {
    "tls": "The certificate is not trusted: check the host's CA bundle and a proxy in between.",
    "redirect": "Redirects are not followed: correct FRONTEND_API or JWKS_URL.",
    "status": "Check FRONTEND_API or JWKS_URL: open the URL in a browser. 429 and 5xx are Clerk's: "
    "see status.clerk.com; processes that have keys go on with them.",
    "timeout": "Check egress, DNS and proxy of this host; see JWKS_TIMEOUT_SECONDS.",
    "connection": "Check that the URL is right, and egress, DNS and proxy of this host.",
}
_STORE_REMEDY = (
    "See whether the server may be written to, what this user of it may do with keys that contain "
    "clerk_auth:, its memory limit, and whether it is a cluster, which needs a client for clusters."
)
# Why a set that was fetched is not in the cache (``shared_keys.Refresh``), and what to do.
STORE_PROBLEMS = {
    "locked": (
        "was not changed: another process holds the lock",
        "Run this again; if that does not help, delete the key that ends in :lock from the cache, "
        "and find out who writes it.",
    ),
    "not_shared": ("does not give back what was fetched: {error}", _STORE_REMEDY),
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

    ``proves`` says what it means that all passed. ``inspection`` is that of a token, if one was
    given.
    """

    results: list[Result] = field(default_factory=list)
    keys: Keys = ()
    mode: str = ENFORCE
    proves: str = "The lock is locked"
    inspection: Inspection | None = None

    @property
    def passed(self) -> bool:
        is_accepted = self.inspection is None or self.inspection.verdict == ACCEPTED
        return is_accepted and all(result.status != FAILED for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        """How many results have each status."""
        return {s: sum(result.status == s for result in self.results) for s in STATUSES}

    @property
    def first_failure(self) -> str:
        """What failed first, in one line; empty if nothing did."""
        for result in self.results:
            if result.status == FAILED:
                return f"{result.group}, {result.name}: {result.detail}"
        return "" if self.passed else f"the token is {self.inspection and self.inspection.verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; all changes but new members change ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "counts": self.counts,
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
        cache = _probe_cache(config.cache_alias)
        report.results.append(cache)
        report.results.extend(_probe_key_set(config, cache, report, offline=offline))
    report.results.extend(_probe_claims(config))
    report.results.extend(_probe_keys(config, report.keys))
    if token is not None:
        report.inspection = inspect_now(token, config, report.keys)
    return report


def describe(config: Config) -> Result:
    """Say whose tokens are accepted, by which keys; warn where that is less than it could be."""
    keys_from = "the development issuer" if config.dev_mode else "JWT_KEY"
    if config.jwks_url:
        keys_from = show_url(config.jwks_url)
    parties = count(len(config.authorized_parties), "authorized party", "authorized parties")
    issuers = ", ".join(config.issuers)
    limit = config.uncategorized_token_max_seconds
    bound = f"at most {limit:g} s ahead" if limit else "at any time"
    lifetime = f"exp {bound} without session category"
    detail = f"issuer {issuers}; keys from {keys_from}; {parties}; {lifetime}; mode {config.mode}"
    remedies = []
    if not limit:
        remedies.append(
            "UNCATEGORIZED_TOKEN_MAX_SECONDS is 0: a JWT template that carries a sid passes as a "
            "session until it expires."
        )
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
    try:
        cache = caches[alias]
        backend = f"{type(cache).__module__}.{type(cache).__name__}"
        # The first call imports the client and connects: the time is that of the one after it.
        added = cache.add(key, value, 30)
        cache.get(key)
        started_at = time.perf_counter()
        found = cache.get(key)
        milliseconds = (time.perf_counter() - started_at) * 1000
        cache.delete(key)
    except Exception as error:  # backends raise what they like
        return Result("cache", name, FAILED, f"{shown}: {type(error).__name__}", remedy)
    detail = f"{shown}: {backend}, {milliseconds:.1f} ms"
    if added is not True or found != value:
        status = WARNED if isinstance(cache, DummyCache) else FAILED
        return Result("cache", name, status, f"{detail}, keeps nothing", remedy)
    if CacheSettings(alias).belongs_to_one_process:
        hint = "Use Redis when more than one process serves: see docs/deployment.md."
        return Result("cache", name, WARNED, f"{detail}, not shared between processes", hint)
    return Result("cache", name, PASSED, f"{detail}, shared between processes")


def _probe_key_set(
    config: Config, cache: Result, report: Report, *, offline: bool
) -> Iterator[Result]:
    url = config.jwks_url or ""
    if offline:
        yield _load_shared(config, cache, report)
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
    milliseconds = document.elapsed_seconds * 1000
    keys = count(len(key_set.keys), "key")
    detail = f"{keys} from {show_url(url)} in {milliseconds:.0f} ms"
    yield Result("key set", "fetch", PASSED, detail + skipped)
    yield _probe_store(config, document, cache)
    yield _probe_clock(document, started_at, config.leeway_seconds)


def _load_shared(config: Config, cache: Result, report: Report) -> Result:
    shared = load_shared(make_cached_source(config, _refuse_to_fetch))
    report.keys = shared.keys
    if shared.is_cache_avoided and not CacheSettings(config.cache_alias).belongs_to_one_process:
        detail = f"offline; the shared document cannot be read: {shared.cache_problem}"
        remedy = cache.remedy if cache.status == FAILED else _STORE_REMEDY
        return Result("key set", "fetch", FAILED, detail, remedy)
    held = count(len(shared.keys), "key") if shared.keys else "no keys"
    return Result("key set", "fetch", SKIPPED, f"offline; the shared cache holds {held}")


def _refuse_to_fetch() -> bytes:
    raise FetchFailed("connection")


def _probe_store(config: Config, document: Answer, cache: Result) -> Result:
    """Publish what was fetched: the first request after a deploy finds it."""
    name = "shared document"
    refresh = refresh_fleet(make_cached_source(config, lambda: document.body))
    if refresh.outcome == "shared":
        age_seconds = max(0.0, time.time() - (refresh.status.fetched_at or 0.0))
        return Result("key set", name, PASSED, f"stored, {age_seconds:.0f} s old")
    status = WARNED if CacheSettings(config.cache_alias).belongs_to_one_process else FAILED
    said, remedy = STORE_PROBLEMS.get(refresh.outcome, STORE_PROBLEMS["not_shared"])
    if refresh.outcome != "locked" and cache.status == FAILED:
        remedy = cache.remedy
    detail = f"it cannot be stored: the cache {said.format(error=refresh.status.cache_problem)}"
    return Result("key set", name, status, detail, remedy)


def _probe_clock(document: Answer, started_at: float, leeway_seconds: float) -> Result:
    try:
        date = parsedate_to_datetime(document.headers.get("Date") or "").timestamp()
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
