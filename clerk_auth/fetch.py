"""Fetching over HTTP, the key document from Clerk above all: the only place that opens a socket.

The deadline is total, from connecting to the last byte. The HTTP library's own time-outs bound
each read and not the whole, so a watchdog shuts the connection down when the time is up, whatever
state it is in. No peer can hold the thread that fetches for longer; a name server can, since
nothing ends a look-up, and a flight that hangs in one is left behind. An answer that comes after
the deadline is a failure: a connection that was cut can look like an empty 200.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from clerk_auth import __version__
from clerk_auth.readers import is_loopback

T = TypeVar("T")

MAX_BODY_BYTES = 256 * 1024
# Status line, headers and body, as they come over the wire.
MAX_WIRE_BYTES = 320 * 1024
_CHUNK_BYTES = 8192
# Every address of a host is tried in turn, each with this share of the time.
_CONNECT_SHARE = 1 / 3

FAILURE_REASONS = (
    "timeout",
    "connection",
    "tls",
    "redirect",
    "status",
    "body",
    "too_large",
    "not_json",
    "not_a_key_set",
    "too_many_keys",
    "no_usable_key",
)


_BODY_ERRORS = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class FetchFailed(Exception):
    """No document was had; ``reason`` is one of :data:`FAILURE_REASONS`."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """A document of status 200; ``date`` is the server's ``Date`` header as sent."""

    body: bytes
    date: str | None
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of any status; ``body`` is read only where ``status`` is 400 or above."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch_document(url: str, timeout_seconds: float) -> FetchedDocument:
    """Fetch ``url``, at most 256 KiB of decoded body, in ``timeout_seconds`` altogether.

    TLS is verified; the environment's proxies and CA bundle are honoured, netrc never is, and
    redirects are not followed.

    Raises:
        FetchFailed: anything but a complete answer of status 200 in time.
    """
    accepted = {"Accept": "application/jwk-set+json, application/json"}
    (body, date), elapsed_seconds = _exchange(url, timeout_seconds, accepted, _read_document)
    return FetchedDocument(body, date, elapsed_seconds)


def fetch_answer(url: str, timeout_seconds: float, headers: Mapping[str, str]) -> Answer:
    """Ask ``url`` with ``headers``, bounded and careful as :func:`fetch_document`.

    Raises:
        FetchFailed: there was no complete answer in time.
    """
    return _exchange(url, timeout_seconds, headers, _read_answer)[0]


def _exchange(
    url: str,
    timeout_seconds: float,
    headers: Mapping[str, str],
    read: Callable[[requests.Response], T],
) -> tuple[T, float]:
    """Return what ``read`` makes of the response, and how many seconds it took."""
    started_at = time.monotonic()
    with _Watchdog(timeout_seconds) as watchdog:
        try:
            with _open(url, timeout_seconds, headers, watchdog) as response:
                found = read(response)
        except FetchFailed:
            if watchdog.barked:
                raise FetchFailed("timeout") from None
            raise
        # Whatever goes wrong below is a failed fetch: servers make up lengths, patches break TLS.
        except Exception as error:
            raise FetchFailed("timeout" if watchdog.barked else _classify(error)) from error
    elapsed_seconds = time.monotonic() - started_at
    if watchdog.barked or elapsed_seconds > timeout_seconds:
        raise FetchFailed("timeout")
    return found, elapsed_seconds


class _Watchdog:
    """Shuts down every watched connection when the time is up."""

    def __init__(self, timeout_seconds: float) -> None:
        self.barked = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(timeout_seconds, self._bark)
        self._timer.daemon = True

    def __enter__(self) -> _Watchdog:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for watched in self._sockets:
            watched.close()

    def watch(self, connection: socket.socket) -> None:
        # A duplicate: wrapping a connection in TLS takes the original away from us.
        self._sockets.append(connection.dup())
        if self.barked:
            self._bark()

    def _bark(self) -> None:
        self.barked = True
        for watched in self._sockets:
            with contextlib.suppress(OSError):
                watched.shutdown(socket.SHUT_RDWR)


class _WatchedAdapter(HTTPAdapter):
    """Connects as ``requests`` does, and shows every new connection to the watchdog."""

    def __init__(self, watchdog: _Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        watch = self._watchdog.watch

        class Watched(pool.ConnectionCls):  # type: ignore[misc]
            response_class = _BoundedResponse

            def _new_conn(self) -> socket.socket:
                connection: socket.socket = super()._new_conn()
                watch(connection)
                return connection

        pool.ConnectionCls = Watched
        return pool


class _BoundedResponse(HTTPResponse):
    """A response that reads no more from the wire than we take, whatever lengths it states."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_BoundedStream(self.fp.detach()))


class _BoundedStream(io.RawIOBase):
    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._left = MAX_WIRE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise FetchFailed("too_large")
        count = self._stream.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand in for credentials, so that none are looked up in netrc."""
    return request


@contextlib.contextmanager
def _open(
    url: str, timeout_seconds: float, headers: Mapping[str, str], watchdog: _Watchdog
) -> Iterator[requests.Response]:
    with requests.Session() as session, contextlib.closing(_WatchedAdapter(watchdog)) as adapter:
        request = session.prepare_request(
            requests.Request(
                "GET",
                url,
                headers={
                    **headers,
                    "Accept-Encoding": "identity",
                    "Cache-Control": "no-cache",
                    "User-Agent": f"django-clerk-auth/{__version__}",
                },
                auth=_no_credentials,
            )
        )
        environment: Any = session.merge_environment_settings(url, {}, True, None, None)
        if is_loopback(urlsplit(url).hostname or ""):
            # Plain http is allowed there because nobody is on the way; so nobody is put there.
            environment["proxies"] = {}
        # Not session.send: it reads the body of a redirect to the end before we see it.
        response = adapter.send(
            request, timeout=(timeout_seconds * _CONNECT_SHARE, timeout_seconds), **environment
        )
        with contextlib.closing(response):
            yield response


def _read_document(response: requests.Response) -> tuple[bytes, str | None]:
    _check_status(response.status_code)
    return _read_body(response), response.headers.get("Date")


def _read_answer(response: requests.Response) -> Answer:
    body = _read_body(response) if response.status_code >= 400 else b""
    return Answer(response.status_code, response.headers, body)


def _check_status(status: int) -> None:
    if 300 <= status < 400:
        raise FetchFailed("redirect", status=status)
    if status != 200:
        raise FetchFailed("status", status=status)


def _read_body(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise FetchFailed("too_large")
    return bytes(body)


def _classify(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "tls"
    if isinstance(error, requests.exceptions.Timeout):
        return "timeout"
    if isinstance(error, _BODY_ERRORS) or not isinstance(error, OSError | HTTPError):
        return "body"
    return "connection"
