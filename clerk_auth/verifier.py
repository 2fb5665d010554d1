"""The verifier: a token in, claims out. It serves views, workers and consumers alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from clerk_auth import metrics, signals
from clerk_auth.conf import DEFAULT_INSTANCE, ENFORCE, MODES, derived, get_aliases, get_config
from clerk_auth.core import errors, tokens
from clerk_auth.core.claims import Claims
from clerk_auth.core.keys import hash_kid
from clerk_auth.core.tokens import Policy, UnverifiedToken
from clerk_auth.error_reports import hide_locals
from clerk_auth.jwks.source import Keys
from clerk_auth.jwks.waiting import Steps, afinish, finish
from clerk_auth.jwks.wiring import KeySource, make_source
from clerk_auth.logs import log_refused, log_verified, logger
from clerk_auth.metrics import sinks
from clerk_auth.token_cache import TokenCache

__all__ = ["Verifier", "choose_instance", "get_verifier"]

Now = Callable[[], float]


class Verifier:
    """Turns a token into claims, or refuses it.

    The last ``cache_size`` verified tokens are remembered; the policy is one for the verifier's
    life, so that none of them was verified under another.
    """

    def __init__(
        self, source: KeySource, policy: Policy, *, cache_size: int = 0, now: Now = time.time
    ) -> None:
        self.source = source
        self._unwaiting = source.unwaiting()
        self._policy = policy
        self._cache = TokenCache(cache_size) if cache_size else None
        self._now = now
        self._label = policy.instance if policy.is_one_of_several else None
        self._count_verified = {
            mode: metrics.counter(metrics.VERIFIED, mode, instance=self._label) for mode in MODES
        }

    @hide_locals
    def verify(self, token: str, *, mode: str = ENFORCE) -> Claims:
        """Return the claims of a session token.

        ``mode`` is for the count and the log. With ``conf.OBSERVE`` the verdict decides nothing:
        it is not waited for, and no signal is sent.

        Raises:
            TokenRejected: the caller's fault, one subclass per code.
            KeysUnavailable: ours; ``retry_after`` says in how many seconds to come again.
        """
        try:
            claims = self._check_once(token, self.source if mode == ENFORCE else self._unwaiting)
            if not isinstance(claims, Claims):
                claims = finish(claims)
        except errors.ClerkAuthError as error:
            self.note_refusal(error, mode=mode)
            raise
        self._count_verified[mode]()
        if logger.isEnabledFor(logging.INFO):
            log_verified(claims.user_key, mode)
        if mode == ENFORCE and signals.token_verified.receivers:
            signals.send(signals.token_verified, Verifier, claims=claims)
        return claims

    @hide_locals
    async def averify(self, token: str, *, mode: str = ENFORCE) -> Claims:
        """Verify as :meth:`verify` does, in a coroutine: what waits takes no thread."""
        try:
            claims = self._check_once(token, self.source if mode == ENFORCE else self._unwaiting)
            if not isinstance(claims, Claims):
                claims = await afinish(claims)
        except errors.ClerkAuthError as error:
            self._count_refused(error, mode)
            if mode == ENFORCE:
                facts = {"error": error, "instance": self._policy.instance}
                await signals.asend(signals.token_rejected, Verifier, **facts)
            raise
        self._count_verified[mode]()
        if logger.isEnabledFor(logging.INFO):
            log_verified(claims.user_key, mode)
        if mode == ENFORCE and signals.token_verified.receivers:
            await signals.asend(signals.token_verified, Verifier, claims=claims)
        return claims

    @hide_locals
    def check(self, token: str) -> Claims:
        """Verify as :meth:`verify` does, but count, log and signal nothing."""
        claims = self._check_once(token, self.source)
        return claims if isinstance(claims, Claims) else finish(claims)

    def _check_once(self, token: str, source: KeySource) -> Claims | Steps[Claims]:
        """Return the claims, or what finds the key first, where it is not held."""
        cache, digest = self._cache, None
        if cache is not None and len(token) <= self._policy.max_token_bytes:
            digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
            entry = cache.get(digest)
            if entry is not None:
                key, verified = entry
                # What may have changed since: the keys, and the time.
                for held in source.keys_for(key.kid) or ():
                    if held is key:
                        times = verified.expires_at, verified.not_before, verified.issued_at
                        has_category, now = verified.has_category, self._now()
                        tokens.check_times(times, self._policy, has_category=has_category, now=now)
                        return Claims(verified, token)
        return self._check(tokens.read_token(token, self._policy), digest, source)

    def _check(
        self, token: UnverifiedToken, digest: bytes | None, source: KeySource
    ) -> Claims | Steps[Claims]:
        keys = source.keys_for(token.kid)
        try:
            return self._judge(token, digest, keys or ())
        except errors.SignatureInvalid:
            return self._look_further(token, digest, source, keys)

    def _look_further(
        self, token: UnverifiedToken, digest: bytes | None, source: KeySource, tried: Keys | None
    ) -> Steps[Claims]:
        """Find a key beyond those ``tried``; ``None``: none were held."""
        keys = (yield from source.load(token.kid)) if tried is None else ()
        if not (tried or keys):
            if not tokens.may_be_ours(token, self._policy, now=self._now()):
                raise errors.KeyNotFound("not_looked_for", kid_sha256=hash_kid(token.kid))
            keys = yield from source.search(token.kid)
        try:
            return self._judge(token, digest, keys)
        except errors.SignatureInvalid:
            if not tokens.may_be_ours(token, self._policy, now=self._now()):
                raise
            tried = keys or tried or ()
            return self._judge(token, digest, (yield from source.keys_after(token.kid, tried)))

    def _judge(self, token: UnverifiedToken, digest: bytes | None, keys: Keys) -> Claims:
        key = tokens.find_signing_key(token, keys)
        checked = tokens.check_claims(token, self._policy, now=self._now())
        if digest is not None and self._cache is not None:
            self._cache.put(digest, (key, checked[0]))
        return Claims(*checked)

    def note_refusal(self, error: errors.ClerkAuthError, *, mode: str = ENFORCE) -> None:
        """Count, log and signal a refusal, also one of others; see :meth:`verify` for ``mode``."""
        self._count_refused(error, mode)
        if mode == ENFORCE:
            facts = {"error": error, "instance": self._policy.instance}
            signals.send(signals.token_rejected, Verifier, **facts)

    def _count_refused(self, error: errors.ClerkAuthError, mode: str) -> None:
        metrics.increment(metrics.REFUSED, error.code, mode, instance=self._label)
        log_refused(error, mode, self._label)


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
