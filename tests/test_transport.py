"""Fetching over real connections: whatever the other side does, in time, bounded and classified."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import ipaddress
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clerk_auth import __version__
from clerk_auth.core.errors import FETCH_REASONS, KeySetInvalid
from clerk_auth.core.keys import parse_jwks
from clerk_auth.jwks.document import fetch_document
from clerk_auth.transport import MAX_BODY_BYTES, MAX_WIRE_BYTES, Answer, FetchFailed, fetch
from tests.issuer_server import IssuerServer, Script, after, answer, drip, hang

pytestmark = pytest.mark.integration

# Settings allow no less than a second; the rule is the same.
TIMEOUT_SECONDS = 0.3
OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = 10_000


@pytest.fixture(scope="module")
def _server(local_issuer) -> Iterator[IssuerServer]:
    server = IssuerServer(local_issuer)
    yield server
    server.stop()


@pytest.fixture
def server(_server, monkeypatch) -> IssuerServer:
    """A server whose scripts and requests are this test's, and no proxy before it."""
    _server.script, _server.requests = None, []
    for name in [name for name in os.environ if name.lower().endswith(("_proxy", "_ca_bundle"))]:
        monkeypatch.delenv(name)
    return _server


@pytest.fixture(autouse=True)
def _no_thread_is_left(server) -> Iterator[None]:
    """Holds for every test here: once ``fetch_document`` returns, nothing of it goes on."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and not _serves(t)]
    for thread in left:  # a timer that was cancelled takes a moment to end
        thread.join(TIMEOUT_SECONDS / 2)
    assert not [thread for thread in left if thread.is_alive()]


def _serves(thread: threading.Thread) -> bool:
    return "_serve" in thread.name


def send(response: bytes) -> Script:
    return lambda connection: connection.sendall(response)


def failure(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> FetchFailed:
    """Return why ``url`` cannot be fetched, after at most twice the time that it may take."""
    started_at = time.monotonic()
    with pytest.raises(FetchFailed) as caught:
        fetch_document(url, timeout_seconds)
    assert time.monotonic() - started_at < 2 * timeout_seconds
    assert caught.value.reason in FETCH_REASONS
    return caught.value


def ask(url: str, timeout_seconds: float, headers: dict[str, str]) -> Answer:
    """Want the body of a refusal only."""
    return fetch(url, timeout_seconds, headers, wanted=lambda status: status >= 400)


# A good answer, and the request for it


def test_document_is_returned_as_it_was_sent(server):
    server.script = send(
        OK + b"Date: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Length: 4\r\n\r\n\x00\xffab"
    )
    document = fetch_document(server.jwks_url, 5)
    assert document.body == b"\x00\xffab"
    assert document.headers["Date"] == "Sat, 21 Nov 2026 10:00:00 GMT"
    assert 0 < document.elapsed_seconds < 5


def test_date_is_none_where_none_was_sent(server):
    server.script = send(OK + b"Content-Length: 2\r\n\r\n{}")
    assert fetch_document(server.jwks_url, 5).headers.get("Date") is None


@pytest.mark.parametrize(
    ("response", "body"),
    [
        pytest.param(OK + b"Connection: close\r\n\r\nhello", b"hello", id="until-closed"),
        pytest.param(OK + b"Content-Length: 0\r\n\r\n", b"", id="empty"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            b"hello",
            id="chunked",
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b"hello"),
            b"hello",
            id="gzip-though-not-asked-for",
        ),
        pytest.param(OK + b"Content-Length: 2\r\n\r\nhello", b"he", id="length-too-short"),
    ],
)
def test_body_is_decoded_and_complete(server, response, body):
    server.script = send(response)
    assert fetch_document(server.jwks_url, 5).body == body


def test_request_is_one_get_that_says_who_asks(server):
    fetch_document(server.jwks_url, 5)
    (request,) = server.requests
    line, *headers = request.decode().rstrip("\r\n").split("\r\n")
    assert line == "GET /.well-known/jwks.json HTTP/1.1"
    sent = {name.lower(): value for name, _, value in (h.partition(": ") for h in headers)}
    assert sent["user-agent"] == f"django-clerk-auth/{__version__}"
    assert sent["accept-encoding"] == "identity"
    assert sent["cache-control"] == "no-cache"
    assert "json" in sent["accept"]
    assert not {"authorization", "cookie", "proxy-authorization"} & set(sent)


def test_cookies_are_not_kept_from_one_fetch_to_the_next(server):
    server.script = answer(b"{}", headers=["Set-Cookie: a=b; Path=/"])
    fetch_document(server.jwks_url, 5)
    fetch_document(server.jwks_url, 5)
    assert b"ookie" not in server.requests[1]


# Status


@pytest.mark.parametrize(
    "status",
    ["201 Created", "204 No Content", "206 Partial", "400 Bad", "404 No", "500 Err", "503 Busy"],
)
def test_other_status_than_200_is_a_failure(server, status):
    server.script = answer(server.document(), status=status)
    failed = failure(server.jwks_url)
    assert (failed.reason, failed.status) == ("status", int(status[:3]))


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_redirect_is_a_failure_and_not_followed(server, status):
    server.script = answer(b"", status=f"{status} X", headers=[f"Location: {server.issuer}/keys"])
    failed = failure(server.jwks_url)
    assert (failed.reason, failed.status) == ("redirect", status)
    assert server.fetches == 1


@pytest.mark.parametrize("status", ["301 Moved", "404 Not Found", "200 OK"])
def test_huge_body_is_not_read_to_its_end(server, status):
    sent = []

    def pour(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {10**9}\r\n\r\n".encode())
        try:
            for _ in range(10_000):
                sent.append(connection.send(b"x" * 65536))
        finally:
            hung_up.set()

    hung_up = threading.Event()
    server.script = pour
    failure(server.jwks_url, timeout_seconds=5)
    assert hung_up.wait(5)
    # What the buffers of two sockets hold is sent, whether or not anybody reads.
    assert sum(sent) < 50_000_000


# An answer of any status


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (204, b""), (302, b""), (399, b""), (400, b"x"), (503, b"x")]
)
def test_answer_has_a_body_where_it_refuses(server, status, body):
    server.script = answer(
        b"" if status == 204 else b"x", status=f"{status} X", headers=["Location: /", "X-Y: z"]
    )
    found = ask(server.issuer, 5, {"Authorization": "Bearer x"})
    assert (found.status, found.body, found.headers["x-y"]) == (status, body, "z")
    assert server.fetches == 1
    assert b"Authorization: Bearer x\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answer(bytes(MAX_BODY_BYTES + 1), status="404 X"), "too_large"),
        (answer(b"", status="404 X", length=1), "body"),
        (hang(), "timeout"),
    ],
    ids=["large", "cut", "hanging"],
)
def test_answer_that_is_not_complete_is_a_failure(server, script, reason):
    server.script = script
    with pytest.raises(FetchFailed) as caught:
        ask(server.issuer, TIMEOUT_SECONDS, {})
    assert caught.value.reason == reason


def test_header_that_is_none_is_not_sent_and_not_repeated(server):
    with pytest.raises(FetchFailed) as caught:
        ask(server.issuer, 5, {"Authorization": "Bearer x\r\nX-Evil: 1"})
    assert "Evil" not in str(caught.value)
    assert server.fetches == 0


# Size


def test_body_of_a_quarter_of_a_megabyte_is_the_limit():
    assert MAX_BODY_BYTES == 262_144


@pytest.mark.parametrize(
    ("size", "reason"),
    [(MAX_BODY_BYTES - 1, None), (MAX_BODY_BYTES, None), (MAX_BODY_BYTES + 1, "too_large")],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_body_is_bounded_after_decoding(server, size, reason, encoding):
    body = b"x" * size
    server.script = answer(
        gzip.compress(body) if encoding == "gzip" else body,
        headers=[f"Content-Encoding: {encoding}"],
    )
    if reason:
        assert failure(server.jwks_url, timeout_seconds=5).reason == reason
    else:
        assert fetch_document(server.jwks_url, 5).body == body


def chunked(body: bytes) -> bytes:
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return bytes(10_000_000)


@pytest.mark.parametrize(
    ("encode", "header"),
    [
        pytest.param(lambda body: body, b"Content-Length: 10000000", id="plain"),
        pytest.param(lambda body: body, b"Connection: close", id="no-length"),
        pytest.param(chunked, b"Transfer-Encoding: chunked", id="chunked"),
        pytest.param(gzip.compress, b"Content-Encoding: gzip", id="gzip-bomb"),
        pytest.param(zlib.compress, b"Content-Encoding: deflate", id="deflate-bomb"),
        pytest.param(
            lambda body: gzip.compress(gzip.compress(body)),
            b"Content-Encoding: gzip, gzip",
            id="bomb-in-a-bomb",
        ),
    ],
)
def test_ten_megabytes_are_too_large_and_never_held(server, zeros, encode, header):
    server.script = send(OK + header + b"\r\n\r\n" + encode(zeros))
    failed, peak_bytes = failure_with_peak(server.jwks_url)
    assert failed.reason == "too_large"
    assert peak_bytes < 8 * MAX_BODY_BYTES


def test_chunk_of_size_minus_one_is_not_read_as_all_there_is(server, zeros):
    server.script = send(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + zeros)
    failed, peak_bytes = failure_with_peak(server.jwks_url)
    assert failed.reason in ("body", "too_large")
    assert peak_bytes < 8 * MAX_BODY_BYTES


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(
            OK
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + (b"1;" + b"a" * 1000 + b"\r\n{\r\n") * (MAX_WIRE_BYTES // 1000),
            id="chunk-extensions",
        ),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_WIRE_BYTES // 20), id="interim-responses"
        ),
        pytest.param(
            OK + (b"X: " + b"a" * 60_000 + b"\r\n") * (MAX_WIRE_BYTES // 50_000) + b"\r\n{}",
            id="headers",
        ),
    ],
)
def test_little_body_in_a_long_response_is_too_large(server, response):
    server.script = send(response)
    reasons = {"too_large"}
    if sys.version_info >= (3, 14) and response.startswith(b"HTTP/1.1 100"):
        reasons.add("connection")  # http.client has a bound of its own for interim responses
    assert failure(server.jwks_url, timeout_seconds=5).reason in reasons


def failure_with_peak(url: str) -> tuple[FetchFailed, int]:
    tracemalloc.start()
    try:
        return failure(url, timeout_seconds=5), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Answers that are none


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        pytest.param(b"", "connection", id="nothing"),
        pytest.param(b"\x00\x01\x02" * 100, "connection", id="bytes"),
        pytest.param(b"hello\r\n", "connection", id="no-status-line"),
        pytest.param(b"HTTP/1.1 twohundred OK\r\n\r\n", "connection", id="no-status"),
        pytest.param(OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n", "connection", id="long-header"),
        pytest.param(
            OK + b"".join(b"X%d: a\r\n" % i for i in range(200)) + b"\r\n",
            "connection",
            id="many-headers",
        ),
        pytest.param(
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "connection", id="two-lengths"
        ),
        pytest.param(OK + b"Content-Length: 9\r\n\r\nhello", "body", id="truncated"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\n", "body", id="length-and-no-body"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "body", id="chunks-cut"
        ),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", "body", id="cut-in-a-chunk"
        ),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhe\r\n", "body", id="chunk-zz"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
            "body",
            id="chunk-of-negative-size",
        ),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\nhello",
            "body",
            id="chunk-of-endless-size",
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\nhello", "body", id="no-gzip"
        ),
        pytest.param(
            OK + b"Content-Encoding: " + b"gzip, " * 50 + b"gzip\r\nConnection: close\r\n\r\nhello",
            "body",
            id="gzip-51-times",
        ),
    ],
)
def test_garbage_is_classified(server, response, reason):
    server.script = send(response)
    assert failure(server.jwks_url).reason == reason


@pytest.mark.parametrize("encoding", ["length", "no-length", "chunked", "gzip"])
def test_answer_that_is_cut_anywhere_is_no_key_set(server, encoding):
    head, body = {
        "length": (b"Content-Length: %d" % len(server.document()), server.document()),
        "no-length": (b"Connection: close", server.document()),
        "chunked": (b"Transfer-Encoding: chunked", chunked(server.document())),
        "gzip": (b"Content-Encoding: gzip", gzip.compress(server.document())),
    }[encoding]
    response = OK + head + b"\r\n\r\n" + body
    server.script = send(response)
    assert parse_jwks(fetch_document(server.jwks_url, 5).body).keys
    # The end of a stream says nothing new: the last chunk's and gzip's are left out.
    complete = response.rindex(b"}") if encoding in ("length", "no-length") else len(response) - 30
    for length in (*range(0, complete, 41), complete):
        server.script = send(response[:length])
        with pytest.raises((FetchFailed, KeySetInvalid)):
            parse_jwks(fetch_document(server.jwks_url, 5).body)


@hypothesis_settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    head=st.sampled_from(
        [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b",
            b"HTTP/1.1 302 X\r\n",
        ]
    ),
    noise=st.binary(max_size=200) | st.text("0123456789abcdef-;\r\n ", max_size=60).map(str.encode),
)
@example(head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", noise=b"-1\r\n")
def test_any_bytes_are_a_document_or_our_failure(server, head, noise):
    server.script = send(head + noise)
    with contextlib.suppress(FetchFailed):
        assert isinstance(fetch_document(server.jwks_url, 5).body, bytes)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/",
        "https://clerk.example.com/\x00",
        "https://xn--a.example/",
        "https://" + "a" * 64 + ".example/",
        "https://\udcff.example/",
        "ftp://clerk.example.com/keys",
        "file:///etc/hostname",
        "no url",
        "",
    ],
)
def test_url_that_cannot_be_asked_is_a_failed_connection(url, server):
    assert failure(url).reason == "connection"


def test_stopped_server_is_a_failed_connection():
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        port = stopped.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}/keys").reason == "connection"


# Time


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(hang(5), id="hangs"),
        pytest.param(drip(b"", OK + b"X: " + b"a" * ENDLESS), id="drips-headers"),
        pytest.param(
            drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * ENDLESS, every_seconds=0.001),
            id="continues-without-end",
        ),
        pytest.param(
            drip(OK + b"Content-Length: 10000\r\n\r\n", b"a" * ENDLESS), id="drips-the-body"
        ),
        pytest.param(drip(OK + b"\r\n", b"a" * ENDLESS), id="drips-without-length"),
        pytest.param(
            drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * ENDLESS),
            id="drips-chunks",
        ),
        pytest.param(
            drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * ENDLESS), id="drips-a-size"
        ),
        pytest.param(drip(b"HTTP/1.1 404 No\r\n", b"X: a\r\n" * ENDLESS), id="drips-a-404"),
        pytest.param(after(TIMEOUT_SECONDS + 0.1, answer(b"{}")), id="answers-late"),
        pytest.param(drip(OK + b"Content-Length: 0\r\nX: ", b"a" * 20 + b"\r\n\r\n"), id="empty"),
    ],
)
def test_deadline_is_total_whatever_the_server_does(server, script):
    server.script = script
    assert failure(server.jwks_url).reason == "timeout"


def test_answer_within_the_deadline_is_taken_however_it_drips(server):
    server.script = drip(OK, b"Content-Length: 2\r\n\r\n{}", every_seconds=0.001)
    assert fetch_document(server.jwks_url, 5).body == b"{}"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux drops the third connection")
def test_port_that_accepts_nobody_is_a_timeout():
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        assert failure(f"http://127.0.0.1:{address[1]}/keys").reason == "timeout"


@pytest.fixture
def resolve(monkeypatch):
    """Have every name resolved to these addresses."""

    def resolve(*addresses: str) -> None:
        def answer(host, port, *args, **kwargs):
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", answer)

    return resolve


@contextlib.contextmanager
def silent_addresses(count: int) -> Iterator[tuple[list[str], int]]:
    """Addresses of loopback, at one port, from which no connection attempt gets an answer."""
    addresses = [f"127.0.1.{number}" for number in range(1, count + 1)]
    port = 0
    with contextlib.ExitStack() as stack:
        for address in addresses:
            full = stack.enter_context(socket.socket())
            full.bind((address, port))
            full.listen(0)
            port = full.getsockname()[1]
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
        yield addresses, port


needs_linux = pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="Linux drops what a full queue does not take"
)


@needs_linux
@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_deadline_is_total_however_many_addresses_are_silent(server, resolve, count):
    with silent_addresses(count) as (addresses, port):
        resolve(*addresses)
        started_at = time.monotonic()
        assert failure(f"http://clerk.example:{port}/keys").reason == "timeout"
        assert time.monotonic() - started_at < 1.2 * TIMEOUT_SECONDS


@needs_linux
@pytest.mark.parametrize("count", [1, 3, 15])
def test_address_behind_silent_ones_has_its_share_of_the_time(server, resolve, count):
    with silent_addresses(count) as (addresses, port):
        listener = socket.create_server(("127.0.2.1", port))
        thread = threading.Thread(target=_answer_one, args=(listener,))
        thread.start()
        resolve(*addresses, "127.0.2.1")
        assert fetch_document(f"http://clerk.example:{port}/keys", 2).body == b"{}"
        thread.join()


def _answer_one(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with listener, connection:
        connection.recv(65536)
        answer(b"{}")(connection)


def test_address_that_refuses_costs_the_next_one_nothing(server, resolve):
    resolve("127.0.2.2", "127.0.2.2", "127.0.0.1")
    url = server.jwks_url.replace("127.0.0.1", "clerk.example")
    assert fetch_document(url, 1).body == server.document()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_loopback_host_is_this_machine_whatever_a_resolver_says(server, resolve, host):
    """Plain http is for loopback alone: a name that leads elsewhere is not asked, and not sent
    what only this machine may see."""
    url = server.jwks_url.replace("127.0.0.1", host)
    resolve("192.0.2.1", "127.0.0.1")
    assert fetch_document(url, 5).body == server.document()
    resolve("192.0.2.1")
    started_at = time.monotonic()
    with pytest.raises(FetchFailed) as caught:
        ask(url, 5, {"Authorization": "Bearer x"})
    assert caught.value.reason == "connection"
    assert time.monotonic() - started_at < 0.1
    assert server.fetches == 1


def test_name_that_resolves_to_nothing_is_a_failed_connection(server, resolve):
    resolve()
    assert failure("http://clerk.example/keys").reason == "connection"


def test_nothing_is_tried_after_the_deadline(server, monkeypatch):
    accepted = []

    def look_up_slowly(host, port, *args, **kwargs):
        time.sleep(TIMEOUT_SECONDS + 0.1)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())] * 3

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
        assert failure("http://clerk.example/keys").reason == "timeout"
        with contextlib.suppress(TimeoutError):
            accepted.append(listener.accept()[0])
    assert accepted == []


def test_answer_after_a_slow_name_lookup_is_a_timeout(server, monkeypatch):
    look_up = socket.getaddrinfo

    def look_up_slowly(*args, **kwargs):
        time.sleep(TIMEOUT_SECONDS + 0.1)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    for script in (answer(b"{}"), hang(5)):
        server.script = script
        assert failure(server.jwks_url).reason == "timeout"


# Proxies and credentials


def test_credentials_in_netrc_are_not_sent(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    fetch_document(server.jwks_url, 5)
    assert b"uthorization" not in server.requests[0]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_is_used(server, monkeypatch, name):
    monkeypatch.setenv(name, server.issuer)
    document = fetch_document("http://clerk.example.com/keys", 5)
    assert document.body == server.document()
    assert server.requests[0].startswith(b"GET http://clerk.example.com/keys HTTP/1.1\r\n")


def test_no_proxy_of_the_environment_is_honoured(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.issuer)
    monkeypatch.setenv("no_proxy", "clerk.invalid")
    assert failure("http://clerk.invalid/keys").reason == "connection"
    assert server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_is_put_between_us_and_loopback(server, monkeypatch, name, host):
    """It could read a token on its way, or put in a key: plain http is allowed there."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    url = server.jwks_url.replace("127.0.0.1", host)
    assert fetch_document(url, 5).body == server.document()


