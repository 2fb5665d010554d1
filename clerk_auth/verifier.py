"""The verifier: a token in, claims out. It serves views, workers and consumers alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from clerk_auth import metrics, signals
from clerk_auth.conf import DEFAULT_INSTANCE, ENFORCE, MODES, derived, get_aliases, get_config
from clerk_auth.core import errors, tokens
from clerk_auth.core.claims import Claims
from clerk_auth.core.keys import VerifyingKey, hash_kid
from clerk_auth.error_reports import hide_locals
from clerk_auth.jwks.wiring import KeySource, make_source
from clerk_auth.logs import defects, log, logger, refusals, write
from clerk_auth.metrics import sinks
from clerk_auth.token_cache import TokenCache

__all__ = ["Verifier", "choose_instance", "get_verifier"]


class Verifier:
    """Turns a token into claims, or refuses it.

    The last ``cache_size`` verified tokens are remembered; the policy is one for the verifier's
    life, so that none of them was verified under another.
    """

    def __init__(
        self,
        source: KeySource,
        policy: tokens.Policy,
        *,
        cache_size: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._unwaiting = source.unwaiting()
        self._policy = policy
        self._cache = TokenCache(cache_size) if cache_size else None
        self._now = now
        self._label = policy.instance if policy.is_one_of_several else None
        self._count_verified = {
            mode: metrics.counter(metrics.VERIFIED, mode, instance=self._label) for mode in MODES
        }

    @property
    def source(self) -> KeySource:
        """Where the keys come from."""
        return self._source

    @hide_locals
    def verify(self, token: str, *, mode: str = ENFORCE) -> Claims:
        """Return the claims of a session token.

        ``mode`` is for the count and the log. With ``conf.OBSERVE`` the verdict decides nothing:
        it is not waited for, and no signal is sent.

        Raises:
            TokenRejected: the caller's fault, one subclass per code.
            KeysUnavailable: ours; ``retry_after`` says in how many seconds to come again.
        """
        is_enforcing = mode == ENFORCE
        try:
            claims = self._check_once(token, self._source if is_enforcing else self._unwaiting)
        except errors.ClerkAuthError as error:
            self.note_refusal(error, mode=mode)
            raise
        self._count_verified[mode]()
        if logger.isEnabledFor(logging.INFO):
            message = "JWT signature verified for user %s"
            write(logging.INFO, message, claims.user_key, extra={"mode": mode})
        if is_enforcing and signals.token_verified.receivers:
            signals.send(signals.token_verified, Verifier, claims=claims)
        return claims

    @hide_locals
    def check(self, token: str) -> Claims:
        """Verify as :meth:`verify` does, but count, log and signal nothing."""
        return self._check_once(token, self._source)

    def _check_once(self, token: str, source: KeySource) -> Claims:
        cache = self._cache
        if cache is None or len(token) > self._policy.max_token_bytes:
            return Claims(*self._check(tokens.read_token(token, self._policy), source)[1])
        digest = cache.digest(token)
        entry = cache.get(digest)
        if entry is not None:
            key, verified = entry
            # What may have changed since: the keys, and the time.
            for held in source.keys_for(key.kid):
                if held is key:
                    times = verified.expires_at, verified.not_before, verified.issued_at
                    has_category, now = verified.has_category, self._now()
                    tokens.check_times(times, self._policy, has_category=has_category, now=now)
                    return Claims(verified, token)
        key, checked = self._check(tokens.read_token(token, self._policy), source)
        cache.put(digest, (key, checked[0]))
        return Claims(*checked)

    def _check(
        self, token: tokens.UnverifiedToken, source: KeySource
    ) -> tuple[VerifyingKey, tokens.Checked]:
        keys = source.keys_for(token.kid)
        if not keys:
            if not tokens.may_be_ours(token, self._policy, now=self._now()):
                raise errors.KeyNotFound("not_looked_for", kid_sha256=hash_kid(token.kid))
            keys = source.search(token.kid)
        try:
            key = tokens.find_signing_key(token, keys)
        except errors.SignatureInvalid:
            if not tokens.may_be_ours(token, self._policy, now=self._now()):
                raise
            key = tokens.find_signing_key(token, source.keys_after(token.kid, keys))
        return key, tokens.check_claims(token, self._policy, now=self._now())

    def note_refusal(self, error: errors.ClerkAuthError, *, mode: str = ENFORCE) -> None:
        """Count, log and signal a refusal, also one of others; see :meth:`verify` for ``mode``."""
        metrics.increment(metrics.REFUSED, error.code, mode, instance=self._label)
        # Clerk signed the session, and knows more than this version, which refuses all such ones.
        is_of_status = isinstance(error, errors.ClaimInvalid) and error.claim == "sts"
        if is_of_status and defects.admit("session_status_unknown") is not None:
            log(logging.WARNING, "session_status_unknown", found=error.found)
        if logger.isEnabledFor(logging.INFO):
            # A project's own resolver may give any reason, for each user another one.
            kind = error.reason if error.reason in errors.REASONS else None
            suppressed = refusals.admit(error.code, error.claim, mode, kind, self._label)
            if suppressed is not None:
                log(
                    logging.INFO,
                    "token_rejected",
                    code=error.code,
                    claim=error.claim,
                    reason=error.reason,
                    mode=mode,
                    instance=self._label,
                    **error.facts,
                    suppressed=suppressed or None,
                )
        if mode == ENFORCE:
            facts = {"error": error, "instance": self._policy.instance}
            signals.send(signals.token_rejected, Verifier, **facts)


@derived
def get_verifier(alias: str = DEFAULT_INSTANCE) -> Verifier:
    """Return the process's verifier of an instance.

    ``ImproperlyConfigured`` while the settings are wrong, or have no such instance.
    """
    config = get_config(alias)
    sinks.connect_configured()
    return Verifier(make_source(config), config.policy, cache_size=config.verified_token_cache_size)


@hide_locals
def choose_instance(token: str, aliases: Sequence[str]) -> str:
    """Return the one of ``aliases`` whose issuer a token names, the first where it names none.

    Nothing of the token is verified, and all of it is judged by the instance that is chosen.
    """
    max_bytes = max(get_config(alias).max_token_bytes for alias in aliases)
    issuer = tokens.read_unverified_issuer(token, max_bytes=max_bytes)
    alias = _aliases_by_issuer().get(issuer, aliases[0])
    return alias if alias in aliases else aliases[0]


@derived
def _aliases_by_issuer() -> Mapping[str | None, str]:
    return {issuer: alias for alias in get_aliases() for issuer in get_config(alias).issuers}
