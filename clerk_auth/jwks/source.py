"""The source whose keys never change, and what any source says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from clerk_auth.core.errors import KeyNotFound, KeysUnavailable
from clerk_auth.core.keys import KeySet, VerifyingKey, describe_key, hash_kid
from clerk_auth.jwks.held import Failure
from clerk_auth.jwks.waiting import Steps

__all__ = ["Keys", "SourceStatus", "StaticKeySource"]

Keys = tuple[VerifyingKey, ...]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What a source holds, from memory; instants are Unix seconds.

    ``state`` is ``static``, ``fresh``, ``stale`` (a refresh is due), ``degraded`` (the refresh
    fails) or ``cold`` (nothing that may be used). ``cache_error`` is the class of an error, or a
    word; ``document_refused`` a reason of the metric.
    """

    state: str
    keys: Keys = ()
    generation: int | None = None
    fetched_at: float | None = None
    expires_at: float | None = None
    failure: Failure | None = None
    cache_error: str | None = None
    document_refused: str | None = None

    @property
    def is_cache_avoided(self) -> bool:
        return self.cache_error is not None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; keys as an operator compares them, without key material."""
        keys = [describe_key(key) for key in self.keys]
        facts = asdict(replace(self, keys=()))
        return {**facts, "keys": keys, "is_cache_avoided": self.is_cache_avoided}


class StaticKeySource:
    """Keys of ``JWT_KEY``, of the development issuer, of an inspection, or under test.

    It answers as ``CachedKeySource`` does, whose methods say what a verifier may expect.
    With ``ignore_kid`` every key is tried, whatever key id a token names.
    """

    def __init__(self, keys: Keys, *, ignore_kid: bool = False) -> None:
        self._key_set = KeySet(keys)
        self._ignore_kid = ignore_kid

    def keys_for(self, kid: str) -> Keys | None:
        if self._ignore_kid or not self._key_set.keys:
            return self._key_set.keys or None
        return self._key_set.by_kid.get(kid, ())

    def load(self, kid: str) -> Steps[Keys]:
        raise KeysUnavailable("no_keys")

    def search(self, kid: str) -> Steps[Keys]:
        raise KeyNotFound("not_configured", kid_sha256=hash_kid(kid))

    def keys_after(self, kid: str, tried: Keys) -> Steps[Keys]:
        yield from ()
        return ()

    def unwaiting(self) -> StaticKeySource:
        return self

    def status(self) -> SourceStatus:
        return SourceStatus("static", self._key_set.keys)
