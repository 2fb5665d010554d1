"""What a server under test serves by coroutines: a bare ASGI application, and views of Django's.

``/stats`` says what the process holds, ``/ping`` how soon its event loop gets to what is asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import include, path


async def judge(authorization: str | None) -> tuple[int, dict[str, str]]:
    """Return status and body for the caller of an application of coroutines."""
    from clerk_auth.core.credential import read_bearer_token
    from clerk_auth.core.errors import KeysUnavailable, TokenRejected
    from clerk_auth.verifier import get_verifier

    try:
        claims = await get_verifier().averify(read_bearer_token(authorization) or "")
    except TokenRejected as error:
        return 401, {"code": error.code}
    except KeysUnavailable as error:
        return 503, {"code": error.code}
    return 200, {"user": claims.user_id}


def describe() -> dict[str, int]:
    """Count what waiting may leave behind."""
    from clerk_auth.verifier import get_verifier

    desk = get_verifier().source._desk  # type: ignore[union-attr]
    return {
        "threads": threading.active_count(),
        "futures": len(desk.flight.done._futures) if desk.flight else 0,
        "places": sum(desk.places[purpose]._value for purpose in ("key_id", "signature")),
    }


# Views of Django's

began_at: dict[float, float] = {}


async def verify(request: HttpRequest) -> JsonResponse:
    status, body = await judge(request.META.get("HTTP_AUTHORIZATION"))
    return JsonResponse(body, status=status)


async def sleep(request: HttpRequest) -> JsonResponse:
    """Sleep until so many seconds after the first: all go on at once, as those that wait do."""
    now, seconds = asyncio.get_running_loop().time(), float(request.GET["seconds"])
    await asyncio.sleep(began_at.setdefault(seconds, now) + seconds - now)
    return JsonResponse({})


urlpatterns = [path("django/verify", verify), path("django/sleep", sleep)]


def make_application() -> Callable[..., Any]:
    """Return the bare application, and the demo with these views behind it."""
    from django.conf import settings

    from project.asgi import application
    from tests.faults.processes import warm_up

    warm_up()
    settings.ROOT_URLCONF = __name__
    urlpatterns.append(path("", include("project.urls")))
    # A line for each request would measure the terminal.
    logging.getLogger("clerk_auth").setLevel(logging.WARNING)

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        status, body = 200, {}
        match scope["path"]:
            case "/ping":
                pass
            case "/stats":
                body = describe()
            case "/verify":
                authorization = dict(scope["headers"]).get(b"authorization", b"")
                status, body = await judge(authorization.decode())
            case _:
                await application(scope, receive, send)
                return
        text = json.dumps(body).encode()
        length = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": length})
        await send({"type": "http.response.body", "body": text})

    return serve
