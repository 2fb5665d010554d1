"""What tests share: real keys, a real HTTP server, a real Redis and a clock that they set."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import cache

from clerk_auth import logs, metrics
from clerk_auth.core.claims import Claims
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks import cached
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier
from project.demo.redis_server import RedisServer, redis_server
from tests.issuer_server import IssuerServer

# As the entry point of the installed package does.
pytest_plugins = ["clerk_auth.pytest_plugin"]

# All servers here are on loopback, where a proxy of the machine's network leads nowhere.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]

NOW = 1_800_000_000
ISSUER = "https://clerk.example.com"
PARTY = "https://app.example.com"


@dataclass
class ManualClock:
    """A clock that stands still until a test moves it; wall and advancing time move together."""

    time: float = NOW

    def now(self) -> float:
        return self.time

    monotonic = now

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module that ``-m "not integration"`` leaves out, or most of the time goes there."""
    left_out = re.findall(r"not (\w+)", config.option.markexpr)
    if collection_path.suffix != ".py" or not left_out:
        return None
    if config.option.markexpr != " and ".join(f"not {marker}" for marker in left_out):
        return None
    marks = re.search(r"^pytestmark = .*", collection_path.read_text("utf-8"), re.MULTILINE)
    return True if marks and re.search(rf"\bmark\.({'|'.join(left_out)})\b", marks[0]) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let no garbage collection go through modules and items, which all live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        # hypothesis looks for the owners of its random generator, and finds none that are frozen.
        if "hypothesis" not in sys.modules:
            gc.freeze()
        gc.enable()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a row by its values: short, in ASCII, and the same in every run."""
    if (
        val is None
        or isinstance(val, bool | float)
        or isinstance(getattr(val, "__name__", None), str)
    ):
        return None
    if isinstance(val, set | frozenset):
        text = f"{{{', '.join(sorted(map(ascii, val)))}}}"
    else:
        text = ascii(val)[1:-1] if isinstance(val, str) else ascii(val)
    text = re.sub(" at 0x[0-9a-f]+", "", text)
    return text if len(text) <= 60 else f"{text[:57]}..."


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    """The key of ``local_issuer``."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def local_issuer(private_key: rsa.RSAPrivateKey) -> LocalIssuer:
    """Signs as ``ISSUER``; its key is made once."""
    return LocalIssuer(private_key, ISSUER)


@pytest.fixture(scope="session")
def other_issuer() -> LocalIssuer:
    """Signs as ``ISSUER`` and under the same key id, with another key."""
    return LocalIssuer.generate(ISSUER)


@pytest.fixture
def policy() -> Policy:
    return Policy(issuers=frozenset({ISSUER}), authorized_parties=frozenset({PARTY}))


@pytest.fixture
def claims_of(local_issuer: LocalIssuer, policy: Policy) -> Callable[..., Claims]:
    """Make verified claims."""
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)

    def make(user_id: str, **claims: object) -> Claims:
        return verifier.check(local_issuer.token(user_id, now=NOW, azp=PARTY, **claims))

    return make


@pytest.fixture
def issuer_server(local_issuer: LocalIssuer) -> Iterator[IssuerServer]:
    server = IssuerServer(local_issuer)
    yield server
    server.close()


@pytest.fixture
def configured(settings, issuer_server: IssuerServer) -> IssuerServer:
    """Settings that fetch from ``issuer_server``, on the production path."""
    settings.CLERK_AUTH = {
        "ISSUER": issuer_server.issuer,
        "JWKS_URL": issuer_server.jwks_url,
        "AUTHORIZED_PARTIES": [PARTY],
    }
    settings.SECURE_SSL_REDIRECT = False
    return issuer_server


@pytest.fixture
def key_configured(settings, local_issuer):
    """Settings with ``JWT_KEY``: no network, and the key id is ignored."""
    settings.CLERK_AUTH = {
        "ISSUER": ISSUER,
        "JWT_KEY": local_issuer.public_pem.strip(),
        "AUTHORIZED_PARTIES": [PARTY],
    }
    return settings


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A real Redis of our own; fails with remedies where none can be had."""
    with redis_server() as server:
        yield server


@pytest.fixture
def passes_in_child() -> Callable[[Callable[[], bool]], bool]:
    """Tell whether a function is true in a forked child, within five seconds."""

    def passes(function: Callable[[], bool]) -> bool:
        with warnings.catch_warnings():
            # Forking beside threads is what such a test is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            return os.waitpid(pid, 0)[1] == 0
        status = 1
        try:
            signal.alarm(5)
            status = 0 if function() else 1
        finally:
            os._exit(status)

    return passes


@pytest.fixture(autouse=True)
def _fresh_totals() -> Iterator[None]:
    """No test sees another's counts, cached keys, quiet times of the log, or flights."""
    metrics.reset()
    logs.refusals.forget()
    logs.defects.forget()
    yield
    for desk in list(cached._desks):
        if desk.flight is not None and desk.spawn is cached._spawn:
            desk.flight.done.wait(5)
    cache.clear()
