"""The key set that the whole fleet shares, as one signed document in the Django cache.

Whoever can write to the cache can delete the document or bring back an older one, but not put a
key in: it is signed with a key derived from ``SECRET_KEY``. Every cache key is a hash of what the
project configured, and of nothing that a token says.

A cache that fails is no outage: to its callers it looks like an empty one that takes no orders,
and a breaker keeps it off the path for 2 seconds, doubling to 30.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from threading import Event
from typing import Any

from django.core.cache import BaseCache
from django.core.signing import BadSignature, Signer
from django.utils.crypto import salted_hmac

from clerk_auth import metrics
from clerk_auth.core.encoding import parse_json, parse_json_object
from clerk_auth.core.errors import KeySetInvalid
from clerk_auth.core.keys import KeySet, parse_jwks
from clerk_auth.logs import log
from clerk_auth.sources import Failure

SCHEMA_VERSION = 1
MAX_DOCUMENT_CHARACTERS = 512 * 1024
MAX_CLOCK_SKEW_SECONDS = 60
MAX_BACKOFF_SECONDS = 60
# A read that fails sooner says something of the document; later, of the cache.
SLOW_SECONDS = 0.25
BREAKER_SECONDS, MAX_BREAKER_SECONDS = 2.0, 30.0
_FAILURE_KEPT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the key source sees it: Unix seconds, a clock that only advances, and waiting."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A key set as it was fetched; nothing in it changes.

    ``fetched_at`` is the start of the fetch in Unix seconds. ``generation`` orders snapshots
    across the fleet: a process never goes back to a lower one.
    """

    key_set: KeySet
    generation: int
    fetched_at: float


class _Unusable(Exception):
    """A document that is not used; the text is a label of ``jwks_documents_refused``."""


