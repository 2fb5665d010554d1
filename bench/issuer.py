"""A key server on loopback that counts who asks; it can be made slow."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class KeyServer:
    """Serves ``document`` under every path that ends in ``jwks`` or ``jwks.json``.

    ``fetches`` counts requests for it; each answer takes ``delay_seconds``.
    """

    def __init__(self) -> None:
        self.document = b'{"keys": []}'
        self.delay_seconds = 0.0
        self.fetches = 0
        self._counting = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.endswith(("jwks", "jwks.json")):
                    self.send_error(404)
                    return
                with outer._counting:
                    outer.fetches += 1
                time.sleep(outer.delay_seconds)
                with suppress(ConnectionError):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(outer.document)))
                    self.end_headers()
                    self.wfile.write(outer.document)

            def do_POST(self) -> None:
                self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: requests are counted, not logged."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
