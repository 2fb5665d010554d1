"""A body that takes longer than its token lives, on real servers: docs/troubleshooting.md."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings

from project.demo import children
from project.demo.environment import inherit_environment
from tests.test_docs import blocks, read

pytestmark = pytest.mark.integration

SERVERS = {
    "sync": ("gunicorn", "project.wsgi", "--bind", "fd://{}"),
    "gthread": ("gunicorn", "project.wsgi", "--threads", "2", "--bind", "fd://{}"),
    "asgi": ("uvicorn", "project.asgi:application", "--fd", "{}"),
}
READS_THE_BODY = """
from rest_framework.decorators import api_view
from rest_framework.response import Response

@api_view(["POST"])
def take(request):
    return Response({"size": len(request.body)})

urlpatterns += [path("api/take", take)]
"""


@pytest.fixture
def serve(tmp_path, local_issuer):
    (page,) = (b for b in blocks(read("troubleshooting.md"), "python") if "# api/uploads.py" in b)
    (tmp_path / "slow_bodies.py").write_text(page + READS_THE_BODY)
    changes = {
        "ROOT_URLCONF": "slow_bodies",
        "CLERK_AUTH": {
            "ISSUER": local_issuer.issuer,
            "JWT_KEY": local_issuer.public_pem,
            "LEEWAY_SECONDS": 0,
        },
    }
    environment = inherit_environment() | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DJANGO_SECRET_KEY": "for both servers and all workers",
        "DJANGO_HTTPS": "0",
        "PYTHONPATH": f"{settings.BASE_DIR}:{tmp_path}",
        "TESTS_SETTINGS": json.dumps(changes),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }

    @contextmanager
    def run(kind: str) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            argv = [part.format(listener.fileno()) for part in SERVERS[kind]]
            process = children.start(
                [sys.executable, "-m", *argv],
                output=sys.__stderr__.fileno(),
                environment=environment,
                pass_fds=[listener.fileno()],
            )
            try:
                yield listener.getsockname()[1]
            finally:
                children.stop(process)

    return run


def ask(port: int, method: str, path: str, body: bytes, *lines: str, until: float = 0) -> tuple:
    """Send a request, the last byte of its body not before ``until``; return status and body."""
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    head += [f"Content-Length: {len(body)}", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join(head).encode() + body[:-1])
        time.sleep(max(0, until - time.time()))
        connection.sendall(body[-1:])
        with connection.makefile("rb") as answer:
            text = answer.read()
    head_text, _, content = text.partition(b"\r\n\r\n")
    return int(head_text.split()[1]), json.loads(content)


@pytest.mark.parametrize("kind", SERVERS)
def test_server_decides_when_a_token_is_verified(kind, serve, local_issuer):
    def bearer(expires_in: float) -> str:
        return f"Authorization: Bearer {local_issuer.token(expires_in=expires_in)}"

    with serve(kind) as port:
        # Also waits until the server is there.
        status, started = ask(port, "POST", "/api/uploads/start", b"{}", bearer(60))
        assert status == 200

        now = time.time()
        answer = ask(port, "POST", "/api/take", b"12345", bearer(2), until=now + 2.2)
        if kind == "asgi":
            assert (answer[0], answer[1]["code"]) == (401, "token_expired")
        else:
            assert answer == (200, {"size": 5})

        # A URL of its own outlives the token.
        file = "Content-Disposition: attachment; filename=a.csv"
        answer = ask(port, "PUT", started["url"], b"12345", file)
        assert answer == (201, {"user": "user_dev", "size": 5})
        assert ask(port, "PUT", "/api/uploads/user_dev", b"1", file)[0] == 403
