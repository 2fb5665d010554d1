"""Which of our series a query names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from promql_parser import Expr, VectorSelector, parse, walk

from clerk_auth import metrics

# What Prometheus adds to a series that it scrapes, and what it makes of a label of ours that has
# the name of one of these.
_TARGET = ("job", "instance", "exported_instance")
# Series by the names that Prometheus knows, and the values of their labels.
EXPOSED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **{f"{name}_total": labels for name, labels in metrics.COUNTERS.items()},
    **{name: {} for name in metrics.GAUGES},
}


def find_selectors(query: str) -> list[VectorSelector]:
    """Return what a query selects; ValueError if it is no PromQL."""
    found: list[VectorSelector] = []

    def visit(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            found.append(node)

    walk(parse(query), visit)
    return found


def find_foreign(query: str) -> Iterator[str]:
    """Yield names and label values that no series of ours has: nothing would be selected."""
    for selector in find_selectors(query):
        if selector.name == "up":
            continue
        labels = EXPOSED.get(selector.name)
        if labels is None:
            yield selector.name
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name in _TARGET:
                continue
            known = labels.get(matcher.name, ())
            yield from (
                f"{selector.name}: {matcher.name}={value}"
                for value in matcher.value.split("|")
                if value not in known
            )