class SharedKeys:
    """Document, lock, cooldowns and failure of one Clerk instance in the cache.

    ``get_cache`` is called for each use, because Django's caches belong to a thread.
    """

    def __init__(
        self,
        get_cache: Callable[[], BaseCache],
        *,
        issuers: tuple[str, ...],
        jwks_url: str,
        secret_key: str,
        max_age_seconds: float,
        clock: Clock,
    ) -> None:
        key_id = salted_hmac("clerk_auth.shared.key_id", "", secret_key, algorithm="sha256")
        scope = json.dumps([SCHEMA_VERSION, sorted(issuers), jwks_url, key_id.hexdigest()])
        self._prefix = f"clerk_auth:{sha256(scope.encode()).hexdigest()[:32]}"
        self._signer = Signer(key=secret_key, salt=self._prefix, fallback_keys=[])
        self._get_cache = get_cache
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._avoid_seconds = 0.0
        self._avoid_until = float("-inf")
        self._hung: Event | None = None
        self._lock: object = ""
        self._lock_seen_at = float("inf")
        self._refused = ""
        self._is_unreadable = False

    @property
    def is_avoided(self) -> bool:
        """Whether the breaker is open."""
        hung = self._hung is not None and not self._hung.is_set()
        return hung or self._clock.monotonic() < self._avoid_until

    def avoid_until(self, done: Event | None) -> None:
        """Keep off the cache until ``done`` is set: a thread hangs in it."""
        self._hung = done

    def load(self) -> Snapshot | None:
        """Return the shared snapshot; ``None`` when there is none that may be used."""
        text = self._call("get", "document")
        if text is None:
            return None
        try:
            snapshot = self._parse(text)
        except _Unusable as unusable:
            self._note_refusal(str(unusable))
            return None
        self._refused = ""
        return snapshot

    def store(self, snapshot: Snapshot) -> None:
        """Publish ``snapshot`` to the fleet."""
        document = {
            "generation": snapshot.generation,
            "fetched_at": snapshot.fetched_at,
            **snapshot.key_set.to_jwks(),
        }
        text = self._signer.sign(json.dumps(document, separators=(",", ":")))
        self._call("set", "document", text, int(self._max_age_seconds))

    def acquire(self, *, lease_seconds: int) -> str | None:
        """Take the fleet's lock: what releases it, ``""`` without a cache, ``None`` if held."""
        nonce = secrets.token_hex(16)
        added = self._add("lock", nonce, lease_seconds)
        if added is False and self._outlives(lease_seconds):
            self._call("set", "lock", nonce, lease_seconds)
            return nonce
        return "" if added is None else nonce if added else None

    def _outlives(self, lease_seconds: int) -> bool:
        """Tell whether the lock that is in our way stands for longer than anybody may hold it.

        It is not one of ours then, or the clock of the cache was set back.
        """
        lock, now = self._call("get", "lock"), self._clock.monotonic()
        if lock != self._lock:
            self._lock, self._lock_seen_at = lock, now
        return now - self._lock_seen_at > lease_seconds

    def release(self, lock: str) -> None:
        """Give the lock back, unless it has become somebody else's."""
        if lock and self._call("get", "lock") == lock:
            self._call("delete", "lock")

    def claim(self, purpose: str, *, cooldown_seconds: int) -> float:
        """Claim the one forced fetch that the fleet may make for ``purpose`` per cooldown.

        Returns 0 when it is ours, otherwise the seconds until it can be claimed again.
        """
        name = f"cooldown:{purpose}"
        if self._add(name, self._clock.now() + cooldown_seconds, cooldown_seconds) is not False:
            return 0.0
        ends_at = self._call("get", name)
        seconds = ends_at - self._clock.now() if isinstance(ends_at, int | float) else 0.0
        return min(max(seconds, 1.0), float(cooldown_seconds))

    def load_failure(self) -> Failure | None:
        """Return the failure that the fleet is backing off from."""
        try:
            reason, count, until = parse_json(self._call("get", "failure").encode("utf-8"))
            failure = Failure(str(reason), min(int(count), 16), float(until))
        except (AttributeError, TypeError, ValueError, OverflowError):
            return None
        # None of ours ends later. One that is cut short at each reading would never end.
        latest = self._clock.now() + 1.2 * MAX_BACKOFF_SECONDS + MAX_CLOCK_SKEW_SECONDS
        return failure if failure.until <= latest else None

    def store_failure(self, failure: Failure | None) -> None:
        """Tell the fleet that a fetch failed; ``None``: that one succeeded."""
        if failure is None:
            self._call("delete", "failure")
        else:
            text = json.dumps([failure.reason, failure.count, failure.until])
            self._call("set", "failure", text, _FAILURE_KEPT_SECONDS)

    def _note_refusal(self, reason: str) -> None:
        metrics.increment(metrics.DOCUMENTS_REFUSED, reason)
        if reason != self._refused:
            self._refused = reason
            log(logging.WARNING, "shared_document_refused", reason=reason)

    def _parse(self, text: object) -> Snapshot:
        if not isinstance(text, str) or len(text) > MAX_DOCUMENT_CHARACTERS:
            raise _Unusable("malformed")
        try:
            document = parse_json_object(self._signer.unsign(text).encode("utf-8"))
            key_set = parse_jwks(json.dumps({"keys": document["keys"]}).encode("utf-8"))
            generation, fetched_at = int(document["generation"]), float(document["fetched_at"])
        except BadSignature:
            raise _Unusable("signature") from None
        except (KeySetInvalid, KeyError, TypeError, ValueError):
            raise _Unusable("malformed") from None
        age_seconds = self._clock.now() - fetched_at
        if age_seconds < -MAX_CLOCK_SKEW_SECONDS:
            raise _Unusable("dated_ahead")
        if age_seconds >= self._max_age_seconds:
            raise _Unusable("too_old")
        return Snapshot(key_set, generation, fetched_at)

    def _add(self, name: str, value: object, seconds: int) -> bool | None:
        """Add, if absent; ``None`` when the cache did neither.

        So answers django-redis with ``IGNORE_EXCEPTIONS``: it is not "somebody has it".
        """
        avoided = self.is_avoided
        added = self._call("add", name, value, seconds)
        if added is None and not avoided and not self.is_avoided:
            self._open_breaker("add returned None")
        return None if added is None else bool(added)

    def _call(self, method: str, name: str, *arguments: Any) -> Any:
        if self.is_avoided:
            return None
        started_at = self._clock.monotonic()
        try:
            result = getattr(self._get_cache(), method)(f"{self._prefix}:{name}", *arguments)
        # Backends raise what they like, up to UnicodeDecodeError for foreign bytes.
        except Exception as error:
            is_quick = self._clock.monotonic() - started_at < SLOW_SECONDS
            if is_quick and method == "get":
                # Bytes that nobody can decode, if the next call succeeds: a fetch replaces them.
                self._is_unreadable = self._is_unreadable or name == "document"
            else:
                self._open_breaker(type(error).__name__)
            return None
        if self._is_unreadable:
            self._is_unreadable = False
            self._note_refusal("unreadable")
        if self._avoid_seconds and result is not None:
            self._avoid_seconds = 0.0
            log(logging.WARNING, "cache_available")
        return result

    def _open_breaker(self, reason: str) -> None:
        self._is_unreadable = False
        if not self._avoid_seconds:
            log(logging.WARNING, "cache_unavailable", reason=reason)
        seconds = max(BREAKER_SECONDS, 2 * self._avoid_seconds)
        self._avoid_seconds = min(seconds, MAX_BREAKER_SECONDS)
        self._avoid_until = self._clock.monotonic() + self._avoid_seconds
