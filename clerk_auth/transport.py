"""One bounded HTTP exchange: the only place that opens a socket.

The deadline is total, from connecting to the last byte. The HTTP library's own time-outs bound each
step and not the whole, so every step on the wire is given the time that is left: each attempt to
connect its share of it, each read and write all of it. Steps of a TLS handshake and of a proxy's
answer are reads and writes too. After the deadline nothing more is tried. What cannot be ended is a
name look-up.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, SSLError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.ssltransport import SSLTransport

from clerk_auth import __version__
from clerk_auth.core.hosts import is_loopback

__all__ = ["Answer", "FetchFailed", "fetch"]

MAX_BODY_BYTES = 256 * 1024
# All that comes over the wire, whatever lengths it states: TLS, status line, headers, body.
MAX_WIRE_BYTES = 320 * 1024
_HEADERS = {
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
    "User-Agent": f"django-clerk-auth/{__version__}",
}
_OF_A_BODY = (ChunkedEncodingError, ContentDecodingError)


class FetchFailed(Exception):
    """Nothing was had that can be used; ``reason`` is one of ``core.errors.FETCH_REASONS``."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; ``body`` is empty where it was not wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_seconds: float


def fetch(
    url: str, timeout_seconds: float, headers: Mapping[str, str], *, wanted: Callable[[int], bool]
) -> Answer:
    """Ask ``url`` with ``headers``, in ``timeout_seconds`` altogether.

    The body is read where its status is ``wanted``: at most 256 KiB, decoded. TLS is
    verified; the environment's proxies and CA bundle are honoured, netrc never is, and redirects
    are not followed.

    Raises:
        FetchFailed: there was no complete answer in time.
    """
    started_at = time.monotonic()
    exchange = _Exchange(started_at + timeout_seconds)
    try:
        with requests.Session() as session, closing(exchange):
            # The function stands in for credentials, so that none are looked up in netrc.
            request = requests.Request("GET", url, {**headers, **_HEADERS}, auth=lambda sent: sent)
            environment = session.merge_environment_settings(url, {}, True, None, None)
            if is_loopback(urlsplit(url).hostname or ""):
                # Plain http is allowed to this machine only because nothing leaves it: no proxy.
                environment["proxies"] = {}
            prepared = session.prepare_request(request)
            # Not session.send: it reads the body of a redirect to the end before we see it.
            with exchange.send(prepared, timeout=timeout_seconds, **environment) as response:
                body = b""
                for chunk in response.iter_content(8192) if wanted(response.status_code) else ():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise FetchFailed("too_large")
        exchange.seconds_left()
    # Whatever goes wrong is a failed fetch: servers make up lengths, patches break TLS.
    except Exception as error:
        exchange.seconds_left()
        if isinstance(error, FetchFailed):
            raise
        is_connection = isinstance(error, OSError | HTTPError) and not isinstance(error, _OF_A_BODY)
        reason = "connection" if is_connection else "body"
        raise FetchFailed("tls" if isinstance(error, SSLError) else reason) from error
    return Answer(response.status_code, response.headers, body, time.monotonic() - started_at)


class _Exchange(HTTPAdapter):
    """Sends as ``requests`` does, with what is left of its time and of the bytes to receive."""

    def __init__(self, ends_at: float) -> None:
        super().__init__()
        self._ends_at = ends_at
        self._bytes_left = MAX_WIRE_BYTES

    def seconds_left(self) -> float:
        """Return how long the next step may take; raise ``FetchFailed`` when the time is up."""
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise FetchFailed("timeout")
        return seconds

    def step(self, connection: Any, call: Callable[..., Any], *args: Any, share: float = 1) -> Any:
        """Make one call of ``connection`` in this share of the time; count what it receives."""
        connection.settimeout(self.seconds_left() * share)
        try:
            result = call(*args)
        except TimeoutError:
            raise FetchFailed("timeout") from None
        self._bytes_left -= len(result) if isinstance(result, bytes) else result or 0
        if self._bytes_left < 0:
            raise FetchFailed("too_large")
        return result

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        exchange, connection_class = self, pool.ConnectionCls

        class Bounded(connection_class):  # type: ignore[misc, valid-type]
            def _new_conn(self) -> Any:
                if connection_class._new_conn is HTTPConnection._new_conn:
                    return _connect(self._dns_host, self.port, exchange, self.socket_options)
                # A SOCKS proxy: another library speaks with it, and bounds each step by this.
                self.timeout = exchange.seconds_left()
                return _bound(exchange)(fileno=super()._new_conn().detach())

            def connect(self) -> None:
                if isinstance(self, HTTPSConnection):
                    self.ssl_context = _make_tls_context()
                    if self._tunnel_scheme == "https":  # the proxy itself is spoken to by TLS
                        context = _make_tls_context()
                        context.load_verify_locations(self.ca_certs, self.ca_cert_dir)
                        self.proxy_config: Any = self.proxy_config._replace(ssl_context=context)
                super().connect()

        pool.ConnectionCls = Bounded
        return pool


def _bound(exchange: _Exchange) -> type[socket.socket]:
    """Return a class of sockets whose every step keeps to ``exchange``; no other step is taken."""

    # Of the class of the moment: gevent puts another one in its place.
    class BoundedSocket(socket.socket):
        def recv(self, *args: Any) -> Any:
            return exchange.step(self, super().recv, *args)

        def recv_into(self, *args: Any) -> Any:
            return exchange.step(self, super().recv_into, *args)

        def sendall(self, *args: Any) -> Any:
            return exchange.step(self, super().sendall, *args)

    return BoundedSocket


def _connect(host: str, port: int, exchange: _Exchange, options: Any) -> socket.socket:
    """Connect to the first address of ``host`` that answers; each has its share of the time.

    Plain http to a loopback host stays on this machine, and a resolver may say anything: such a
    host has addresses of loopback only.
    """
    host = host.strip("[]")
    try:
        found = dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError, OverflowError):  # no such name, or it can be none
        raise FetchFailed("connection") from None
    is_here = is_loopback(host)
    addresses = [entry for entry in found if not is_here or is_loopback(str(entry[4][0]))]
    failed = FetchFailed("connection")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = _bound(exchange)(family, kind, protocol)
        try:
            for option in options or ():
                connection.setsockopt(*option)
            share = 1 / (len(addresses) - number)
            exchange.step(connection, connection.connect, address, share=share)
            return connection
        except (OSError, FetchFailed) as error:
            connection.close()
            failed = error if isinstance(error, FetchFailed) else FetchFailed("connection")
    exchange.seconds_left()
    raise failed


class _Transport(SSLTransport):
    """TLS that reads and writes through the socket that it is given, which may be TLS itself.

    Python's own TLS sockets take the descriptor away from ours.
    """

    # How many files are open on the socket.
    _io_refs: Any = property(
        lambda self: self.socket._io_refs,
        lambda self, count: setattr(self.socket, "_io_refs", count),
    )


def _make_tls_context() -> Any:
    """Return a context that makes such transports; the library adds whom to trust, as to any."""
    context: Any = create_urllib3_context()
    context.wrap_socket = lambda sock, server_hostname: _Transport(sock, context, server_hostname)
    return context
