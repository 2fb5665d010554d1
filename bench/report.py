"""The report: Markdown from the figures of a run, and how they compare with the targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure of the run, found along ``path``, and what it must not pass."""

    title: str
    path: tuple[str, ...]
    limit: float
    at_least: bool = False
    unit: str = ""


TARGETS = (
    Target("new token, in process, raw RSA verify = 1", ("verify", "new", "ours"), 1.7),
    Target("repeated token, in process, raw RSA verify = 1", ("verify", "repeated", "ours"), 0.15),
    Target(
        "added to a DRF request, new token, PyJWT = 1", ("requests", "client new", "ours"), 0.45
    ),
    Target(
        "added to a DRF request, repeated token, PyJWT = 1",
        ("requests", "client repeated", "ours"),
        0.10,
    ),
    Target(
        "requests per second, repeated token, open endpoint = 1",
        ("gunicorn", "sync", "rate", "ours repeated"),
        0.95,
        at_least=True,
    ),
    Target(
        "requests per second, new tokens, open endpoint = 1",
        ("gunicorn", "sync", "rate", "ours new"),
        0.80,
        at_least=True,
    ),
    Target("memory of a worker", ("memory", "added_mib"), 3.0, unit=" MiB"),
    Target("memory of a full token cache", ("memory", "cache_mib"), 16.0, unit=" MiB"),
)


GUNICORN_MEASURES = {
    "rate": "requests per second",
    "cpu_rate": "per CPU second",
    "p50": "p50",
    "p99": "p99",
}


def judge(target: Target, median: float) -> str:
    """Say whether a figure meets its target, or by how much it falls short."""
    gap = target.limit - median if target.at_least else median - target.limit
    if gap <= 0:
        return "met"
    return f"short by {_number(gap)}{target.unit} ({gap / target.limit:.0%})"


def find(report: Report, path: Iterable[str]) -> Any:
    """Return what lies along a path of the parts, ``None`` if it was not measured."""
    found: Any = report["parts"]
    for name in path:
        if name not in found:
            return None
        found = found[name]
    return found


def render(report: Report) -> str:
    """Return the whole report as Markdown."""
    parts = report["parts"]
    sections = [_head(report), _targets(report)]
    makers = {
        "verify": _verify,
        "requests": _requests,
        "gunicorn": _gunicorn,
        "keys": _keys,
        "memory": _memory,
    }
    sections += [make(parts[name]) for name, make in makers.items() if name in parts]
    sections.append(_versions(report))
    return "\n\n".join(filter(None, sections)) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def show(ratio: Mapping[str, float]) -> str:
    """Write a ratio with the middle half of its rounds."""
    spread = f"{_number(ratio['low'])} to {_number(ratio['high'])}"
    return f"{_number(ratio['median'])} ({spread})"


def show_marks(lets_in: Sequence[str] | None) -> str:
    """Write which bad tokens a subject accepts: a fast answer counts where it is right."""
    if lets_in is None:
        return "the signature only"
    return "lets in: " + ", ".join(lets_in) if lets_in else "refuses all"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 0.2 else f"{value:.2f}"


def _head(report: Report) -> str:
    scale = report["scale"]
    quick = "A smoke run: its figures are no result. " if report["quick"] else ""
    return (
        f"# Benchmark of {report['date']}\n\n"
        f"{quick}Revision {report['revision'] or 'unknown'}, {report['python']} on "
        f"{report['system']}, {report['cores']} cores; tokens of {report['token_characters']} "
        f"characters, RSA-2048. Written by `bench/run`.\n\n"
        f"Ratios are the result, not times. Subjects take turns within a round, in another order "
        f"each time, {scale['rounds']} rounds in {scale['processes']} fresh processes; a figure is "
        f"the median of the rounds' ratios to the baseline of the same round, and in brackets the "
        f"middle half of the rounds. In-process parts count CPU time of the process, without "
        f"garbage collection; what else runs on the machine still disturbs caches and clock "
        f"rates. An interpreter built without optimizations makes all but raw RSA slower."
    )


