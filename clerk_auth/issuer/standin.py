"""A stand-in for Clerk on loopback: it serves a key set over HTTP and signs tokens with its key.

The demo runs on it, and so do tests of rotation and outage; no configuration leads to it unasked.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from clerk_auth.conf import JWKS_PATH
from clerk_auth.issuer.local import LocalIssuer

__all__ = ["Answer", "StandInClerk"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    body: bytes = b""
    content_type: str = "text/plain"
    status: int = 200


class StandInClerk:
    """Clerk's Frontend API, as far as a backend sees it.

    ``issuer`` is the base URL and the issuer of its tokens; ``signer`` makes them. ``fetches``
    counts requests for the key set, answered or not. ``respond`` takes a request's path with its
    query and returns the answer: replace it to script one. A subclass overrides ``answer``, which
    is what it is by default.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._counting = threading.Lock()
        self.fetches = 0
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        # The next one at this port must not find the keys of this one in a shared cache.
        self.jwks_url = f"{self.issuer}{JWKS_PATH}?{secrets.token_hex(8)}"
        self.signer = LocalIssuer.generate(self.issuer, kid="ins_standin")
        self.respond: Callable[[str], Answer] = self.answer

    def rotate(self) -> None:
        """Sign with a new key under a new id from now on; the old one is served no more."""
        self.signer = LocalIssuer.generate(self.issuer, kid=f"ins_{secrets.token_hex(8)}")

    def fail(self) -> None:
        """Answer 503 to everything until :meth:`recover`."""
        self.respond = lambda path: Answer(status=503)

    def recover(self) -> None:
        """Answer as before a failure."""
        self.respond = self.answer

    def answer(self, path: str) -> Answer:
        """Answer as Clerk does when all is well."""
        if _is_jwks(path):
            return Answer(json.dumps(self.signer.jwks).encode(), "application/json")
        return Answer(b"There is nothing here.", status=404)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port; requests under way are not waited for."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _count(self, path: str) -> None:
        if _is_jwks(path):
            with self._counting:
                self.fetches += 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        clerk = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                clerk._count(self.path)
                answer = clerk.respond(self.path)
                with suppress(ConnectionError):  # the client has given up
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.content_type)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: requests are counted, not logged."""

        return Handler


def _is_jwks(path: str) -> bool:
    return urlsplit(path).path == JWKS_PATH
