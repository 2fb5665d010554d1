"""A fleet of key sources in one process: one cache, one issuer, one clock, no threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from clerk_auth.conf import Config
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.fleet import SharedKeys
from clerk_auth.transport import FetchFailed
from tests.clocked_cache import ClockedCache

ISSUER = "https://clerk.example.com"
JWKS_URL = "https://clerk.example.com/.well-known/jwks.json"


class ScriptedIssuer:
    """What Clerk would answer: the public keys of ``signers``, or a failure."""

    def __init__(self, *signers: LocalIssuer) -> None:
        self.signers = list(signers)
        self.fetches = 0
        self.failure: str | None = None
        self.body: bytes | None = None
        self.during: Callable[[], None] = lambda: None

    def fetch(self) -> bytes:
        self.fetches += 1
        self.during()
        if self.failure:
            raise FetchFailed(self.failure)
        document = {"keys": [signer.jwk for signer in self.signers]}
        return json.dumps(document).encode() if self.body is None else self.body


class Fleet:
    """Makes sources that share everything that a fleet shares."""

    def __init__(self, issuer: ScriptedIssuer, clock: Any, **settings: Any) -> None:
        self.issuer = issuer
        self.clock = clock
        self.cache = ClockedCache(clock.now)
        self.config = Config.from_mapping(
            {"ISSUER": ISSUER, "JWKS_URL": JWKS_URL, **settings}, debug=False
        )

    def shared(self, *, secret_key: str = "s" * 50, issuer: str = ISSUER) -> SharedKeys:
        return SharedKeys(
            lambda: self.cache,
            issuers=(issuer,),
            jwks_url=JWKS_URL,
            secret_key=secret_key,
            max_age_seconds=self.config.jwks_max_age_seconds,
            clock=self.clock,
        )

    def source(self, **shared: str) -> CachedKeySource:
        """Start a process."""
        return CachedKeySource(
            self.config,
            self.issuer.fetch,
            self.shared(**shared),
            clock=self.clock,
            spawn=lambda work: work(),
            jitter=Random(0).uniform,
        )
