"""Resident memory of a worker: ``python -m bench.inside.memory open|ours``, in bytes.

Both have imported PyJWT with cryptography, and requests, and have served requests; then as many
more as there are new tokens in a full token cache.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import jwt.algorithms
import requests
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from bench.inside.settings import WORK
from bench.tokens import TOKEN_CACHE_SIZE

IMPORTED = (jwt.algorithms, requests)
WARM_UP = 3


def resident_bytes() -> int:
    gc.collect()
    if hasattr(trim := ctypes.CDLL(None), "malloc_trim"):
        trim.malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve(application: Callable[..., Iterable[bytes]], path: str, token: str) -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
    }
    statuses: list[str] = []
    response = application(environ, lambda status, headers: statuses.append(status))
    b"".join(response)
    if not statuses[0].startswith("200"):
        raise RuntimeError(f"{path}: {statuses[0]}")


def main(view: str) -> None:
    application = get_wsgi_application()
    # The tokens are read one by one: a request's own copies are gone when memory is weighed.
    with (WORK / "tokens.txt").open() as tokens:
        for _ in range(WARM_UP):
            serve(application, f"/{view}/", next(tokens).strip())
        found = {"started": resident_bytes()}
        # One token more than the cache holds, and half of them would be dropped.
        found["tokens"] = TOKEN_CACHE_SIZE - WARM_UP
        for _ in range(found["tokens"]):
            serve(application, f"/{view}/", next(tokens).strip())
        found["served"] = resident_bytes()
    assert settings.configured
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