def test_deadline_holds_for_a_proxy_that_hangs(server, monkeypatch):
    server.script = hang(5)
    monkeypatch.setenv("https_proxy", server.issuer)
    assert failure("https://clerk.example.com/keys").reason == "timeout"
    assert server.requests[0].startswith(b"CONNECT clerk.example.com:443 ")


def test_deadline_holds_for_a_proxy_that_drips_its_answer(server, monkeypatch):
    server.script = drip(b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * ENDLESS)
    monkeypatch.setenv("https_proxy", server.issuer)
    assert failure("https://clerk.example.com/keys").reason == "timeout"


# A record of 16 KiB that holds a handshake, and never comes to its end.
HANDSHAKE = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"


def drip_a_handshake(connection: socket.socket) -> None:
    """Answer CONNECT at once, and the first word of TLS that follows without end."""
    connection.sendall(OK + b"\r\n")
    connection.recv(65536)
    drip(HANDSHAKE, b"a" * ENDLESS)(connection)


def test_deadline_holds_for_a_handshake_that_drips_behind_a_proxy(server, monkeypatch):
    server.script = drip_a_handshake
    monkeypatch.setenv("https_proxy", server.issuer)
    assert failure("https://clerk.example.com/keys").reason == "timeout"


def test_proxy_that_refuses_or_says_too_much_is_a_failure(server, monkeypatch):
    monkeypatch.setenv("https_proxy", server.issuer)
    server.script = answer(b"", status="407 Proxy Authentication Required")
    assert failure("https://clerk.example.com/keys").reason == "connection"
    server.script = send(OK + (b"X: " + b"a" * 60_000 + b"\r\n") * 20)
    assert failure("https://clerk.example.com/keys").reason in ("connection", "too_large")


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate of 127.0.0.1 that its own key has signed, with that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class TlsServer:
    """Answers one connection after the other, with a script as ``IssuerServer`` has."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}/keys"
        self.script = answer(b"{}")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(65536)
                    self.script(secured)


@pytest.fixture
def tls_server(server, certificate) -> Iterator[TlsServer]:
    secure = TlsServer(certificate)
    yield secure
    secure.stop()


def test_certificate_that_nobody_trusts_is_refused(tls_server):
    assert failure(tls_server.url).reason == "tls"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_ca_bundle_of_the_environment_is_trusted(tls_server, certificate, monkeypatch, name):
    monkeypatch.setenv(name, str(certificate))
    assert fetch_document(tls_server.url, 5).body == b"{}"


def test_trusted_certificate_of_another_host_is_refused(tls_server, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert failure(tls_server.url.replace("127.0.0.1", "localhost")).reason == "tls"


def test_deadline_holds_within_tls(tls_server, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls_server.script = drip(OK + b"Content-Length: 10000\r\n\r\n", b"a" * ENDLESS)
    assert failure(tls_server.url).reason == "timeout"


def test_deadline_holds_for_a_handshake_that_never_comes(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/keys"
        assert failure(url).reason == "timeout"


def test_deadline_holds_for_a_handshake_that_drips(server):
    with dripping_handshake() as url:
        assert failure(url).reason == "timeout"


@contextlib.contextmanager
def dripping_handshake() -> Iterator[str]:
    """A server that takes whatever comes, and drips a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        drip(HANDSHAKE, b"a" * ENDLESS)(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}/keys"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def relay(port: int) -> Script:
    """Answer CONNECT as a proxy does, and pass on what comes to and from ``port`` of loopback."""

    def script(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n")
        # In one thread: two that read and write one TLS socket at once can break it.
        with socket.create_connection(("127.0.0.1", port)) as other:
            targets = {connection: other, other: connection}
            while True:
                readable, _, _ = select.select(list(targets), [], [])
                for source in readable:
                    received = source.recv(65536)  # more than a record: none of it is left behind
                    if not received:
                        return
                    targets[source].sendall(received)

    return script


def test_document_comes_through_a_tunnel(server, tls_server, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    url = tls_server.url.replace("127.0.0.1", "127.0.0.1.")  # not loopback to the letter
    monkeypatch.setenv("https_proxy", server.issuer)
    server.script = relay(tls_server.port)
    assert fetch_document(url, 5).body == b"{}"
    assert server.requests[0].startswith(b"CONNECT 127.0.0.1.:")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert failure(url, timeout_seconds=5).reason == "tls"


@pytest.fixture
def tls_proxy(certificate, monkeypatch) -> Iterator[TlsServer]:
    """A proxy that is spoken to by TLS, and trusted."""
    proxy = TlsServer(certificate)
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    yield proxy
    proxy.stop()


def test_document_comes_through_a_tunnel_in_tls(tls_server, tls_proxy):
    tls_proxy.script = relay(tls_server.port)
    assert fetch_document(tls_server.url.replace("127.0.0.1", "127.0.0.1."), 5).body == b"{}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * ENDLESS), id="answer"),
        pytest.param(drip_a_handshake, id="handshake"),
    ],
)
def test_deadline_holds_for_a_proxy_in_tls_that_drips(tls_proxy, script):
    tls_proxy.script = script
    assert failure("https://clerk.example.com/keys").reason == "timeout"


