"""One process of many that need keys at once: ``python -m bench.inside.herd SUBJECT THREADS FILE``.

It says that it is ready, waits for the order, verifies each token of the file once, shared out
among its threads, or the first token once per thread when FILE is ``tokens.txt``.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Barrier

import django

from bench.inside.settings import WORK


def main(subject: str, threads: int, file: str) -> None:
    django.setup()
    from bench.inside.subjects import BY_NAME

    with (WORK / file).open() as lines:
        tokens = [line.strip() for line in islice(lines, 1 if file == "tokens.txt" else None)]
    shares = [tokens[i::threads] for i in range(threads)] if len(tokens) > 1 else [tokens] * threads
    verify = BY_NAME[subject].make()
    barrier = Barrier(threads)

    def work(share: list[str]) -> int:
        accepted = 0
        barrier.wait()
        for token in share:
            try:
                verify(token)
                accepted += 1
            except Exception:
                continue
        return accepted

    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    started = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        accepted = sum(pool.map(work, shares))
    seconds = time.monotonic() - started
    sent = sum(map(len, shares))
    print(json.dumps({"accepted": accepted, "sent": sent, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
