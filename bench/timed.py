"""The parts that time: subjects in turn, in processes, as ratios within a round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.environment import ROOT
from bench.ratios import Ratio, added_ratio, by_subject, cost_ratio, extra_ratio, to_json
from bench.session import Bench
from bench.workers import Worker

Rounds = list[dict[str, dict[str, float]]]
WAYS = ("client", "factory")
TOKENS = ("new", "repeated")
SINKS = {
    "none": ("no sink", "", False),
    "opentelemetry": ("OpenTelemetry", "opentelemetry.OpenTelemetrySink", False),
    "emf": ("CloudWatch (EMF)", "emf.EMFSink", False),
    "prometheus": ("Prometheus", "prometheus.PrometheusSink", False),
    "multiprocess": ("Prometheus, multiprocess", "prometheus.PrometheusSink", True),
}


@dataclass
class Timed:
    """What ``bench.inside.measure`` says of one state of the package, and its rounds.

    ``suffix`` tells the names of its subjects from those of the other state.
    """

    directory: Path
    suffix: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=list)

    def times(self, kind: str) -> dict[str, list[float]]:
        """Return seconds by subject; there are none where nothing could be measured."""
        return by_subject([each[kind] for each in self.rounds]) if self.rounds else {}


def _states(bench: Bench) -> list[Timed]:
    """Return the state of the checkout, then the one before, if there is one."""
    before = [Timed(bench.before_directory, " before")] if bench.before else []
    return [Timed(ROOT), *before]


def _start(bench: Bench, state: Timed, *arguments: str, **variables: str) -> Worker | None:
    """Start a process that measures; ``None`` where the earlier package cannot serve it."""
    worker = bench.worker("measure", *arguments, directory=state.directory, **variables)
    try:
        state.about = worker.read()
    except RuntimeError:
        worker.stop()
        if not state.suffix:
            raise
        return None
    return worker


def _measure(
    bench: Bench,
    what: str,
    batch: int,
    *subjects: str,
    topic: str = "",
    variants: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, list[Timed]]:
    """Return the rounds of each variant and state; in a round all of them take turns.

    A variant is what it is by variables of its own, which a process reads once.
    """
    scale, variants = bench.scale, variants or {"": {}}
    found = {name: _states(bench) for name in variants}
    done = 0
    for process in range(scale.processes):
        number = scale.rounds * (process + 1) // scale.processes - done
        with contextlib.ExitStack() as stack:
            working = []
            for name, variables in variants.items():
                for state in found[name]:
                    worker = _start(bench, state, what, str(batch), *subjects, **variables)
                    if worker:
                        working.append((state, stack.enter_context(worker)))
            for _ in range(number):
                for state, worker in working:
                    state.rounds.append(worker.ask())
                done += 1
                bench.say(f"{topic or what}: round {done} of {scale.rounds}")
    return found


def _names(states: Sequence[Timed]) -> Iterator[tuple[Timed, str]]:
    """Yield what has a row: every subject of this state, and of the one before what is ours."""
    for state in states:
        for name in states[0].about["titles"]:
            if not state.suffix or name.startswith("ours"):
                yield state, name


def _describe(bench: Bench, states: Sequence[Timed]) -> dict[str, Any]:
    """Return titles and marks; those of the state before stand after those of this one."""
    about: dict[str, Any] = {"titles": {}, "lets_in": {}}
    for state, name in _names(states):
        title = states[0].about["titles"][name]
        about["titles"][name + state.suffix] = _title(bench, state, title)
        if name in state.about.get("lets_in", {}):
            about["lets_in"][name + state.suffix] = state.about["lets_in"][name]
    return about


def _title(bench: Bench, state: Timed, title: str) -> str:
    return f"{title} at {bench.before}" if state.suffix else title


def verify(bench: Bench) -> dict[str, Any]:
    """Compare verifying a token with one raw signature check."""
    states = _measure(bench, "verify", bench.scale.verify_batch)[""]
    found: dict[str, Any] = {**_describe(bench, states), "baseline": "raw"}
    for kind in TOKENS:
        ratios = {}
        for state, name in _names(states):
            if name in (times := state.times(kind)):
                ratios[name + state.suffix] = cost_ratio(times[name], times["raw"])
        found[kind] = to_json(ratios)
    return found


def requests(bench: Bench) -> dict[str, Any]:
    """Compare what authentication adds to a DRF request with what a hand-written class adds."""
    states = _measure(bench, "requests", bench.scale.request_batch)[""]
    found: dict[str, Any] = {**_describe(bench, states), "zero": "open", "baseline": "pyjwt"}
    found["raw"] = _in_raw(states)
    for kind in _kinds(*WAYS):
        ratios = {}
        for state, name in _names(states):
            if name in (times := state.times(kind)) and name != "open":
                added = added_ratio(times[name], times["open"], times["pyjwt"])
                ratios[name + state.suffix] = added
        times = states[0].times(kind)
        adds = [a - b for a, b in zip(times["pyjwt"], times["open"], strict=True)]
        ratios["open view alone"] = cost_ratio(times["open"], adds)
        found[kind] = to_json(ratios)
    return found


def users(bench: Bench) -> dict[str, Any]:
    """Tell what ``database_user`` adds to a DRF request."""
    variant = {"BENCH_ONLY_OURS": "1", "BENCH_USERS": "1"}
    states = _measure(
        bench, "requests", bench.scale.request_batch, topic="users", variants={"": variant}
    )[""]
    title = "clerk_auth and `database_user`"
    titles = {"ours" + state.suffix: _title(bench, state, title) for state in states}
    return {"titles": titles, "raw": _in_raw(states)}


def asgi(bench: Bench) -> dict[str, Any]:
    """Compare a DRF request under ASGI with the same request of an open view."""
    variant = {"BENCH_ONLY_OURS": "1"}
    states = _measure(bench, "asgi", bench.scale.asgi_batch, variants={"": variant})[""]
    found: dict[str, Any] = {**_describe(bench, states), "zero": "open"}
    found["raw"] = _in_raw(states, ways=["asgi"])
    for kind in _kinds("asgi"):
        ratios = {}
        for state in states:
            if times := state.times(kind):
                ratios["ours" + state.suffix] = cost_ratio(times["ours"], times["open"])
        found[kind] = to_json(ratios)
    return found


def sinks(bench: Bench) -> dict[str, Any]:
    """Tell what each sink adds to a repeated token; a process has one of them."""
    variants = {}
    for name, (_, path, is_shared) in SINKS.items():
        variants[name] = {"BENCH_SINK": f"clerk_auth.contrib.{path}"} if path else {}
        if is_shared:
            directory = bench.work / "prometheus"
            directory.mkdir(exist_ok=True)
            variants[name]["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    batch = bench.scale.sink_batch
    found = _measure(bench, "verify", batch, "raw", "ours", topic="sinks", variants=variants)
    titles, costs = {}, {}
    for name, states in found.items():
        for state in states:
            titles[name + state.suffix] = _title(bench, state, SINKS[name][0])
            if times := state.times("repeated"):
                costs[name + state.suffix] = [
                    ours / raw for ours, raw in zip(times["ours"], times["raw"], strict=True)
                ]
    ones = [1.0] * bench.scale.rounds
    adds = {
        name: extra_ratio(cost, costs["none before" if name.endswith(" before") else "none"], ones)
        for name, cost in costs.items()
        if not name.startswith("none")
    }
    return {
        "titles": titles,
        "repeated": to_json({name: cost_ratio(cost, ones) for name, cost in costs.items()}),
        "added": to_json(adds),
    }


def _kinds(*ways: str) -> list[str]:
    return [f"{way} {token}" for way in ways for token in TOKENS]


def _in_raw(
    states: Sequence[Timed], ways: Sequence[str] = WAYS
) -> dict[str, dict[str, dict[str, float]]]:
    """Tell in raw RSA what our views add to the open view, and what a permission adds to ours."""
    found: dict[str, dict[str, Ratio]] = {kind: {} for kind in _kinds(*ways)}
    for kind, ratios in found.items():
        for state in states:
            times, raw = state.times(kind), state.times("raw").get("raw", ())
            if not state.suffix:
                ratios["open"] = cost_ratio(times["open"], raw)
            for name in ("ours", "ours_permission"):
                if name in times:
                    ratios[name + state.suffix] = extra_ratio(times[name], times["open"], raw)
            if "ours_permission" in times:
                adds = extra_ratio(times["ours_permission"], times["ours"], raw)
                ratios["permission" + state.suffix] = adds
    return {kind: to_json(ratios) for kind, ratios in found.items()}
