"""Processes that hold a verifier each, and do over a pipe what a test tells them.

All are forked from one process, the nursery, that has imported everything: starting 48 takes less
than a second. The nursery waits for none of them before its own end, so that a process id stays
theirs until then.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from django.conf import settings
from django_redis.cache import RedisCache

from project.demo import children
from project.demo.environment import inherit_environment

PATIENCE_SECONDS = 30.0
SECRET_KEY = "a secret that the whole fleet shares" * 2


class Answer(NamedTuple):
    """What became of one token: ``ok`` or an error code, the wait, and when it was over."""

    code: str
    seconds: float
    at: float


class Answers(NamedTuple):
    """What became of many: their number by code, waits in seconds, and when it began and ended."""

    count: Counter[str]
    longest: float
    median: float
    began_at: float
    ended_at: float

    @classmethod
    def of(cls, answers: list[Answer]) -> Answers:
        waits = [answer.seconds for answer in answers]
        return cls(
            Counter(answer.code for answer in answers),
            max(waits),
            statistics.median(waits),
            min(answer.at - answer.seconds for answer in answers),
            max(answer.at for answer in answers),
        )


# In the test's process


class Nursery:
    """Forks workers; what they share, and where they fetch, is in their environment."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._workers: list[Worker] = []

    def fork(self, count: int, clerk_auth: Mapping[str, Any]) -> list[Worker]:
        """Start workers whose setting ``CLERK_AUTH`` is this one."""
        workers = [self._fork_one() for _ in range(count)]
        tell(workers, configure, dict(clerk_auth))
        return workers

    def _fork_one(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._channel, [b"fork"], [theirs.fileno()])
        worker = Worker(Connection(ours.detach()))
        self._workers.append(worker)
        return worker

    def end_workers(self) -> None:
        while self._workers:
            self._workers.pop().end()


class Worker:
    """One process; it does in a thread of its own each thing that it is told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told = 0
        self._results: dict[int, Any] = {}
        self.pid: int = connection.recv()

    def start(self, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        """Have ``function`` called there; what is returned waits for its result."""
        self._told += 1
        number = self._told
        self._connection.send((number, function, arguments))
        return lambda: self._wait_for(number)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.start(function, *arguments)()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        self._connection.close()

    def _wait_for(self, number: int) -> Any:
        while number not in self._results:
            assert self._connection.poll(PATIENCE_SECONDS), f"no word from worker {self.pid}"
            done, result = self._connection.recv()
            self._results[done] = result
        result = self._results.pop(number)
        if isinstance(result, Exception):
            raise result
        return result


def tell(workers: list[Worker], function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Have all of them do it at the same time, and return the results in their order."""
    waiting = [worker.start(function, *arguments) for worker in workers]
    return [wait() for wait in waiting]


@contextmanager
def run_nursery(redis_url: str) -> Iterator[Nursery]:
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-c", "from tests.faults.processes import nurse; nurse()"]
    with theirs:
        process = children.start(
            [*argv, str(theirs.fileno())],
            environment=environment(redis_url),
            output=sys.__stderr__.fileno(),
            pass_fds=[theirs.fileno()],
        )
    nursery = Nursery(ours)
    try:
        with ours:
            try:
                yield nursery
            finally:
                nursery.end_workers()
        process.wait(PATIENCE_SECONDS)
    finally:
        children.stop(process)


def environment(redis_url: str, **more: str) -> dict[str, str]:
    """What a process of the demo needs to know; ``more`` goes over it."""
    return inherit_environment() | {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_SECRET_KEY": SECRET_KEY,
        "DJANGO_HTTPS": "0",
        "PYTHONPATH": str(settings.BASE_DIR),
        "REDIS_URL": redis_url,
        **more,
    }


# In the nursery and its workers


def nurse() -> None:
    """Import everything once, then fork a worker for every pipe that comes in."""
    import django

    django.setup()
    warm_up()
    # A line for each forged token would measure the terminal.
    logging.getLogger("clerk_auth").setLevel(logging.ERROR)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        nurse_pid = os.getpid()
        while True:
            _, descriptors, _, _ = socket.recv_fds(channel, 16, 1)
            if not descriptors:
                break
            if os.fork() == 0:
                _end_with(nurse_pid)
                channel.close()
                _work(Connection(descriptors[0]))
            os.close(descriptors[0])
    with contextlib.suppress(ChildProcessError):
        while os.wait():
            pass


def warm_up() -> None:
    """Do once what 48 processes on two cores should not all do in their first request."""
    import django.test  # noqa: F401
    from django.core.cache import cache, caches

    import clerk_auth.verifier  # noqa: F401
    from clerk_auth.jwks.document import fetch_document
    from clerk_auth.transport import FetchFailed

    cache.get("anything")
    caches.close_all()
    with contextlib.suppress(FetchFailed):
        fetch_document("http://127.0.0.1:1/", 1)


