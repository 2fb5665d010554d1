"""An issuer that is gone, slow or lies: what users get meanwhile, and that it ends by itself.

Each fault is one row of ``FAULTS``, and meets a process in every state of its key set. Fetches are
counted by the issuer's own server, and failures by the reason that the operator sees.
"""

from __future__ import annotations

import functools
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from clerk_auth import metrics
from clerk_auth.core.encoding import encode_base64url
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.faults.conftest import (
    FORGED,
    MAX_AGE_SECONDS,
    NOT_FOUND,
    OK,
    REFRESH_SECONDS,
    SLACK,
    UNAVAILABLE,
    ask,
    expect,
    fetch_errors,
    settle,
)
from tests.faults.processes import run_nursery
from tests.issuer_server import IssuerServer, Script, answer, drip, hang
from tests.test_transport import drip_a_handshake, dripping_handshake, needs_linux, silent_addresses

pytestmark = [pytest.mark.integration, pytest.mark.redis]

COLD_WAIT, SEARCH_WAIT = 3.0, 1.5
# Between two failures of a long row: a minute, and its jitter.
LONGEST_PAUSE = 72
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Fault:
    """What is wrong, and the reason that is counted; ``arrives``: the server sees the request."""

    reason: str
    apply: Callable[[IssuerServer], AbstractContextManager[None]]
    arrives: bool = True


def scripted(make: Callable[[IssuerServer], Script]) -> Callable[[IssuerServer], object]:
    @contextmanager
    def apply(issuer: IssuerServer) -> Iterator[None]:
        issuer.script = make(issuer)
        yield
        issuer.script = None

    return apply


def answers(body: bytes, **options: object) -> Callable[[IssuerServer], object]:
    return scripted(lambda issuer: answer(body, **options))


def serve(*jwks: object) -> Script:
    return answer(json.dumps({"keys": jwks}).encode())


def serves(*jwks: object) -> Callable[[IssuerServer], object]:
    return scripted(lambda issuer: serve(*jwks))


def send(response: bytes) -> Script:
    return lambda connection: connection.sendall(response)


@contextmanager
def refusing(issuer: IssuerServer) -> Iterator[None]:
    issuer.stop()
    yield
    issuer.start()


@contextmanager
def unreachable(issuer: IssuerServer) -> Iterator[None]:
    """No answer to a connection attempt, as from a host that is down."""
    issuer.stop()
    # A listener whose queue is full drops what comes.
    with socket.create_server(issuer.address, backlog=0), socket.create_connection(issuer.address):
        yield
    issuer.start()


@functools.cache
def bomb() -> bytes:
    return gzip.compress(bytes(64 * MEGABYTE))


def bad_key(**members: str) -> dict[str, str]:
    return {"kty": "RSA", "kid": "ins_bad", "use": "sig", "e": "AQAB", **members}


