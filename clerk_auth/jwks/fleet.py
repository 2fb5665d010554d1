"""The key set that the whole fleet shares, as one signed document in the Django cache.

Whoever can write to the cache can delete the document or bring back an older one, but not put a
key in: it is signed with a key derived from ``SECRET_KEY``. Every cache key is a hash of what the
project configured, and of nothing that a token says.

What is not signed (lock, cooldowns, failure) is a hint: words of a closed list, numbers in range,
and otherwise as if it were not there. Nothing of it is repeated anywhere.

A cache that fails is no outage: to its callers it looks like an empty one that takes no orders,
and a breaker keeps it off the path for 2 seconds, doubling to 30.
"""

from __future__ import annotations

import json
import logging
import math
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
from clerk_auth.core.errors import FETCH_REASONS, KeySetInvalid
from clerk_auth.core.keys import KeySet, parse_jwks
from clerk_auth.jwks.source import Failure
from clerk_auth.logs import log

SCHEMA_VERSION = 1
MAX_DOCUMENT_CHARACTERS = 512 * 1024
MAX_CLOCK_SKEW_SECONDS = 60
MAX_BACKOFF_SECONDS, MAX_FAILURES = 60, 16
# No pause of ours ends later than this, with jitter and clocks that differ.
MAX_PAUSE_SECONDS = 1.2 * MAX_BACKOFF_SECONDS + MAX_CLOCK_SKEW_SECONDS
# Whoever takes over the lock of a process that died needs this for a fetch.
TAKEOVER_SECONDS = 1.0
# A read that fails sooner says something of the document; later, of the cache.
SLOW_SECONDS = 0.25
BREAKER_SECONDS, MAX_BREAKER_SECONDS = 2.0, 30
_FAILURE_KEPT_SECONDS, _MAX_FAILURE_CHARACTERS = 300, 128
# Nobody else writes under such a name.
_PROBE = "probe:"
# Of a call: nothing is under that name; the cache did not answer, or is avoided.
_ABSENT, _FAILED = object(), object()


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
        self._error = ""
        self._holder: object = None
        self._holder_seen_at = float("inf")
        self._holders = 0
        # Why the last document that was there was not used, a label of the metric.
        self.refused: str | None = None
        self._is_unreadable = False

    @property
    def is_avoided(self) -> bool:
        """Whether the breaker is open."""
        hung = self._hung is not None and not self._hung.is_set()
        return hung or self._clock.monotonic() < self._avoid_until

    @property
    def error(self) -> str | None:
        """Why the breaker is open: the class of an error, or what the cache did not do."""
        return (self._error or "hangs") if self.is_avoided else None

    def avoid_until(self, done: Event | None) -> None:
        """Keep off the cache until ``done`` is set: a thread hangs in it."""
        self._hung = done

    def load(self) -> Snapshot | None:
        """Return the shared snapshot; ``None`` when there is none that may be used."""
        text = self._call("get", "document", _ABSENT)
        if text is _ABSENT or text is _FAILED:
            return None
        try:
            snapshot = self._parse(text)
        except _Unusable as unusable:
            self._note_refusal(str(unusable))
            return None
        self.refused = None
        return snapshot

    def connect(self) -> None:
        """Ask whether there is a document: what fails now, or is slow, is not its text."""
        self._call("has_key", "document")

    def probe(self) -> None:
        """Find out, where no document could be read, whether the cache works: open the breaker."""
        name = f"{_PROBE}{secrets.token_hex(8)}"
        self._add(name, "", 2)
        self._call("get", name)
        self._call("delete", name)

    def store(self, snapshot: Snapshot) -> None:
        """Publish ``snapshot`` to the fleet."""
        document = {
            "generation": snapshot.generation,
            "fetched_at": snapshot.fetched_at,
            **snapshot.key_set.to_jwks(),
        }
        text = self._signer.sign(json.dumps(document, separators=(",", ":")))
        self._call("set", "document", text, int(self._max_age_seconds))

    def acquire(self, *, lease_seconds: int, waited_seconds: float = 0.0) -> str | None:
        """Take the fleet's lock: what releases it, ``""`` without a cache, ``None`` if held.

        ``waited_seconds`` is for how long locks have kept away a caller who has nothing else to
        go by: after a lease it is obeyed no more, whoever may write it again and again.
        """
        nonce = secrets.token_hex(16)
        is_added, holder = self._add("lock", nonce, lease_seconds)
        if is_added is None:
            return ""
        if is_added:
            self._holder, self._holders = None, 0
            return nonce
        if self._is_overdue(holder, lease_seconds, waited_seconds):
            self._call("set", "lock", nonce, lease_seconds)
            return nonce
        return None

    def _is_overdue(self, holder: object, lease_seconds: int, waited_seconds: float) -> bool:
        """Tell whether locks are in our way for longer than anybody may hold one.

        The same one is none of ours then, or the clock of the cache was set back. Others may be:
        somebody has taken over from a process that died, and is about to publish.
        """
        if not isinstance(holder, str) or len(holder) > 64:
            holder = type(holder)  # nothing of ours, and perhaps large
        now = self._clock.monotonic()
        if holder != self._holder:
            self._holder, self._holder_seen_at = holder, now
            self._holders += 1
        held_seconds = now - self._holder_seen_at
        is_taking_over = self._holders <= 2 and held_seconds <= TAKEOVER_SECONDS
        return held_seconds > lease_seconds or (
            waited_seconds > lease_seconds and not is_taking_over
        )

    def release(self, lock: str) -> None:
        """Give the lock back, unless it has become somebody else's."""
        if lock and self._call("get", "lock") == lock:
            self._call("delete", "lock")

    def claim(self, purpose: str, *, cooldown_seconds: int) -> float:
        """Claim the one forced fetch that the fleet may make for ``purpose`` per cooldown.

        Returns 0 when it is ours, otherwise the seconds until it can be claimed again.
        """
        now = self._clock.now()
        # With a nonce, so that whoever reads it back knows it for their own.
        value = f"{now + cooldown_seconds}:{secrets.token_hex(8)}"
        is_added, found = self._add(f"cooldown:{purpose}", value, cooldown_seconds)
        if is_added is not False:
            return 0.0
        seconds = _read_instant(found) - now
        if not 1 <= seconds <= cooldown_seconds + MAX_CLOCK_SKEW_SECONDS:
            return 1.0
        return min(seconds, float(cooldown_seconds))

    def load_failure(self) -> Failure | None:
        """Return the failure that the fleet is backing off from."""
        text = self._call("get", "failure", _ABSENT)
        if not isinstance(text, str) or len(text) > _MAX_FAILURE_CHARACTERS:
            return None
        try:
            reason, count, until = parse_json(text.encode("utf-8"))
        except (TypeError, ValueError):
            return None
        now = self._clock.now()
        earliest = now - _FAILURE_KEPT_SECONDS - MAX_CLOCK_SKEW_SECONDS
        if (
            reason not in FETCH_REASONS
            or type(count) is not int
            or not 1 <= count <= MAX_FAILURES
            or type(until) not in (int, float)
            # One that is cut short at each reading would never end.
            or not earliest <= until <= now + MAX_PAUSE_SECONDS
        ):
            return None
        return Failure(reason, count, float(until))

    def store_failure(self, failure: Failure | None) -> None:
        """Tell the fleet that a fetch failed; ``None``: that one succeeded."""
        if failure is None:
            self._call("delete", "failure")
        else:
            text = json.dumps([failure.reason, failure.count, failure.until])
            self._call("set", "failure", text, _FAILURE_KEPT_SECONDS)

    def _note_refusal(self, reason: str) -> None:
        metrics.increment(metrics.DOCUMENTS_REFUSED, reason)
        if reason != self.refused:
            self.refused = reason
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

    def _add(self, name: str, value: str, seconds: int) -> tuple[bool | None, object]:
        """Add, if absent: whether it was added, and what is there if not; ``None``: no cache.

        An ``add`` that is not true means nothing by itself: backends answer so when something is
        there, when they swallow errors, and when they lost the answer to what they stored. What is
        there may be gone by the time that it is read, so that both are done twice.
        """
        started_at = self._clock.monotonic()
        for _attempt in range(2):
            added = self._call("add", name, value, seconds)
            if added is _FAILED:
                return None, None
            if added:
                return True, value
            # Nothing, after a time: a time-out that was swallowed, and a request may wait for us.
            if added is None and self._is_slow(started_at):
                break
            found = self._call("get", name, _ABSENT)
            if self.is_avoided:
                return None, None
            if found is not _ABSENT:
                return isinstance(found, str) and found == value, found
            if self._is_slow(started_at):
                break
        self._open_breaker("add_without_effect")
        return None, None

    def _call(self, method: str, name: str, *arguments: Any) -> Any:
        if self.is_avoided:
            return _FAILED
        started_at = self._clock.monotonic()
        try:
            result = getattr(self._get_cache(), method)(f"{self._prefix}:{name}", *arguments)
        # Backends raise what they like, up to UnicodeDecodeError for foreign bytes.
        except Exception as error:
            is_foreign = method == "get" and not name.startswith(_PROBE)
            if is_foreign and not self._is_slow(started_at):
                # Bytes that nobody can decode, if the next call succeeds: a fetch replaces them.
                self._is_unreadable = self._is_unreadable or name == "document"
            else:
                self._open_breaker(type(error).__name__)
            return _FAILED
        if self._is_unreadable:
            self._is_unreadable = False
            self._note_refusal("unreadable")
        # An answer that a cache which swallows its errors gives too shows nothing.
        is_shown = result not in (None, False) if method != "get" else result is not _ABSENT
        if self._avoid_seconds and is_shown:
            self._avoid_seconds = 0.0
            log(logging.WARNING, "cache_available")
        return result

    def _is_slow(self, started_at: float) -> bool:
        return self._clock.monotonic() - started_at >= SLOW_SECONDS

    def _open_breaker(self, reason: str) -> None:
        self._is_unreadable = False
        self._error = reason
        if not self._avoid_seconds:
            log(logging.WARNING, "cache_unavailable", reason=reason)
        seconds = max(BREAKER_SECONDS, 2 * self._avoid_seconds)
        self._avoid_seconds = min(seconds, MAX_BREAKER_SECONDS)
        self._avoid_until = self._clock.monotonic() + self._avoid_seconds


def _read_instant(found: object) -> float:
    """Return when a cooldown ends that is in the cache; a NaN, which is in no range, if never."""
    try:
        return float(found.partition(":")[0]) if isinstance(found, str) else math.nan
    except ValueError:
        return math.nan
