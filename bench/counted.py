"""The parts that count: fetches of the key set, and memory."""

from __future__ import annotations

import contextlib
from typing import Any

from bench.ratios import summarize
from bench.session import Bench
from bench.tokens import TOKEN_CACHE_SIZE


def keys(bench: Bench) -> dict[str, Any]:
    """Count fetches: many cold processes at once, and a flood of unknown key ids."""
    scale = bench.scale
    subjects = ["pyjwkclient", "simplejwt", "sdk_jwks", "ours"]
    found: dict[str, Any] = {
        "titles": {
            "pyjwkclient": "PyJWT and PyJWKClient",
            "simplejwt": "simplejwt, `JWK_URL`",
            "sdk_jwks": "clerk-backend-api, JWKS",
            "ours": "clerk_auth, one Redis" if bench.redis_url else "clerk_auth, no Redis",
            "ours_alone": "clerk_auth, no shared cache",
        },
        "herd": {},
        "flood": {},
        "processes": scale.herd_processes,
        "threads": scale.herd_threads,
        "delay_seconds": scale.herd_delay_seconds,
    }
    for subject in [*subjects, *(["ours_alone"] if bench.redis_url else [])]:
        redis_url = "" if subject == "ours_alone" else bench.redis_url
        name = "ours" if subject == "ours_alone" else subject
        bench.say(f"cold herd: {subject}")
        # A key of the cache is made of the key server's address: another path, another fleet.
        bench.issuer.delay_seconds = scale.herd_delay_seconds
        found["herd"][subject] = _count_fetches(
            bench, name, scale.herd_processes, scale.herd_threads, "tokens.txt", redis_url
        )
        bench.issuer.delay_seconds = 0.0
    for subject in subjects:
        bench.say(f"unknown key ids: {subject}")
        found["flood"][subject] = _count_fetches(
            bench, subject, 1, scale.herd_threads, "flood.txt", bench.redis_url
        )
    return found


_fleets = iter(range(1_000_000))


def _count_fetches(
    bench: Bench, subject: str, processes: int, threads: int, file: str, redis_url: str
) -> dict[str, Any]:
    more = {
        "BENCH_REDIS_URL": redis_url,
        "BENCH_KEY_SERVER": f"{bench.issuer.url}/fleet-{next(_fleets)}",
    }
    with contextlib.ExitStack() as stack:
        arguments = (subject, str(threads), file)
        herd = [
            stack.enter_context(bench.worker("herd", *arguments, **more)) for _ in range(processes)
        ]
        for worker in herd:
            worker.read()
        before = bench.issuer.fetches
        for worker in herd:
            worker.tell()
        answers = [worker.read() for worker in herd]
    return {
        "fetches": bench.issuer.fetches - before,
        "accepted": sum(answer["accepted"] for answer in answers),
        "sent": sum(answer["sent"] for answer in answers),
        "seconds": round(max(answer["seconds"] for answer in answers), 2),
    }


def memory(bench: Bench) -> dict[str, Any]:
    """Weigh a worker: ours against one that has imported PyJWT and requests; then a kept token.

    What a kept token takes is how much a worker grows while it serves as many new tokens as it can
    keep, less how much one grows that keeps none. All requests are over when it is weighed.
    """
    added, kept = [], []
    for number in range(bench.scale.memory_runs):
        bench.say(f"memory: {number + 1} of {bench.scale.memory_runs}")
        base = _weigh(bench, "open", BENCH_WITHOUT_OURS="1")
        ours = _weigh(bench, "ours", BENCH_ONLY_OURS="1")
        none = _weigh(bench, "ours", BENCH_ONLY_OURS="1", BENCH_TOKEN_CACHE_SIZE="0")
        added.append((ours["started"] - base["started"]) / 2**20)
        grown = (ours["served"] - ours["started"]) - (none["served"] - none["started"])
        kept.append(grown / ours["tokens"])
    return {
        "added_mib": summarize(added).to_json(),
        "cache_mib": summarize([each * TOKEN_CACHE_SIZE / 2**20 for each in kept]).to_json(),
        "kept_bytes": summarize(kept).to_json(),
        "entries": TOKEN_CACHE_SIZE,
    }


def _weigh(bench: Bench, view: str, **variables: str) -> dict[str, int]:
    with bench.worker("memory", view, **variables) as worker:
        found: dict[str, int] = worker.read()
    return found
