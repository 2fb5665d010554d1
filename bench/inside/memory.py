"""Resident memory of a worker: ``python -m bench.inside.memory open|ours``, in bytes.

Both have imported PyJWT with cryptography, and requests, and have served requests.
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

IMPORTED = (jwt.algorithms, requests)


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
    with (WORK / "tokens.txt").open() as tokens:
        for _ in range(3):
            serve(application, f"/{view}/", next(tokens).strip())
        found = {"started": resident_bytes()}
        if view == "ours":
            from clerk_auth.conf import get_config

            found["entries"] = get_config().verified_token_cache_size
            for _ in range(found["entries"]):
                serve(application, f"/{view}/", next(tokens).strip())
            found["full"] = resident_bytes()
    assert settings.configured
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
