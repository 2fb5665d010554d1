"""The parts of a run. Each returns what its section of the report is made of, JSON-ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.counted import keys, memory
from bench.served import gunicorn
from bench.session import Bench
from bench.timed import asgi, requests, sinks, users, verify

PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "verify": verify,
    "requests": requests,
    "users": users,
    "sinks": sinks,
    "asgi": asgi,
    "gunicorn": gunicorn,
    "keys": keys,
    "memory": memory,
}
