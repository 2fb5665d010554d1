"""A fleet of key sources in one process: one cache, one issuer, one clock, no threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from clerk_auth.conf import read_configs
from clerk_auth.issuer.development import LocalIssuer
from clerk_auth.jwks import fleet
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.source import Keys
from clerk_auth.jwks.waiting import finish
from clerk_auth.transport import FetchFailed
from tests.clocked_cache import ClockedCache

ISSUER = "https://clerk.example.com"
JWKS_URL = "https://clerk.example.com/.well-known/jwks.json"


def keys_for(source: CachedKeySource, kid: str) -> Keys:
    """Ask for keys as a verifier does in a thread, which waits for the first ones."""
    keys = source.keys_for(kid)
    return finish(source.load(kid)) if keys is None else keys


def search(source: CachedKeySource, kid: str) -> Keys:
    return finish(source.search(kid))


def keys_after(source: CachedKeySource, kid: str, tried: Keys) -> Keys:
    return finish(source.keys_after(kid, tried))


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
        values = {"ISSUER": ISSUER, "JWKS_URL": JWKS_URL, **settings}
        self.config = read_configs(values, debug=False)["default"]

    def shared(
        self, *, secret_key: str = "s" * 50, issuer: str = ISSUER, clock: Any = None
    ) -> fleet.Fleet:
        config, clock = replace(self.config, issuers=(issuer,)), clock or self.clock
        return fleet.Fleet(lambda: self.cache, config, secret_key=secret_key, clock=clock)

    def source(
        self,
        *,
        fetch: Callable[[], bytes] | None = None,
        clock: Any = None,
        spawn: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> CachedKeySource:
        """Start a process."""
        return CachedKeySource(
            self.config,
            fetch or self.issuer.fetch,
            self.shared(clock=clock),
            spawn=spawn,
            jitter=Random(0).uniform,
        )
