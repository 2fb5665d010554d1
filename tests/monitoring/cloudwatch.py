"""CloudWatch alarms on sample data: as much of metric math as the template uses.

A sample is what arrived in one period; an alarm is judged at the end of the last one. An
expression reads like Python, so Python's parser reads it; what is not known here is refused.
Source: "Use metric math" in Amazon CloudWatch's user guide.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# By metric and dimensions: for each period, the values that arrived.
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], Sequence[Sequence[float]]]
Series = list[float | None]

_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "Maximum": max,
    "SampleCount": len,
    "Sum": sum,
}
_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}
_QUERY = re.compile(
    r'SELECT SUM\((\w+)\) FROM SCHEMA\("\w+", ([\w, ]+)\)(?: WHERE (\w+) = \'(\w+)\')?'
)


def is_alarm(alarm: Mapping[str, Any], samples: Samples, periods: int, *, start: float = 0) -> bool:
    """Tell whether an alarm goes off; ``start`` is the Unix time of the first period."""
    series = _watched(alarm, samples, periods, start)
    count = alarm["EvaluationPeriods"]
    breaches = _COMPARISONS[alarm["ComparisonOperator"]]
    missing = {"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]
    verdicts = [
        missing if value is None else breaches(value, alarm["Threshold"])
        for value in series[-count:]
    ]
    assert len(verdicts) == count, "too few samples to judge"
    return sum(verdicts) >= alarm.get("DatapointsToAlarm", count)


def _watched(alarm: Mapping[str, Any], samples: Samples, periods: int, start: float) -> Series:
    if "Metrics" not in alarm:
        return _read(alarm, alarm["Statistic"], samples, periods)
    queries = {query["Id"]: query for query in alarm["Metrics"]}
    (watched,) = (id_ for id_, query in queries.items() if query.get("ReturnData", True))
    math = _Math(queries, samples, periods, start)
    return [math.value(watched, index) for index in range(periods)]


def _read(metric: Mapping[str, Any], statistic: str, samples: Samples, periods: int) -> Series:
    dimensions = frozenset((one["Name"], one["Value"]) for one in metric.get("Dimensions", ()))
    arrived = samples.get((metric["MetricName"], dimensions), [()] * periods)
    return [_STATISTICS[statistic](values) if values else None for values in arrived]


class _Math:
    def __init__(
        self, queries: Mapping[str, Any], samples: Samples, periods: int, start: float
    ) -> None:
        self._queries = queries
        self._samples = samples
        self._periods = periods
        self._start = start

    def value(self, id_: str, index: int) -> float | None:
        query = self._queries[id_]
        if stat := query.get("MetricStat"):
            return _read(stat["Metric"], stat["Stat"], self._samples, self._periods)[index]
        if found := _QUERY.fullmatch(query["Expression"]):
            return self._sum(*found.groups(), index)
        text = query["Expression"].replace(" AND ", " and ")
        return self._evaluate(ast.parse(text, mode="eval").body, index)

    def _sum(
        self, name: str, schema: str, key: str | None, value: str | None, index: int
    ) -> float | None:
        """Add up the metrics that have these dimensions and no other."""
        wanted = set(schema.split(", "))
        values = [
            number
            for (metric, dimensions), arrived in self._samples.items()
            if metric == name and {key for key, _ in dimensions} == wanted
            if key is None or (key, value) in dimensions
            for number in arrived[index]
        ]
        return sum(values) if values else None

    def _evaluate(self, node: ast.expr, index: int) -> float | None:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name):
                return self.value(name, index)
            case ast.BinOp(left=left, op=op, right=right):
                return self._apply(_OPERATORS[type(op)], [left, right], index)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._apply(_OPERATORS[type(op)], [left, right], index)
            case ast.BoolOp(op=ast.And(), values=values):
                return self._apply(lambda *all_: all(all_), values, index)
            case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
                verdict = self._evaluate(condition, index)
                if verdict is None:
                    return None
                return self._evaluate(then if verdict else otherwise, index)
            case ast.Call(func=ast.Name(id="SUM"), args=[ast.List(elts=values)]):
                return self._apply(lambda *all_: sum(all_), values, index)
            case ast.Call(
                func=ast.Name(id="SUM"), args=[ast.Call(func=ast.Name(id="METRICS"), args=[])]
            ):
                read = [id_ for id_, query in self._queries.items() if "MetricStat" in query]
                return self._apply(lambda *all_: sum(all_), list(map(ast.Name, read)), index)
            case ast.Call(func=ast.Name(id="EPOCH"), args=[ast.Name(id=name)]):
                return self._start + index * self._queries[name]["MetricStat"]["Period"]
        raise NotImplementedError(ast.unparse(node))

    def _apply(
        self, function: Callable[..., float], nodes: Sequence[ast.expr], index: int
    ) -> float | None:
        """Apply it where a series has a value: those that have none are 0 then."""
        values = [self._evaluate(node, index) for node in nodes]
        if all(
            value is None or isinstance(node, ast.Constant)
            for node, value in zip(nodes, values, strict=True)
        ):
            return None
        return function(*(value or 0 for value in values))