STRONG, WEAK = (encode_base64url(b"\xff" * (bits // 8)) for bits in (2048, 1024))
# With the reason under which a key that is left out is counted.
BAD_KEYS: dict[str, tuple[object, str]] = {
    "private-key": (bad_key(n=STRONG, d=STRONG), "private"),
    "symmetric-key": (bad_key(kty="oct", k=STRONG), "key_type"),
    "EC-key": (bad_key(kty="EC", crv="P-256", x=STRONG[:43], y=STRONG[:43]), "key_type"),
    "1024-bit-key": (bad_key(n=WEAK), "modulus"),
    "key-with-exponent-1": (bad_key(n=STRONG, e="AQ"), "exponent"),
    "no-key-at-all": (7, "malformed"),
}

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAULTS = {
    "down": Fault("timeout", unreachable, arrives=False),
    "refusing": Fault("connection", refusing, arrives=False),
    "hangs-up": Fault("connection", scripted(lambda issuer: lambda connection: None)),
    "500": Fault("status", answers(b"{}", status="500 Internal Server Error")),
    "429": Fault(
        "status", answers(b"{}", status="429 Too Many Requests", headers=["Retry-After: 120"])
    ),
    "301": Fault(
        "redirect",
        answers(b"", status="301 Moved Permanently", headers=["Location: https://other.example/"]),
    ),
    "html-with-200": Fault("not_json", answers(b"<!doctype html><title>Sign in</title>")),
    "empty-body": Fault("not_json", answers(b"")),
    "empty-set": Fault("no_usable_key", serves()),
    "no-set": Fault("not_a_key_set", answers(b"{}")),
    "truncated-json": Fault("not_json", scripted(lambda issuer: answer(issuer.document()[:-20]))),
    "truncated-body": Fault(
        "body", scripted(lambda issuer: answer(issuer.document(), length=10_000))
    ),
    "duplicate-members": Fault(
        "not_json", scripted(lambda issuer: answer(issuer.document()[:-1] + b', "keys": []}'))
    ),
    "257-keys": Fault("too_many_keys", serves(*[{"kty": "RSA"}] * 257)),
    "10-MB-body": Fault("too_large", answers(b" " * 10 * MEGABYTE)),
    "gzip-bomb": Fault(
        "too_large", scripted(lambda issuer: answer(bomb(), headers=["Content-Encoding: gzip"]))
    ),
    **{name: Fault("no_usable_key", serves(key)) for name, (key, _) in BAD_KEYS.items()},
    "headers-dripped": Fault("timeout", scripted(lambda issuer: drip(HEAD, b"X-Slow: " * 99))),
    "body-dripped": Fault(
        "timeout",
        scripted(lambda issuer: drip(HEAD + b"Content-Length: 999\r\n\r\n", b" " * 999)),
    ),
    "never-answers": Fault("timeout", scripted(lambda issuer: hang())),
}
every_fault = pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=name) for name, fault in FAULTS.items()]
)


@pytest.fixture
def issuer(issuer: IssuerServer, settings) -> IssuerServer:
    """Fetches may take a second in all, so that a fault that is a wait takes no more."""
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "JWKS_TIMEOUT_SECONDS": 1}
    return issuer


# Every fault, in every state