def _targets(report: Report) -> str:
    rows = []
    for target in TARGETS:
        ratio = find(report, target.path)
        if ratio is not None:
            limit = ("at least " if target.at_least else "at most ") + f"{target.limit:g}"
            found = show(ratio) + target.unit
            rows.append([target.title, limit + target.unit, found, judge(target, ratio["median"])])
    if not rows:
        return ""
    return "## Against the targets\n\n" + table(["figure", "target", "measured", ""], rows)


def _verify(part: Mapping[str, Any]) -> str:
    rows = [
        [title, show(part["new"][name]), show(part["repeated"][name]), show_marks(marks)]
        for name, title in part["titles"].items()
        for marks in [part["lets_in"][name]]
    ]
    return (
        "## A token, in process\n\nRaw RSA verify = 1. Every subject was first sent the bad tokens "
        "of `clerk_auth.issuer.bad_tokens` that the issuer, parties and times of its settings "
        "forbid.\n\n" + table(["subject", "new token", "repeated token", "bad tokens"], rows)
    )


def _requests(part: Mapping[str, Any]) -> str:
    kinds = ["client new", "client repeated", "factory new", "factory repeated"]
    rows = [
        [title, *(show(part[kind][name]) for kind in kinds)]
        for name, title in part["titles"].items()
        if name != part["zero"]
    ]
    rows.append(
        ["*all of the open view*", *(show(part[kind]["open view alone"]) for kind in kinds)]
    )
    return (
        "## Added to a DRF request\n\nThe open view = 0, the hand-written class around "
        "`jwt.decode` with a key at hand = 1. Client: all of Django under DRF's test client; "
        "factory: the view only.\n\n" + table(["subject", *kinds], rows)
    )


def _gunicorn(part: Mapping[str, Any]) -> str:
    rows = [
        [worker_class, title, *(show(part[worker_class][m][name]) for m in GUNICORN_MEASURES)]
        for worker_class in ("sync", "gthread")
        for name, title in part["titles"].items()
        if name != part["baseline"]
    ]
    return (
        "## Requests per second under gunicorn\n\nOpen endpoint = 1; 2 workers, 8 connections on "
        f"loopback, load by {part['load']} on the same cores. More is better for requests per "
        "second and per CPU second of the workers, less for p50 and p99. What else runs takes "
        "seconds from all of them, but no CPU seconds.\n\n"
        + table(["workers", "endpoint", *GUNICORN_MEASURES.values()], rows)
    )


def _keys(part: Mapping[str, Any]) -> str:
    def rows(counts: Mapping[str, Any]) -> list[list[str]]:
        return [
            [part["titles"][name], str(c["fetches"]), f"{c['accepted']} of {c['sent']}"]
            for name, c in counts.items()
        ]

    header = ["subject", "fetches", "accepted"]
    return (
        "## Fetches of the key set\n\nCounted at the issuer.\n\n"
        f"{part['processes']} cold processes of {part['threads']} threads at once, an issuer that "
        f"takes {part['delay_seconds']:g} s:\n\n{table(header, rows(part['herd']))}\n\n"
        "Well-formed tokens of unknown key ids, one process:\n\n"
        + table(header, rows(part["flood"]))
    )


def _memory(part: Mapping[str, Any]) -> str:
    return (
        "## Memory of a worker\n\nResident memory over a DRF worker that has imported "
        "PyJWT[crypto] and requests and has served requests: "
        f"{show(part['added_mib'])} MiB. A full default token cache, {part['entries']} tokens: "
        f"{show(part['cache_mib'])} MiB more, {part['bytes_per_entry']} bytes per token."
    )


def _versions(report: Report) -> str:
    versions = dict(report["versions"])
    if report.get("redis"):
        versions["Redis server"] = report["redis"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"## Versions\n\n{listed}."
