"""The self-test: does the running configuration accept good tokens and refuse bad ones?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache

from clerk_auth.conf import OBSERVE, Config
from clerk_auth.conf.caches import CacheSettings
from clerk_auth.conf.redaction import show_url
from clerk_auth.core.errors import ClerkAuthError, KeySetInvalid
from clerk_auth.core.keys import parse_jwks
from clerk_auth.diagnostics.explanations import count
from clerk_auth.diagnostics.inspection import inspect_now
from clerk_auth.diagnostics.remedies import STORE_PROBLEMS, STORE_REMEDY, remedy_for_fetch
from clerk_auth.diagnostics.report import FAILED, PASSED, SKIPPED, WARNED, Report, Result
from clerk_auth.diagnostics.shared_keys import explain_cache, load_shared, refresh_fleet
from clerk_auth.issuer.bad_tokens import BAD_TOKENS, BadToken
from clerk_auth.issuer.local import LocalIssuer, throw_away_issuer
from clerk_auth.issuer.payloads import recipient_claims
from clerk_auth.jwks.document import fetch_document
from clerk_auth.jwks.source import Keys, StaticKeySource
from clerk_auth.jwks.wiring import make_cached_source, make_source
from clerk_auth.transport import Answer, FetchFailed
from clerk_auth.verifier import Verifier

__all__ = ["describe", "impersonate", "run"]


def run(config: Config, *, offline: bool = False, token: str | None = None) -> Report:
    """Run every probe; the shared cache is warm afterwards, if a fetch succeeded."""
    report = Report([describe(config)], mode=config.mode)
    if config.jwks_url is None:
        report.keys = make_source(config).status().keys
    else:
        cache = _probe_cache(config.cache_alias)
        probe_key_set = _load_shared if offline else _fetch_and_share
        results, report.keys = probe_key_set(config, cache)
        report.results += [cache, *results]
    report.results += _probe_claims(config)
    report.results += _probe_keys(config, report.keys)
    if token is not None:
        report.inspection = inspect_now(token, config, report.keys)
    return report


def describe(config: Config) -> Result:
    """Say whose tokens are accepted and with which keys; warn if that is not strict."""
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
        remedies.append("Verdicts decide nothing until MODE is enforce.")
    status = WARNED if remedies else PASSED
    return Result("settings", "configuration", status, detail, " ".join(remedies))


def _probe_cache(alias: str) -> Result:
    name = "round trip"
    # An alias that CACHES lacks is not shown: it may hold anything.
    shown = alias if alias in caches.settings else "CACHE_ALIAS"
    remedy = f"Check CACHES[{shown!r}] and its server: without it each process fetches for itself."
    key, value = f"clerk_auth:selftest:{secrets.token_hex(8)}", secrets.token_hex(8)
    try:
        cache = caches[alias]
        backend = f"{type(cache).__module__}.{type(cache).__name__}"
        # The first call imports the client and connects: a later one is timed.
        added = cache.add(key, value, 30)
        cache.get(key)
        started_at = time.perf_counter()
        found = cache.get(key)
        milliseconds = (time.perf_counter() - started_at) * 1000
        cache.delete(key)
    except Exception as error:  # a backend may raise anything
        return Result("cache", name, FAILED, f"{shown}: {type(error).__name__}", remedy)
    detail = f"{shown}: {backend}, {milliseconds:.1f} ms"
    if added is not True or found != value:
        status = WARNED if isinstance(cache, DummyCache) else FAILED
        return Result("cache", name, status, f"{detail}, keeps nothing", remedy)
    if CacheSettings(alias).belongs_to_one_process:
        hint = (
            "Use Redis if more than one process serves: each would fetch and keep keys for itself."
        )
        return Result("cache", name, WARNED, f"{detail}, not shared between processes", hint)
    return Result("cache", name, PASSED, f"{detail}, shared between processes")


def _fetch_and_share(config: Config, cache: Result) -> tuple[list[Result], Keys]:
    """Fetch the key set, store it for every process, and compare the clocks."""
    url = config.jwks_url or ""
    started_at = time.time()
    try:
        document = fetch_document(url, config.jwks_timeout_seconds)
        key_set = parse_jwks(document.body)
    except (FetchFailed, KeySetInvalid) as error:
        status = getattr(error, "status", None)
        detail = f"{show_url(url)}: {error.reason}" + (f" {status}" if status else "")
        return [Result("key set", "fetch", FAILED, detail, remedy_for_fetch(error.reason))], ()
    skipped = "".join(f", {count} skipped: {why}" for why, count in key_set.skipped.items())
    milliseconds = document.elapsed_seconds * 1000
    keys = count(len(key_set.keys), "key")
    detail = f"{keys} from {show_url(url)} in {milliseconds:.0f} ms{skipped}"
    fetched = Result("key set", "fetch", PASSED, detail)
    stored = _probe_store(config, document, cache)
    clock = _probe_clock(document, started_at, config.leeway_seconds)
    return [fetched, stored, clock], key_set.keys


def _load_shared(config: Config, cache: Result) -> tuple[list[Result], Keys]:
    """Read the key set that other processes have stored."""
    shared = load_shared(make_cached_source(config, _refuse_to_fetch))
    if shared.is_cache_avoided and not CacheSettings(config.cache_alias).belongs_to_one_process:
        detail = f"offline; the shared document cannot be read: {explain_cache(shared)}"
        remedy = cache.remedy if cache.status == FAILED else STORE_REMEDY
        return [Result("key set", "fetch", FAILED, detail, remedy)], shared.keys
    held = count(len(shared.keys), "key") if shared.keys else "no keys"
    detail = f"offline; the shared cache holds {held}"
    return [Result("key set", "fetch", SKIPPED, detail)], shared.keys


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
    detail = f"it cannot be stored: the cache {said.format(error=explain_cache(refresh.status))}"
    return Result("key set", name, status, detail, remedy)


def _probe_clock(document: Answer, started_at: float, leeway_seconds: float) -> Result:
    try:
        date = parsedate_to_datetime(document.headers.get("Date") or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return Result("clock", "against the server", SKIPPED, "the server sent no date")
    # The server wrote it, in whole seconds, while we waited.
    earliest, latest = started_at - 1, started_at + document.elapsed_seconds
    skew_seconds = max(earliest - date, 0.0) + min(latest - date, 0.0)
    detail = f"{skew_seconds:+.0f} s"
    if abs(skew_seconds) <= leeway_seconds:
        return Result("clock", "against the server", PASSED, detail)
    remedy = "Synchronise this host's clock (NTP): good tokens are refused as expired or early."
    return Result("clock", "against the server", FAILED, detail, remedy)


def _probe_claims(config: Config) -> Iterator[Result]:
    """Apply the policy to tokens of another key: first to a good one, then to each bad one."""
    issuer, payload = impersonate(config)
    policy = config.policy
    source = StaticKeySource((issuer.verifying_key,), ignore_kid=not policy.kid_required)
    verifier = Verifier(source, policy)
    try:
        verifier.check(issuer.sign(payload))
    except ClerkAuthError as error:
        detail = f"refused with {error.code}: {error.reason}"
        yield Result(
            "claims", "good token", FAILED, detail, "Report this: it is a defect of clerk_auth."
        )
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
    """Try the tokens that anyone can make who knows our public keys, against each key."""
    if not keys:
        yield Result("keys", "key probes", SKIPPED, "there are no keys to try them on")
        return
    policy = config.policy
    verifier = Verifier(StaticKeySource(keys, ignore_kid=not policy.kid_required), policy)
    forger, payload = impersonate(config)
    for key in keys:
        for bad in BAD_TOKENS.values():
            if not bad.by_claims and bad.applies(policy):
                name = f"{key.thumbprint[:8]}: {bad.title}"
                token = bad.make(forger, payload, key)
                yield _expect_refusal("keys", name, verifier, token, bad)


def impersonate(config: Config) -> tuple[LocalIssuer, dict[str, Any]]:
    """Return an issuer with the settings' name and a key of its own, and claims of a good token."""
    stranger = throw_away_issuer("https://selftest.invalid", kid="ins_selftest")
    issuer = stranger.acting_as(config.issuers[0])
    return issuer, issuer.session_payload("user_selftest", **recipient_claims(config))


def _expect_refusal(group: str, name: str, verifier: Verifier, token: str, bad: BadToken) -> Result:
    remedy = "Do not deploy: the lock is open. Report this in private to clerk_auth's maintainers."
    try:
        verifier.check(token)
    except ClerkAuthError as error:
        if error.code == bad.code:
            return Result(group, name, PASSED, f"refused with {error.code}")
        detail = f"refused with {error.code}, not {bad.code}"
        return Result(group, name, FAILED, detail, "Report this: it is a defect of clerk_auth.")
    return Result(group, name, FAILED, "ACCEPTED", remedy)
