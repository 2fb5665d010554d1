"""What the fault tests share: processes of ours, a Redis to break, and a clock that runs ahead.

A ``Process`` is wired as ``get_verifier`` wires one: real threads, the real fetch, the real cache.
What is put in its place is the clock, and that runs too: a test sets it ahead where minutes or
hours must pass. The two figures below are the only slack: counts are exact.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
import redis as redis_py
from django.conf import settings as django_settings
from django.core.cache import caches

from clerk_auth import metrics
from clerk_auth.conf import get_config
from clerk_auth.core.errors import (
    ClerkAuthError,
    KeyNotFound,
    KeysBusy,
    KeysUnavailable,
    SignatureInvalid,
)
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.document import fetch_document
from clerk_auth.jwks.fleet import Fleet
from clerk_auth.verifier import Verifier
from project.demo import children
from project.demo.redis_server import RedisServer, redis_server
from project.environment import read_caches
from tests.conftest import PARTY
from tests.faults.processes import Nursery, run_nursery
from tests.issuer_server import IssuerServer

# What a request takes that waits for nothing: half of the shortest wait that a slow fault here
# could cause. And how often a stated wait may pass.
NO_WAIT_SECONDS = 0.25
SLACK = 2
REFRESH_SECONDS = 300
MAX_AGE_SECONDS = 86400

# What a request gets: ``ok``, or the code of the refusal.
OK, NOT_FOUND, FORGED = "ok", KeyNotFound.code, SignatureInvalid.code  # 200, 401, 401
UNAVAILABLE, BUSY = KeysUnavailable.code, KeysBusy.code  # 503, with Retry-After


@dataclass
class RunningClock:
    """The real time, ahead by as many seconds as a test says."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    sleep = staticmethod(time.sleep)


class Delays:
    """How long a busy machine keeps those waiting who want to run: no request is blamed for it.

    A thread wakes up every few milliseconds, and notes when.
    """

    _PERIOD_SECONDS = 0.005

    def __init__(self) -> None:
        self._ticks: deque[float] = deque(maxlen=4000)

    def measure(self) -> None:
        while True:
            self._ticks.append(time.perf_counter())
            time.sleep(self._PERIOD_SECONDS)

    def between(self, start: float, end: float) -> float:
        late = (
            min(after, end) - max(before, start) - 2 * self._PERIOD_SECONDS
            for before, after in pairwise([*self._ticks, time.perf_counter()])
        )
        return sum(seconds for seconds in late if seconds > 0)


delays = Delays()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got, when it was made and how long it waited."""

    code: str
    started_at: float
    seconds: float
    retry_after: float | None = None


def ask(verifier: Verifier, token: str) -> Answer:
    """Verify ``token`` as a request does."""
    code, retry_after, started_at = OK, None, time.perf_counter()
    try:
        verifier.verify(token)
    except ClerkAuthError as error:
        code, retry_after = error.code, getattr(error, "retry_after", None)
    return Answer(code, started_at, time.perf_counter() - started_at, retry_after)


def expect(answer: Answer, code: str, *, wait: float = 0.0) -> Answer:
    """Assert what was answered, within ``wait`` seconds as the design states them."""
    assert answer.code == code
    limit = max(SLACK * wait, NO_WAIT_SECONDS)
    if answer.seconds >= limit:
        limit += SLACK * delays.between(answer.started_at, answer.started_at + answer.seconds)
    assert answer.seconds < limit
    if code in (UNAVAILABLE, BUSY):
        assert 1 <= answer.retry_after <= 30
    return answer


class Process:
    """A process of ours that serves ``issuer``'s tokens, with a snapshot of its own."""

    def __init__(self, issuer: IssuerServer, clock: RunningClock, *, alias: str = "") -> None:
        config = get_config()
        self.issuer = issuer
        self.clock = clock
        self.shared = Fleet(
            lambda: caches[alias or config.cache_alias],
            config,
            secret_key=django_settings.SECRET_KEY,
            clock=clock,
        )
        self.source = CachedKeySource(
            config,
            lambda: fetch_document(config.jwks_url, config.jwks_timeout_seconds).body,
            self.shared,
        )
        self.verifier = Verifier(
            self.source,
            config.policy,
            cache_size=config.verified_token_cache_size,
            now=clock.now,
        )

    def token(self, signer: LocalIssuer | None = None, **header: str) -> str:
        """A token that the issuer, or an older ``signer`` of its, signs now."""
        signer = signer or self.issuer.signer
        return signer.sign(signer.session_payload(azp=PARTY, now=self.clock.now()), header)

    def ask(self, token: str | None = None) -> Answer:
        return ask(self.verifier, token or self.token())

    @property
    def state(self) -> str:
        return self.source.status().state

    @property
    def held(self) -> tuple:
        """What must not change when a fetch fails."""
        status = self.source.status()
        return status.keys, status.generation, status.fetched_at


def settle() -> None:
    """Wait for the flights under way, of every process."""
    for thread in threading.enumerate():
        if thread.name == "clerk_auth-keys":
            thread.join(20)
            assert not thread.is_alive(), "a flight does not end"


def fetch_errors() -> dict[str, int]:
    """Fetches that failed, by reason, as the counters of the test process have them."""
    return {
        labels[0]: int(count)
        for (name, *labels), count in metrics.totals().items()
        if name == metrics.FETCH_ERRORS and count
    }


class BreakableRedis:
    """A Redis of one test, which may kill, stop, fill and restart it."""

    def __init__(self, server: RedisServer) -> None:
        assert server.process is not None
        self.url = server.url
        self._process = server.process

    @contextmanager
    def client(self) -> Iterator[redis_py.Redis]:
        """Speak to it without any cache framework in between."""
        with redis_py.Redis.from_url(self.url, socket_timeout=5) as client:
            yield client

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again where it was, with nothing in it."""
        self._process = children.start(self._process.args)
        deadline = time.monotonic() + 5
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis_py.ConnectionError:
                assert time.monotonic() < deadline, "it does not come back"
                time.sleep(0.01)

    def suspend(self) -> None:
        """Leave it accepting connections and answering none."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture(scope="session", autouse=True)
def _measure_delays() -> None:
    threading.Thread(target=delays.measure, daemon=True).start()


@pytest.fixture
def clock() -> RunningClock:
    return RunningClock()


@pytest.fixture
def issuer(configured: IssuerServer, redis: RedisServer, settings) -> IssuerServer:
    """The issuer whose tokens are accepted, and a healthy Redis, set up as the project does."""
    settings.CACHES = read_caches({"REDIS_URL": redis.url})
    # The next issuer may get the port of the last, and must not find its keys.
    settings.SECRET_KEY = secrets.token_hex(32)
    return configured


@pytest.fixture
def start_process(issuer: IssuerServer, clock: RunningClock):
    """Start processes; the test ends when none of them flies any more."""
    yield lambda **options: Process(issuer, clock, **options)
    issuer.script = None
    settle()


@pytest.fixture
def own_redis(monkeypatch) -> Iterator[BreakableRedis]:
    # A server that somebody else runs is not ours to break.
    monkeypatch.delenv("REDIS_URL", raising=False)
    with redis_server() as server:
        own = BreakableRedis(server)
        yield own
        own.kill()


@pytest.fixture(scope="module")
def nursery(redis: RedisServer) -> Iterator[Nursery]:
    """One warmed process that forks the others; started once per module."""
    with run_nursery(redis.url) as nursery:
        yield nursery