def _end_with(parent: int) -> None:
    # SIGKILL, because a stopped process waits for everything else.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _work(connection: Connection) -> None:
    answering = threading.Lock()

    def do(number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            result = function(*arguments)
        except Exception as error:
            result = RuntimeError(repr(error))
        with answering:
            connection.send((number, result))

    connection.send(os.getpid())
    try:
        while True:
            threading.Thread(target=do, args=connection.recv(), daemon=True).start()
    except EOFError:
        os._exit(0)


def configure(clerk_auth: dict[str, Any]) -> None:
    """Begin anew, cold: with other settings the process has another verifier."""
    from django.test import override_settings

    override_settings(CLERK_AUTH=clerk_auth).enable()


def verify(token: str) -> Answer:
    from clerk_auth.core.errors import ClerkAuthError
    from clerk_auth.verifier import get_verifier

    started_at = time.monotonic()
    try:
        get_verifier().verify(token)
        code = "ok"
    except ClerkAuthError as error:
        code = error.code
    ended_at = time.monotonic()
    return Answer(code, ended_at - started_at, ended_at)


def verify_at(instant: float, token: str, threads: int) -> list[Answer]:
    """Verify in so many threads at one instant of the clock that all processes share."""

    def wait_and_verify(_: int) -> Answer:
        time.sleep(max(0.0, instant - time.monotonic()))
        return verify(token)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(wait_and_verify, range(threads)))


def verify_until_accepted(token: str, pause_seconds: float = 0.02) -> list[Answer]:
    """Ask again and again, as a client does."""
    answers = [verify(token)]
    while answers[-1].code != "ok" and answers[-1].at - answers[0].at < PATIENCE_SECONDS / 2:
        time.sleep(pause_seconds)
        answers.append(verify(token))
    return answers


def verify_steadily(token: str, seconds: float, pause_seconds: float = 0.002) -> Answers:
    ends_at = time.monotonic() + seconds
    answers = []
    while not answers or answers[-1].at < ends_at:
        answers.append(verify(token))
        time.sleep(pause_seconds)
    return Answers.of(answers)


def attack(
    kids: list[str | None], payload: dict[str, Any], threads: int, seconds: float
) -> Answers:
    """Send forged tokens as fast as it goes; a kid of ``None`` is another one each time."""
    ends_at = time.monotonic() + seconds

    def forge_and_verify(_: int) -> list[Answer]:
        answers = []
        while not answers or answers[-1].at < ends_at:
            answers += [verify(forge(kid, payload)) for kid in kids]
        return answers

    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(forge_and_verify, range(threads))
        return Answers.of([answer for part in parts for answer in part])


def forge(kid: str | None, payload: Mapping[str, Any]) -> str:
    """Return a token whose signature nobody made."""
    from clerk_auth.core.encoding import encode_base64url
    from clerk_auth.issuer.local import encode_segment

    header = {"alg": "RS256", "kid": kid or f"ins_{os.urandom(8).hex()}", "typ": "JWT"}
    return ".".join(
        [encode_segment(header), encode_segment(payload), encode_base64url(os.urandom(256))]
    )


def load_generation() -> int | None:
    """Return the generation of the key set that this process holds, or loads if it is cold."""
    from clerk_auth.verifier import get_verifier
    from tests.fleet import keys_for

    source = get_verifier().source
    keys_for(source, "any")
    return source.status().generation


def stop_when(moment: str) -> None:
    """Stop this process, once, as SIGSTOP does.

    ``fetched``: it has a new set, and has not decided whether to publish it. ``add`` and ``set``
    are calls of the cache: it has decided to take the lock, or to publish.
    """
    from django.test import override_settings

    from clerk_auth import signals

    _moments.append(moment)
    signals.keys_refreshed.connect(_note_fetched)
    backend = {"BACKEND": "tests.faults.processes.StoppingCache"}
    override_settings(CACHES={"default": settings.CACHES["default"] | backend}).enable()


class StoppingCache(RedisCache):
    """Redis, but for a process that stops just before a call."""

    def add(self, *args: Any, **kwargs: Any) -> Any:
        _stop_if("add")
        return super().add(*args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        _stop_if("set")
        return super().set(*args, **kwargs)


_moments: list[str] = []


def _note_fetched(**_: object) -> None:
    _stop_if("fetched")


def _stop_if(moment: str) -> None:
    if moment in _moments:
        _moments.remove(moment)
        # To this thread and not to the process: that would stop a few instructions later.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


# Applications for web servers


def make_wsgi_application(preload: str) -> Callable[..., Any]:
    """Return the demo, with what the parent of the web workers makes before it forks them.

    ``preload``: the ``verifier``, or the verifier with its ``keys``.
    """
    from clerk_auth.verifier import get_verifier
    from project.wsgi import application
    from tests.fleet import keys_for

    # A worker that hangs would outlive the one that forked it.
    os.register_at_fork(after_in_child=partial(_end_with, os.getpid()))
    source = get_verifier().source
    if preload == "keys":
        keys_for(source, "any")

    def name_worker(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, ("X-Worker", str(os.getpid()))], *rest)

        return application(environ, start)

    return name_worker