@every_fault
def test_cold_fleet_is_unavailable_after_one_fetch_and_recovers_with_one(
    fault, issuer, start_process, clock
):
    first, second = start_process(), start_process()
    with fault.apply(issuer):
        expect(first.ask(), UNAVAILABLE, wait=COLD_WAIT)
        for _ in range(20):
            refused = expect(first.ask(), UNAVAILABLE)
        expect(second.ask(), UNAVAILABLE, wait=COLD_WAIT)
        assert fetch_errors() == {fault.reason: 1}
        assert issuer.fetches == fault.arrives
        assert first.state == "cold"
    clock.ahead += refused.retry_after
    expect(first.ask(), OK, wait=COLD_WAIT)
    expect(second.ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == fault.arrives + 1


@every_fault
def test_fresh_process_serves_on_and_does_not_deny_a_key_that_it_cannot_look_for(
    fault, issuer, start_process, clock
):
    process = start_process()
    expect(process.ask(), OK, wait=COLD_WAIT)
    held = process.held
    with fault.apply(issuer):
        expect(process.ask(), OK)
        assert fetch_errors() == {}
        expect(process.ask(process.token(kid="ins_new")), UNAVAILABLE, wait=SEARCH_WAIT)
        for _ in range(20):
            expect(process.ask(process.token(kid="ins_new")), UNAVAILABLE)
            expect(process.ask(), OK)
        assert fetch_errors() == {fault.reason: 1}
        assert process.held == held
    clock.ahead += REFRESH_SECONDS
    expect(process.ask(), OK)
    settle()
    assert process.state == "fresh"
    assert issuer.fetches == 1 + fault.arrives + 1


@every_fault
def test_stale_process_serves_on_while_refreshing_fails_and_a_new_one_takes_the_shared_set(
    fault, issuer, start_process, clock
):
    process = start_process()
    expect(process.ask(), OK, wait=COLD_WAIT)
    held = process.held
    with fault.apply(issuer):
        for failures in (1, 2):
            clock.ahead += REFRESH_SECONDS
            expect(process.ask(), OK)
            settle()
            assert fetch_errors() == {fault.reason: failures}
            assert process.state == "degraded"
            expect(process.ask(), OK)
        expect(process.ask(process.token(kid="ins_new")), UNAVAILABLE, wait=SEARCH_WAIT)
        started_meanwhile = start_process()
        expect(started_meanwhile.ask(), OK, wait=COLD_WAIT)
        assert started_meanwhile.held == process.held == held
    settle()
    assert issuer.fetches == 1 + 2 * fault.arrives
    clock.ahead += REFRESH_SECONDS
    expect(process.ask(), OK)
    settle()
    assert process.state == "fresh"
    assert issuer.fetches == 1 + 2 * fault.arrives + 1


# Waits and days


def test_cold_request_waits_three_seconds_for_a_slow_issuer_and_no_thread_outlives_the_fetch(
    configured,
):
    """On the defaults: a fetch may take 4 seconds, a request waits 3."""
    verifier, token = get_verifier(), configured.signer.token(azp=PARTY)
    with FAULTS["never-answers"].apply(configured):
        answer = expect(ask(verifier, token), UNAVAILABLE, wait=COLD_WAIT)
        settle()
        assert answer.seconds > COLD_WAIT - 0.1
        assert (fetch_errors(), configured.fetches) == ({"timeout": 1}, 1)


def silent(count: int) -> Callable[..., AbstractContextManager[str]]:
    @contextmanager
    def connect(issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        with silent_addresses(count) as (addresses, port):
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            found = [(*kind, (address, port)) for address in addresses]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
            yield f"http://localhost:{port}/keys"

    return connect


@contextmanager
def dripping_tls(issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with dripping_handshake() as url:
        yield url


def behind_a_proxy(script: Script) -> Callable[..., AbstractContextManager[str]]:
    @contextmanager
    def connect(issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        issuer.script = script
        monkeypatch.setenv("https_proxy", issuer.issuer)
        yield "https://clerk.example.com/keys"

    return connect


@needs_linux
@pytest.mark.parametrize(
    "connect",
    [
        *(pytest.param(silent(count), id=f"{count}-silent-addresses") for count in (2, 4, 8, 16)),
        pytest.param(dripping_tls, id="handshake-dripped"),
        pytest.param(behind_a_proxy(drip(HEAD, b"X-Slow: " * 99)), id="proxy-drips"),
        pytest.param(behind_a_proxy(drip_a_handshake), id="handshake-dripped-behind-a-proxy"),
    ],
)
def test_fetch_ends_with_its_time_out_however_it_fails_to_connect(
    connect, issuer, start_process, settings, monkeypatch
):
    with connect(issuer, monkeypatch) as url:
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        settings.CLERK_AUTH = {**settings.CLERK_AUTH, "JWKS_URL": url}
        process, started_at = start_process(), time.monotonic()
        expect(process.ask(), UNAVAILABLE, wait=1)
        settle()
        assert time.monotonic() - started_at < SLACK * 1
        assert fetch_errors() == {"timeout": 1}


def test_outage_of_24_hours_is_survived_and_ends_without_a_restart(issuer, start_process, clock):
    process = start_process()
    expect(process.ask(), OK, wait=COLD_WAIT)
    hours = 24
    with refusing(issuer):
        for hour in range(1, hours):
            clock.ahead += MAX_AGE_SECONDS / hours
            expect(process.ask(), OK)
            settle()
            assert fetch_errors() == {"connection": hour}
        expect(start_process().ask(), OK, wait=COLD_WAIT)
        settle()
        clock.ahead += MAX_AGE_SECONDS / hours - 10
        expect(process.ask(), OK)
        settle()
        clock.ahead += 10
        expect(process.ask(), UNAVAILABLE, wait=COLD_WAIT)
        expect(process.ask(), UNAVAILABLE)
        expect(start_process().ask(), UNAVAILABLE, wait=COLD_WAIT)
    assert issuer.fetches == 1
    clock.ahead += LONGEST_PAUSE
    expect(process.ask(), OK, wait=COLD_WAIT)
    assert issuer.fetches == 2


# Keys that come and go


@pytest.fixture
def new_signer(issuer, other_issuer):
    return other_issuer.acting_as(issuer.issuer, kid="ins_new")


def test_key_under_a_new_kid_is_accepted_at_its_first_use_by_every_process(
    issuer, new_signer, start_process
):
    processes = [start_process() for _ in range(4)]
    for process in processes:
        expect(process.ask(), OK, wait=COLD_WAIT)
    issuer.signers = [new_signer]
    for process in processes:
        expect(process.ask(), OK, wait=SEARCH_WAIT)
    assert issuer.fetches == 2


def test_key_replaced_under_its_kid_is_accepted_at_its_first_use_and_the_old_one_no_more(
    issuer, other_issuer, start_process
):
    processes = [start_process() for _ in range(4)]
    for process in processes:
        expect(process.ask(), OK, wait=COLD_WAIT)
    old = issuer.signer
    issuer.signers = [other_issuer.acting_as(issuer.issuer, kid=old.kid)]
    for process in processes:
        expect(process.ask(), OK, wait=SEARCH_WAIT)
        expect(process.ask(process.token(old)), FORGED, wait=SEARCH_WAIT)
    assert issuer.fetches == 2


def test_removed_key_is_refused_by_every_process_once_the_set_is_refreshed(
    issuer, new_signer, start_process, clock
):
    processes = [start_process() for _ in range(4)]
    old = issuer.signer
    issuer.signers = [old, new_signer]
    for process in processes:
        expect(process.ask(process.token(old)), OK, wait=COLD_WAIT)
    issuer.signers = [new_signer]
    for process in processes:
        expect(process.ask(process.token(old)), OK)
    clock.ahead += REFRESH_SECONDS
    for process in processes:
        expect(process.ask(), OK)
        settle()
        expect(process.ask(process.token(old)), NOT_FOUND, wait=SEARCH_WAIT)
    # One routine fetch, and one for the kid that had become unknown.
    assert issuer.fetches == 1 + 1 + 1


@pytest.mark.parametrize(
    ("key", "reason"), [pytest.param(*row, id=name) for name, row in BAD_KEYS.items()]
)
def test_bad_key_among_good_ones_is_left_out_alone(key, reason, issuer, start_process):
    issuer.script = serve(key, issuer.signer.jwk)
    process = start_process()
    expect(process.ask(), OK, wait=COLD_WAIT)
    assert metrics.totals()[metrics.KEYS_SKIPPED, reason] == 1
    expect(process.ask(process.token(kid="ins_bad")), NOT_FOUND, wait=SEARCH_WAIT)
    assert [key.kid for key in process.source.status().keys] == [issuer.signer.kid]
    assert (issuer.fetches, fetch_errors()) == (2, {})


# Where it points, and what it costs


def test_host_that_a_redirect_names_is_never_contacted(issuer, local_issuer, start_process):
    other = IssuerServer(local_issuer)
    moved = other.jwks_url.replace("127.0.0.1", "localhost")
    issuer.script = answer(b"", status="301 Moved Permanently", headers=[f"Location: {moved}"])
    expect(start_process().ask(), UNAVAILABLE, wait=COLD_WAIT)
    other.stop()
    assert (issuer.fetches, other.fetches) == (1, 0)


def refresh_and_measure() -> int:
    """Fetch in this process, and return by how many bytes its memory grew at the most."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is in use
    before = _read_memory("VmRSS")
    get_verifier().source.refresh()
    return _read_memory("VmHWM") - before


def _read_memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_hostile_document_costs_less_than_32_megabytes(configured, redis):
    bombs = [
        answer(b" " * 10 * MEGABYTE),
        answer(bomb(), headers=["Content-Encoding: gzip"]),
        answer(gzip.compress(bomb()), headers=["Content-Encoding: gzip, gzip"]),
        answer(b"[" * 250_000),
        answer(b'{"keys": [' + b"{}," * 80_000 + b"{}]}"),
        answer(b'{"keys": [{"kty": "RSA", "n": "' + b"A" * 250_000 + b'"}]}'),
        answer(b'{"keys": ' + b"9" * 250_000 + b"}"),
        send(HEAD + b"X-Long: " + b"x" * 64 * MEGABYTE),
        send(HEAD + b"X-Many: x\r\n" * 1_000_000),
        # Of size -1, a chunk is all that comes; what is beside the size is none of it.
        send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + bytes(64 * MEGABYTE)),
        send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 64 * MEGABYTE),
    ]
    with run_nursery(redis.url) as nursery:
        (worker,) = nursery.fork(1, {"ISSUER": configured.issuer, "JWKS_URL": configured.jwks_url})
        worker.ask(refresh_and_measure)
        for bomb_script in bombs:
            configured.script = bomb_script
            assert worker.ask(refresh_and_measure) < 32 * MEGABYTE
    assert configured.fetches == 1 + len(bombs)
