"""One request through DRF: the view only, all of Django under the test client, or under ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

from django.core.asgi import get_asgi_application
from rest_framework.test import APIClient, APIRequestFactory

from bench.inside.authenticators import OURS, TITLES
from bench.inside.batches import Batch, Work, read_tokens
from bench.inside.settings import HAS_ROWS
from bench.inside.subjects import BY_NAME
from bench.inside.urls import VIEWS
from bench.tokens import TOKEN_CACHE_SIZE, Tokens, make_anew

WARM_UP = 20
# Sends requests with one token each; returns their statuses.
Ask = Callable[[Iterable[str]], list[int]]


class Requesting:
    """Every view, asked in each of the ``ways``; beside them the unit, a raw check of RSA.

    The views of ours share a token cache: it is full before the first round, and each new token
    pushes another out. They are also given the same repeated token.
    """

    def __init__(self, batch: int, ways: Sequence[str]) -> None:
        self._batch = batch
        tokens = read_tokens()
        if HAS_ROWS:
            from bench.inside.rows import make_rows

            make_rows(tokens)
        ours = [name for name in VIEWS if name in OURS]
        # One more is repeated.
        self._tokens = Tokens(tokens, at_once=batch * len(ways) * len(ours) + 1)
        self._raw = BY_NAME["raw"]
        self._verify_raw = self._raw.make()
        verify = BY_NAME["ours"].make()
        for token in self._take("ours", TOKEN_CACHE_SIZE):
            verify(token)
        asked = product(VIEWS, ways)
        self._works = {(name, way): _make_work(name, WAYS[way](name)) for name, way in asked}
        for (name, _), work in self._works.items():
            work(self._take(name, WARM_UP))

    def lets_in(self) -> dict[str, list[str]]:
        return {}

    def titles(self) -> dict[str, str]:
        return {name: TITLES[name] for name in VIEWS}

    def batches(self) -> list[Batch]:
        raw, [one] = self._take("raw", self._batch), self._take("ours", 1)
        made = [Batch("raw", "raw", self._check_raw, self._raw.prepare(raw))]
        for (name, way), work in self._works.items():
            new = self._take(name, self._batch)
            repeated = [make_anew(one) for _ in range(self._batch)]
            made.append(Batch(f"{way} new", name, work, new))
            made.append(Batch(f"{way} repeated", name, work, repeated, is_repeated=True))
        return made

    def _take(self, name: str, number: int) -> list[str]:
        return self._tokens.take("ours" if name in OURS else name, number)

    def _check_raw(self, arguments: Sequence[Any]) -> None:
        for argument in arguments:
            self._verify_raw(argument)


def _make_work(name: str, ask: Ask) -> Work:
    def work(tokens: Sequence[str]) -> None:
        statuses = set(ask(tokens))
        if statuses != {200}:
            raise RuntimeError(f"{name}: {statuses}")

    return work


def _ask_view(name: str) -> Ask:
    view, make_request = VIEWS[name], APIRequestFactory().get

    def ask(tokens: Iterable[str]) -> list[int]:
        return [
            view(make_request(f"/{name}/", HTTP_AUTHORIZATION="Bearer " + token)).status_code
            for token in tokens
        ]

    return ask


def _ask_client(name: str) -> Ask:
    get = APIClient().get

    def ask(tokens: Iterable[str]) -> list[int]:
        return [
            get(f"/{name}/", HTTP_AUTHORIZATION="Bearer " + token).status_code for token in tokens
        ]

    return ask


def _ask_asgi(name: str) -> Ask:
    application, loop = get_asgi_application(), asyncio.new_event_loop()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/{name}/",
        "query_string": b"",
    }

    async def ask_once(token: str) -> int:
        received = iter([{"type": "http.request"}])
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            # The client stays: it says nothing more.
            return next(received, None) or await loop.create_future()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + token.encode())]
        await application({**scope, "headers": headers}, receive, send)
        return statuses[0]

    async def ask_each(tokens: Iterable[str]) -> list[int]:
        return [await ask_once(token) for token in tokens]

    return lambda tokens: loop.run_until_complete(ask_each(tokens))


WAYS = {"factory": _ask_view, "client": _ask_client, "asgi": _ask_asgi}
