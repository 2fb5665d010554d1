"""What the fleet shares in the Django cache: document, lock, cooldowns and failure.

An attacker who can write to the cache can delete the document or bring back an older one, but not
add a key: it is signed with a key derived from ``SECRET_KEY``. Cache keys are hashes of what the
project configured; nothing of a token is in them.

What is not signed (lock, cooldowns, failure) is a hint: a word of a closed list or a number in
range, and otherwise ignored. None of it is repeated in a log or an answer.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from dataclasses import astuple
from hashlib import sha256

from django.core.signing import BadSignature, Signer
from django.utils.crypto import salted_hmac

from clerk_auth import metrics
from clerk_auth.conf import Config
from clerk_auth.core.encoding import parse_json, parse_json_object
from clerk_auth.core.errors import KeySetInvalid
from clerk_auth.core.keys import parse_jwks
from clerk_auth.jwks.breaker import ABSENT, FAILED, PROBE, Breaker, GetCache
from clerk_auth.jwks.held import FAILURE_SECONDS, MAX_CLOCK_SKEW_SECONDS, Clock, Failure, Snapshot
from clerk_auth.logs import log

__all__ = ["Fleet"]

SCHEMA_VERSION = 1
MAX_DOCUMENT_CHARACTERS, MAX_FAILURE_CHARACTERS = 512 * 1024, 128
# A process that takes over the lock of one that died needs this for its fetch.
TAKEOVER_SECONDS = 1.0


class Fleet:
    """Document, lock, cooldowns and failure of one Clerk instance in the cache."""

    def __init__(
        self, get_cache: GetCache, config: Config, *, secret_key: str, clock: Clock | None = None
    ) -> None:
        key_id = salted_hmac("clerk_auth.shared.key_id", "", secret_key, algorithm="sha256")
        scope = [SCHEMA_VERSION, sorted(config.issuers), config.jwks_url, key_id.hexdigest()]
        self._prefix = f"clerk_auth:{sha256(json.dumps(scope).encode()).hexdigest()[:32]}"
        self._signer = Signer(key=secret_key, salt=self._prefix, fallback_keys=[])
        self._label = config.label
        self._max_age_seconds = config.jwks_max_age_seconds
        self.cooldown_seconds = config.jwks_cooldown_seconds
        # The lease of the lock outlives the fetch.
        self.lease_seconds = math.ceil(config.jwks_timeout_seconds) + 1
        self.clock = clock or Clock()
        self.breaker = Breaker(get_cache, self._prefix, self.clock)
        # Why the last document that was there was not used, a label of the metric.
        self.refused: str | None = None
        # Who was last seen to hold the lock, since when, and how many one after the other.
        self._holder: object = None
        self._holder_seen_at = math.inf
        self._holders = 0

    def load(self) -> Snapshot | None:
        """Return the shared snapshot; ``None`` when there is none that may be used."""
        text = self.breaker.get("document")
        # A cache that takes an order works: then it is the document that cannot be read.
        if text is ABSENT or (text is FAILED and self.breaker.delete(PROBE) is FAILED):
            return None
        found = "unreadable" if text is FAILED else self._parse(text)
        if isinstance(found, Snapshot):
            self.refused = None
            return found
        metrics.increment(metrics.DOCUMENTS_REFUSED, found, instance=self._label)
        if found != self.refused:
            self.refused = found
            log(logging.WARNING, "shared_document_refused", instance=self._label, reason=found)
        return None

    def store(self, snapshot: Snapshot) -> None:
        """Publish ``snapshot`` to the fleet."""
        facts = {"generation": snapshot.generation, "fetched_at": snapshot.fetched_at}
        document = json.dumps({**facts, **snapshot.key_set.to_jwks()}, separators=(",", ":"))
        self.breaker.set("document", self._signer.sign(document), int(self._max_age_seconds))

    def _parse(self, text: object) -> Snapshot | str:
        """Return the snapshot in a document, or why it is refused."""
        if not isinstance(text, str) or len(text) > MAX_DOCUMENT_CHARACTERS:
            return "malformed"
        try:
            document = parse_json_object(self._signer.unsign(text).encode("utf-8"))
            key_set = parse_jwks(json.dumps({"keys": document["keys"]}).encode("utf-8"))
            generation, fetched_at = int(document["generation"]), float(document["fetched_at"])
        except BadSignature:
            return "signature"
        except (KeySetInvalid, KeyError, TypeError, ValueError):
            return "malformed"
        age_seconds = self.clock.now() - fetched_at
        if age_seconds < -MAX_CLOCK_SKEW_SECONDS:
            return "dated_ahead"
        is_usable = age_seconds < self._max_age_seconds
        return Snapshot(key_set, generation, fetched_at) if is_usable else "too_old"

    def acquire(self, *, lease_seconds: int = 0, kept_seconds: float = 0.0) -> str | None:
        """Take the lock: what releases it, ``""`` without a cache, ``None`` if it is theirs.

        ``kept_seconds`` is for how long locks have kept a process without keys from fetching:
        after one lease it obeys none, however often they are written again.
        """
        nonce, lease_seconds = secrets.token_hex(16), lease_seconds or self.lease_seconds
        found = self.breaker.add("lock", nonce, lease_seconds)
        if found is FAILED:
            return ""
        if found is ABSENT:
            self._holder, self._holders = None, 0
            return nonce
        if self._is_overdue(found, lease_seconds, kept_seconds):
            self.breaker.set("lock", nonce, lease_seconds)
            return nonce
        return None

    def release(self, lock: str) -> None:
        """Give the lock back, unless another process has it by now."""
        if lock and self.breaker.get("lock") == lock:
            self.breaker.delete("lock")

    def _is_overdue(self, holder: object, lease_seconds: int, kept_seconds: float) -> bool:
        """Tell whether locks are in our way for longer than a process may hold one.

        The same one is none of ours then, or the clock of the cache was set back. Others may be:
        a process has taken over from one that died, and is about to publish.
        """
        if not isinstance(holder, str) or len(holder) > 64:
            holder = type(holder)  # nothing of ours, and perhaps large
        now = self.clock.monotonic()
        if holder != self._holder:
            self._holder, self._holder_seen_at = holder, now
            self._holders += 1
        held_seconds = now - self._holder_seen_at
        is_taking_over = self._holders <= 2 and held_seconds <= TAKEOVER_SECONDS
        return held_seconds > lease_seconds or (kept_seconds > lease_seconds and not is_taking_over)

    def reserve(self, purpose: str) -> float:
        """Reserve the one forced fetch that the fleet may make for ``purpose`` per cooldown.

        Returns 0 when it is ours, otherwise the seconds until it can be reserved again.
        """
        now, cooldown_seconds = self.clock.now(), self.cooldown_seconds
        # The nonce lets the process that wrote it recognise it.
        value = f"{now + cooldown_seconds}:{secrets.token_hex(8)}"
        found = self.breaker.add(f"cooldown:{purpose}", value, cooldown_seconds)
        if found is ABSENT or found is FAILED:
            return 0.0
        try:
            seconds = float(found.partition(":")[0]) - now if isinstance(found, str) else 0.0
        except ValueError:
            seconds = 0.0
        is_ours = 1 <= seconds <= cooldown_seconds + MAX_CLOCK_SKEW_SECONDS
        return min(seconds, float(cooldown_seconds)) if is_ours else 1.0

    def load_failure(self) -> Failure | None:
        """Return the failure that the fleet is backing off from."""
        text = self.breaker.get("failure")
        if not isinstance(text, str) or len(text) > MAX_FAILURE_CHARACTERS:
            return None
        try:
            failure = Failure(*parse_json(text.encode("utf-8")))
        except (TypeError, ValueError):
            return None
        return failure if failure.may_be_ours(self.clock.now()) else None

    def store_failure(self, failure: Failure | None) -> None:
        """Tell the fleet that a fetch failed; ``None``: that one succeeded."""
        if failure is None:
            self.breaker.delete("failure")
        else:
            text = json.dumps(astuple(failure))
            self.breaker.set("failure", text, FAILURE_SECONDS)
