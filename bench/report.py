"""The report: Markdown from the figures of a run, and how they compare with the targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.interpreter import BUILDS
from bench.targets import TARGETS, Report, find, judge, number

GUNICORN_MEASURES = {
    "rate": "requests per second",
    "cpu_rate": "per CPU second",
    "p50": "p50",
    "p99": "p99",
}
KINDS = ("client new", "client repeated", "factory new", "factory repeated")
PACKAGES = (
    *("Django", "djangorestframework", "PyJWT", "cryptography", "OpenSSL"),
    *("djangorestframework_simplejwt", "clerk-backend-api", "gunicorn"),
)


def render(report: Report) -> str:
    """Return the whole report as Markdown; no two of its tables have the same header."""
    parts = report["parts"]
    sections = [_head(report), _targets(report)]
    makers = {
        "verify": _verify,
        "requests": _requests,
        "sinks": _sinks,
        "asgi": _asgi,
        "gunicorn": _gunicorn,
        "keys": _keys,
        "memory": _memory,
    }
    for name, make in makers.items():
        if name in parts:
            sections.append(make(parts[name]))
        if name == "requests":
            sections.append(_raw(parts))
    sections.append(_versions(report))
    return "\n\n".join(filter(None, sections)) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def show(ratio: Mapping[str, float] | None) -> str:
    """Write a ratio with the middle half of its rounds; a dash for what was not measured."""
    if ratio is None:
        return "-"
    spread = f"{number(ratio['low'])} to {number(ratio['high'])}"
    return f"{number(ratio['median'])} ({spread})"


def show_marks(lets_in: Sequence[str]) -> str:
    """Write which bad tokens are accepted: a fast answer counts where it is right."""
    return "lets in: " + ", ".join(lets_in) if lets_in else "refuses all"


def _head(report: Report) -> str:
    scale, python, versions = report["scale"], report["python"], report["versions"]
    packages = [f"{name} {versions[name]}" for name in PACKAGES if name in versions]
    rows = [
        ["date", report["date"]],
        ["revision", report["revision"] or "unknown"],
        ["interpreter", f"{python['name']}, {BUILDS[python['optimized']]}"],
        ["machine", f"{report['system']}, {report['cores']} cores"],
        ["tokens", f"{report['token_characters']} characters, RSA-2048"],
        ["rounds", f"{scale['rounds']} in {scale['processes']} fresh processes"],
        ["packages", ", ".join(packages)],
    ]
    return (
        f"# Benchmark of {report['date']}\n\n"
        f"Written by `bench/run`. {_quick(report)}\n\n{table(['run', ''], rows)}\n\n"
        "Ratios are the result, not times. Subjects take turns within a round, in another order "
        "each time; a figure is the median of the rounds' ratios to the baseline of the same "
        "round, and in brackets the middle half of the rounds. In-process parts count CPU time of "
        "the process, without garbage collection; what else runs on the machine still disturbs "
        "caches and clock rates. An interpreter built without optimizations makes all but raw RSA "
        "slower.\n\n"
        "Before the first round the token cache is full of other tokens, so that each new one "
        "pushes another out. No token is new twice: it comes again when as many others as the "
        "cache holds have come between. A repeated token is another string each time."
    )


def _quick(report: Report) -> str:
    if not report["quick"]:
        return "The interpreter is the one that ran the subjects."
    return (
        "A smoke run: its figures are no result. Under gunicorn it sends fewer new tokens than the "
        "token cache holds, so none is pushed out there."
    )


def _targets(report: Report) -> str:
    rows = []
    for target in TARGETS:
        ratio = find(report, target.path)
        if ratio is not None:
            limit = f"at most {target.limit:.3g}{target.unit}"
            found = show(ratio) + target.unit
            rows.append([target.title, limit, found, judge(target, ratio["median"])])
    if not rows:
        return ""
    return "## Against the targets\n\n" + table(["figure", "target", "measured", ""], rows)


def _verify(part: Mapping[str, Any]) -> str:
    rows = [
        [
            title,
            show(part["new"].get(name)),
            show(part["repeated"].get(name)),
            show_marks(part["lets_in"][name]) if name in part["lets_in"] else "-",
        ]
        for name, title in part["titles"].items()
    ]
    return (
        "## A token, in process\n\nRaw RSA verify = 1. Every subject was first sent a good token "
        "and an expired one, clerk_auth also all of `clerk_auth.issuer.bad_tokens` that its "
        "settings forbid.\n\n"
        + table(["subject", "new token", "repeated token", "bad tokens"], rows)
    )


def _requests(part: Mapping[str, Any]) -> str:
    rows = [
        [title, *(show(part[kind].get(name)) for kind in KINDS)]
        for name, title in part["titles"].items()
        if name != part["zero"]
    ]
    rows.append(
        ["*all of the open view*", *(show(part[kind]["open view alone"]) for kind in KINDS)]
    )
    return (
        "## Added to a DRF request\n\nThe open view = 0, the hand-written class around "
        "`jwt.decode` with a key at hand = 1. Client: all of Django under DRF's test client; "
        "factory: the view only.\n\n" + table(["subject", *KINDS], rows)
    )


def _raw(parts: Mapping[str, Any]) -> str:
    rows = []

    def add(title: str, part: Mapping[str, Any], name: str) -> None:
        rows.append([title, *(show(part["raw"][kind].get(name)) for kind in KINDS)])

    if part := parts.get("requests"):
        for name, title in part["titles"].items():
            if name.startswith("ours"):
                add(title, part, name)
            if name.startswith("ours_permission"):
                add(f"*of it, {title.replace('clerk_auth and ', '')}*", part, name[5:])
    if part := parts.get("users"):
        for name, title in part["titles"].items():
            add(title, part, name)
    if not rows:
        return ""
    add("*all of the open view*", parts.get("requests") or parts["users"], "open")
    return (
        "## Added to a DRF request, in raw RSA\n\nThe open view = 0, a raw RSA verify in a loop = "
        "1. The views of ours without and with a permission are given the same repeated token. "
        "`database_user` finds a row that is there, in SQLite, by an open connection.\n\n"
        + table(["view", *KINDS], rows)
    )


def _sinks(part: Mapping[str, Any]) -> str:
    rows = [
        [title, show(part["repeated"].get(name)), show(part["added"].get(name))]
        for name, title in part["titles"].items()
    ]
    return (
        "## A sink of metrics\n\nA repeated token, in process, raw RSA verify = 1; each sink in a "
        "process of its own, in turn.\n\n" + table(["sink", "repeated token", "added"], rows)
    )


def _asgi(part: Mapping[str, Any]) -> str:
    kinds = ("asgi new", "asgi repeated")
    rows = [
        [
            title,
            *(show(part[of].get(name)) for of in kinds),
            *(show(part["raw"][of].get(name)) for of in kinds),
        ]
        for name, title in part["titles"].items()
        if name != part["zero"]
    ]
    rows.append(
        ["*all of the open view*", "1", "1", *(show(part["raw"][of]["open"]) for of in kinds)]
    )
    header = ["ASGI", "new token", "repeated token", "added, new", "added, repeated"]
    return (
        "## A DRF request under ASGI\n\nIn process, Django's ASGI handler, which runs the view in "
        "a thread. The whole request, open view = 1; and what is added to the open view, in raw "
        "RSA.\n\n" + table(header, rows)
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
        "seconds from all of them, but no CPU seconds. These figures have no target.\n\n"
        + table(["workers", "endpoint", *GUNICORN_MEASURES.values()], rows)
    )


def _keys(part: Mapping[str, Any]) -> str:
    rows = []
    for name, title in part["titles"].items():
        counts = [part[of].get(name) for of in ("herd", "flood")]
        cells = [
            [str(c["fetches"]), f"{c['accepted']} of {c['sent']}"] if c else ["-", "-"]
            for c in counts
        ]
        if any(counts):
            rows.append([title, *cells[0], *cells[1]])
    header = ["subject", "fetches, cold start", "accepted", "fetches, unknown key ids", "accepted"]
    return (
        "## Fetches of the key set\n\nCounted at the issuer. Cold start: "
        f"{part['processes']} processes of {part['threads']} threads at once, an issuer that takes "
        f"{part['delay_seconds']:g} s. Unknown key ids: well-formed tokens, one process.\n\n"
        + table(header, rows)
    )


def _memory(part: Mapping[str, Any]) -> str:
    rows = [
        ["a worker", show(part["added_mib"]) + " MiB"],
        [f"a full token cache, {part['entries']} tokens", show(part["cache_mib"]) + " MiB"],
        ["a kept token", show(part["kept_bytes"]) + " bytes"],
    ]
    return (
        "## Memory of a worker\n\nResident memory. The worker is compared with a DRF worker that "
        "has imported PyJWT[crypto] and requests and has served requests. A kept token is what a "
        "worker grows by while it serves new tokens, less what a worker without a token cache "
        "grows by; no request is left when it is weighed.\n\n" + table(["memory", "more"], rows)
    )


def _versions(report: Report) -> str:
    versions = dict(report["versions"])
    if report.get("redis"):
        versions["Redis server"] = report["redis"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"## Versions\n\n{listed}."
