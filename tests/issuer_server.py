"""An issuer over real HTTP that can rotate, fail, stall and lie: it writes raw bytes.

``script`` is called with the connection of each request for the key set, and may do what it likes
with it; the functions below make scripts. ``fetches`` counts requests, answered or not.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from email.utils import formatdate

from clerk_auth.issuer.local import LocalIssuer

Script = Callable[[socket.socket], None]


@functools.cache
def spare_signer(number: int) -> LocalIssuer:
    """Return one of the keys to rotate to: a run makes each once, and tests share them."""
    return LocalIssuer.generate("https://spare.invalid")


class IssuerServer:
    """Serves the public key of ``signer``; rotate by changing ``signers``."""

    def __init__(self, signer: LocalIssuer | None = None) -> None:
        self.script: Script | None = None
        self.requests: list[bytes] = []
        self._open = weakref.WeakSet[socket.socket]()
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self.start()
        self.issuer = f"http://127.0.0.1:{self.address[1]}"
        self.jwks_url = f"{self.issuer}/.well-known/jwks.json"
        signer = signer or LocalIssuer.generate(self.issuer)
        self.signers = [signer.acting_as(self.issuer, kid="ins_server")]
        self._spares = itertools.count()

    @property
    def fetches(self) -> int:
        return len(self.requests)

    @property
    def signer(self) -> LocalIssuer:
        """The newest signer."""
        return self.signers[-1]

    def rotate(self, kid: str, *, keep: bool = False) -> LocalIssuer:
        """Sign with a new key under ``kid`` from now on; ``keep`` serves the old ones too."""
        signer = spare_signer(next(self._spares)).acting_as(self.issuer, kid=kid)
        self.signers = [*self.signers, signer] if keep else [signer]
        return signer

    def document(self) -> bytes:
        return json.dumps({"keys": [signer.jwk for signer in self.signers]}).encode()

    def start(self) -> None:
        """Accept connections; after a stop, at the same address."""
        self._listener: socket.socket | None = socket.create_server(self.address, backlog=256)
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._accept, args=(self._listener,))
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._thread.join()
            listener.close()

    def close(self) -> None:
        """Stop, and hang up on clients that still wait for an answer."""
        self.stop()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                connection, _address = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # The client may hang up at any time, and should where it is treated badly.
        self._open.add(connection)
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(4096)
                if not received:
                    return
                request += received
            self.requests.append(request)
            script = self.script or answer(self.document())
            script(connection)


def answer(
    body: bytes, *, status: str = "200 OK", headers: Iterable[str] = (), length: int | None = None
) -> Script:
    """Answer at once; ``length`` lies about the body's."""
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *headers,
    ]
    response = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    return lambda connection: connection.sendall(response)


def drip(head: bytes, dripped: bytes, *, every_seconds: float = 0.05) -> Script:
    """Send ``head`` at once, and then one byte after the other."""

    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in dripped:
            time.sleep(every_seconds)
            connection.sendall(bytes([byte]))

    return script


def hang(seconds: float = 60.0) -> Script:
    """Never answer, until the client hangs up."""

    def script(connection: socket.socket) -> None:
        connection.settimeout(seconds)
        connection.recv(1)

    return script


def after(seconds: float, script: Script) -> Script:
    """Answer late."""

    def late(connection: socket.socket) -> None:
        time.sleep(seconds)
        script(connection)

    return late
