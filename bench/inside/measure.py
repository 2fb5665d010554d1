"""Time the subjects in turn: ``python -m bench.inside.measure verify|requests BATCH``.

Each line in is one round, each line out its CPU seconds per operation, by kind and subject. The
first line out, unasked, says which bad tokens each subject lets in.
"""

from __future__ import annotations

import contextlib
import gc
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import django

from bench.inside.settings import GOOD, WORK

Batch = Callable[[Sequence[Any]], None]
# Each batch is timed as the sum of this many parts, spread over the round.
PARTS = 3
# A repeated token may cost little: more of them make up a time that can be measured.
REPEATS = 4


def read_tokens(name: str = "tokens.txt") -> list[str]:
    return (WORK / name).read_text().split()


class Tokens:
    """Hands out tokens that a subject has not seen for longer than any cache remembers."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._seen: dict[str, count[int]] = {}

    def take(self, subject: str, number: int) -> list[str]:
        cursor = self._seen.setdefault(subject, count())
        return [self._tokens[next(cursor) % len(self._tokens)] for _ in range(number)]


def cpu_seconds(work: Batch, batch: Sequence[Any]) -> float:
    gc.disable()
    started = time.process_time()
    work(batch)
    seconds = time.process_time() - started
    gc.enable()
    return seconds


def shuffled(items: Iterable[Any], order: random.Random) -> list[Any]:
    listed = list(items)
    order.shuffle(listed)
    return listed


class Verifying:
    """One call of a verifier with a token."""

    def __init__(self, tokens: Tokens, batch: int) -> None:
        from bench.inside.subjects import ALL

        self._tokens = tokens
        self._batch = batch
        self._verifiers = {subject: subject.make() for subject in ALL}
        for subject, verify in self._verifiers.items():
            for argument in subject.prepare(tokens.take(subject.name, 50)):
                verify(argument)

    def lets_in(self) -> dict[str, list[str] | None]:
        """Send every bad token to every subject; ``None`` for one that reads no claims."""
        bad = json.loads((WORK / "bad.json").read_text())
        found: dict[str, list[str] | None] = {}
        for subject, verify in self._verifiers.items():
            if not subject.checks_claims:
                found[subject.name] = None
                continue
            accepted = []
            for name, token in bad.items():
                with contextlib.suppress(Exception):
                    verify(token)
                    accepted.append(name)
            # Without this, a subject that is set up wrongly would pass for a strict one.
            accepted.remove(GOOD)
            if "unknown-kid" in accepted and not subject.has_kid:
                accepted.remove("unknown-kid")
            found[subject.name] = accepted
        return found

    def titles(self) -> dict[str, str]:
        return {subject.name: subject.title for subject in self._verifiers}

    def batches(self) -> list[tuple[str, str, Batch, Sequence[Any], Any]]:
        """Return kind, subject, work, its argument, and what is called around it."""
        made = []
        for subject, verify in self._verifiers.items():
            new = subject.prepare(self._tokens.take(subject.name, self._batch))
            for argument in new[:1]:
                verify(argument)
            work = _verify_each(verify)
            made.append(("new", subject.name, work, new[1:], subject.around))
            repeated = [new[0]] * (REPEATS * self._batch)
            made.append(("repeated", subject.name, work, repeated, subject.around))
        return made


def _verify_each(verify: Callable[[Any], Any]) -> Batch:
    def work(arguments: Sequence[Any]) -> None:
        for argument in arguments:
            verify(argument)

    return work


class Requesting:
    """One request through DRF: only the view, and all of Django under the test client."""

    def __init__(self, tokens: Tokens, batch: int) -> None:
        from rest_framework.test import APIClient, APIRequestFactory

        from bench.inside.authenticators import TITLES
        from bench.inside.urls import VIEWS

        self._tokens = tokens
        self._batch = batch
        self._views = VIEWS
        self._titles = TITLES
        self._client = APIClient()
        self._factory = APIRequestFactory()
        for name in VIEWS:
            for kind in ("factory", "client"):
                self._work(name, kind)(tokens.take(name, 20))

    def lets_in(self) -> dict[str, list[str] | None]:
        return {}

    def titles(self) -> dict[str, str]:
        return dict(self._titles)

    def batches(self) -> list[tuple[str, str, Batch, Sequence[Any], Any]]:
        made: list[tuple[str, str, Batch, Sequence[Any], Any]] = []
        for name in self._views:
            for kind in ("factory", "client"):
                work = self._work(name, kind)
                new = self._tokens.take(name, self._batch + 1)
                work(new[:1])
                made.append((f"{kind} new", name, work, new[1:], None))
                made.append((f"{kind} repeated", name, work, new[:1] * self._batch, None))
        return made

    def _work(self, name: str, kind: str) -> Batch:
        view, make_request = self._views[name], self._factory.get
        path, get = f"/{name}/", self._client.get

        def call_view(tokens: Sequence[str]) -> None:
            for token in tokens:
                response = view(make_request(path, HTTP_AUTHORIZATION="Bearer " + token))
                if response.status_code != 200:
                    raise RuntimeError(f"{name}: {response.status_code}")

        def call_client(tokens: Sequence[str]) -> None:
            for token in tokens:
                response = get(path, HTTP_AUTHORIZATION="Bearer " + token)
                if response.status_code != 200:
                    raise RuntimeError(f"{name}: {response.status_code}")

        return call_view if kind == "factory" else call_client


def run_round(
    measured: Verifying | Requesting, order: random.Random
) -> dict[str, dict[str, float]]:
    """Run every batch in parts, in another order each time, and return seconds per operation."""
    seconds: dict[str, dict[str, float]] = {}
    batches = measured.batches()
    for part in range(PARTS):
        for kind, name, work, batch, around in shuffled(batches, order):
            if around:
                around(True)
            spent = cpu_seconds(work, batch[part::PARTS])
            if around:
                around(False)
            row = seconds.setdefault(kind, {})
            row[name] = row.get(name, 0.0) + spent / len(batch)
    gc.collect()
    return seconds


def main(what: str, batch: int) -> None:
    django.setup()
    tokens = Tokens(read_tokens())
    measured = (Verifying if what == "verify" else Requesting)(tokens, batch)
    order = random.Random(batch)
    gc.collect()
    gc.freeze()
    print(json.dumps({"lets_in": measured.lets_in(), "titles": measured.titles()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(run_round(measured, order)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
