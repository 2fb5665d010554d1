"""Time the subjects in turn: ``python -m bench.inside.measure WHAT BATCH [SUBJECT ...]``.

Each line in is one round, each line out its CPU seconds per operation, by kind and subject. The
first line out, unasked, says which bad tokens clerk_auth lets in.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import django

from bench.inside.batches import Batch, Measured, Work

# Each batch is timed as the sum of this many parts, spread over the round.
PARTS = 3


def cpu_seconds(work: Work, arguments: Sequence[Any]) -> float:
    gc.disable()
    started = time.process_time()
    work(arguments)
    seconds = time.process_time() - started
    gc.enable()
    return seconds


def shuffled(items: Iterable[Batch], order: random.Random) -> list[Batch]:
    listed = list(items)
    order.shuffle(listed)
    return listed


def run_round(measured: Measured, order: random.Random) -> dict[str, dict[str, float]]:
    """Run every batch in parts, in another order each time, and return seconds per operation."""
    seconds: dict[str, dict[str, float]] = {}
    batches = measured.batches()
    for part in range(PARTS):
        for batch in shuffled(batches, order):
            with batch.around():
                if batch.is_repeated:
                    # The new tokens of other batches may have pushed it out of a token cache.
                    batch.work(batch.arguments[:1])
                spent = cpu_seconds(batch.work, batch.arguments[part::PARTS])
            row = seconds.setdefault(batch.kind, {})
            row[batch.subject] = row.get(batch.subject, 0.0) + spent / len(batch.arguments)
    gc.collect()
    return seconds


def make(what: str, batch: int, subjects: Sequence[str]) -> Measured:
    if what == "verify":
        from bench.inside.verifying import Verifying

        return Verifying(batch, subjects)
    from bench.inside.requesting import Requesting

    return Requesting(batch, ways=["asgi"] if what == "asgi" else ["factory", "client"])


def main(what: str, batch: int, *subjects: str) -> None:
    django.setup()
    measured = make(what, batch, subjects)
    order = random.Random(batch)
    gc.collect()
    gc.freeze()
    print(json.dumps({"lets_in": measured.lets_in(), "titles": measured.titles()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(run_round(measured, order)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
