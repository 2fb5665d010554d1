"""One call of a verifier with a token."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from bench.inside.batches import Batch, Work, read_tokens
from bench.inside.settings import GOOD, WORK
from bench.inside.subjects import ALL
from bench.tokens import TOKEN_CACHE_SIZE, Tokens, make_anew

# A repeated token costs little: that many make up a time that can be measured.
REPEATS = 960
WARM_UP = 50


class Verifying:
    """The verifiers of the named subjects, all of them if none is named.

    Where verified tokens are kept, as many are verified beforehand as can be kept: each new one
    then pushes another out.
    """

    def __init__(self, batch: int, names: Sequence[str]) -> None:
        self._batch = batch
        self._tokens = Tokens(read_tokens(), at_once=batch + 1)
        chosen = [subject for subject in ALL if not names or subject.name in names]
        self._verifiers = {subject: subject.make() for subject in chosen}
        for subject, verify in self._verifiers.items():
            number = TOKEN_CACHE_SIZE if subject.keeps_tokens else WARM_UP
            for argument in subject.prepare(self._tokens.take(subject.name, number)):
                verify(argument)

    def lets_in(self) -> dict[str, list[str]]:
        """Send a good token and an expired one to each subject, and every bad one to ours."""
        bad = json.loads((WORK / "bad.json").read_text())
        found: dict[str, list[str]] = {}
        for subject, verify in self._verifiers.items():
            accepted = []
            for name, token in bad.items():
                if subject.is_ours or name in (GOOD, "expired"):
                    with contextlib.suppress(Exception):
                        verify(*subject.prepare([token]))
                        accepted.append(name)
            # Without this, a subject that is set up wrongly would pass for a strict one.
            accepted.remove(GOOD)
            if subject.is_ours:
                found[subject.name] = accepted
            elif accepted and subject.checks_claims:
                raise RuntimeError(f"{subject.name} accepts an expired token")
        return found

    def titles(self) -> dict[str, str]:
        return {subject.name: subject.title for subject in self._verifiers}

    def batches(self) -> list[Batch]:
        made = []
        for subject, verify in self._verifiers.items():
            one, *new = self._tokens.take(subject.name, self._batch + 1)
            repeated = [make_anew(one) for _ in range(REPEATS)]
            for kind, tokens in (("new", new), ("repeated", repeated)):
                made.append(
                    Batch(
                        kind,
                        subject.name,
                        _verify_each(verify),
                        subject.prepare(tokens),
                        subject.around,
                        is_repeated=kind == "repeated",
                    )
                )
        return made


def _verify_each(verify: Callable[[Any], Any]) -> Work:
    def work(arguments: Sequence[Any]) -> None:
        for argument in arguments:
            verify(argument)

    return work