@pytest.mark.parametrize("patched", ["first", "last"])
def test_deadline_holds_under_gevent(server, patched):
    """Its sockets bound each step of a handshake by itself, and a preloaded application has
    imported this module before they take the place of Python's."""
    patch = "from gevent import monkey; monkey.patch_all()"
    imports = (
        "from clerk_auth.jwks.document import fetch_document\n"
        "from clerk_auth.transport import FetchFailed"
    )
    code = f"""
import time, warnings
warnings.simplefilter("ignore")
{patch if patched == "first" else imports}
{imports if patched == "first" else patch}
import gevent, sys
def fetch(url):
    started_at = time.monotonic()
    try:
        fetch_document(url, {TIMEOUT_SECONDS})
    except FetchFailed as failed:
        return f"{{failed.reason}} {{time.monotonic() - started_at < {2 * TIMEOUT_SECONDS}}}"
jobs = [gevent.spawn(fetch, url) for url in sys.argv[1:]]
gevent.joinall(jobs)
print(*(job.value for job in jobs), sep="\\n")
"""
    server.script = drip(OK + b"X: ", b"a" * ENDLESS)
    with dripping_handshake() as url:
        # gevent can take the place of TLS only before that is used.
        urls = [url, server.jwks_url] if patched == "first" else [server.jwks_url]
        run = subprocess.run(
            [sys.executable, "-c", code, *urls],
            capture_output=True,
            encoding="utf-8",
            cwd=Path(__file__).parent.parent,
            timeout=30,
            check=False,
        )
    assert (run.stdout.splitlines(), run.stderr) == (["timeout True"] * len(urls), "")
