"""What the figures of a run must not pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure of the run, found along ``path``, and the most that it may be."""

    title: str
    path: tuple[str, ...]
    limit: float
    unit: str = ""


TARGETS = (
    Target("new token, in process, raw RSA = 1", ("verify", "new", "ours"), 1.78),
    Target("the same, token cache off", ("verify", "new", "ours_uncached"), 1.60),
    Target("repeated token, in process, raw RSA = 1", ("verify", "repeated", "ours"), 0.14),
    Target("added to a DRF view, new token, PyJWT = 1", ("requests", "factory new", "ours"), 0.62),
    Target(
        "added to a DRF view, repeated token, PyJWT = 1",
        ("requests", "factory repeated", "ours"),
        0.10,
    ),
    Target("the same through the client, new token", ("requests", "client new", "ours"), 0.66),
    Target(
        "the same through the client, repeated token",
        ("requests", "client repeated", "ours"),
        0.12,
    ),
    Target(
        "added by `HasPermission`, repeated token, view, in raw RSA",
        ("requests", "raw", "factory repeated", "permission"),
        0.10,
    ),
    Target("a kept token", ("memory", "kept_bytes"), 700, unit=" bytes"),
    Target("memory of a worker", ("memory", "added_mib"), 3.0, unit=" MiB"),
    Target("memory of a full token cache", ("memory", "cache_mib"), 16.0, unit=" MiB"),
)


def find(report: Report, path: Iterable[str]) -> Any:
    """Return what lies along a path of the parts, ``None`` if it was not measured."""
    found: Any = report["parts"]
    for name in path:
        if name not in found:
            return None
        found = found[name]
    return found


def judge(target: Target, median: float) -> str:
    """Say whether a figure meets its target, or by how much it passes it."""
    gap = median - target.limit
    if gap <= 0:
        return "met"
    return f"over by {number(gap)}{target.unit} ({gap / target.limit:.0%})"


def number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.2 else 3
    return f"{value:.{digits}f}"
