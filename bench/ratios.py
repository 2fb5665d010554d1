"""From times to ratios: medians of per-round ratios, and how far the rounds lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

Times = Sequence[float]


@dataclass(frozen=True)
class Ratio:
    """The median of per-round ratios; half of the rounds lie between ``low`` and ``high``."""

    median: float
    low: float
    high: float
    rounds: int

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def summarize(values: Sequence[float]) -> Ratio:
    """Return median and quartiles of per-round ratios; ``ValueError`` if there are none."""
    if not values:
        raise ValueError("no rounds")
    ordered = sorted(values)
    return Ratio(median(ordered), _quantile(ordered, 0.25), _quantile(ordered, 0.75), len(ordered))


def cost_ratio(times: Times, baseline: Times) -> Ratio:
    """Compare with the baseline of the same round."""
    return summarize([time / base for time, base in zip(times, baseline, strict=True)])


def added_ratio(times: Times, zero: Times, baseline: Times) -> Ratio:
    """Compare what is added to ``zero`` with what the baseline of the same round adds to it.

    A round in which the baseline adds nothing was disturbed, and is left out.
    """
    added = [(t - z, b - z) for t, z, b in zip(times, zero, baseline, strict=True)]
    return summarize([ours / theirs for ours, theirs in added if theirs > 0])


def extra_ratio(times: Times, zero: Times, unit: Times) -> Ratio:
    """Tell how many units are added to ``zero``, each of the same round."""
    return summarize([(t - z) / u for t, z, u in zip(times, zero, unit, strict=True)])


def to_json(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, float]]:
    return {name: ratio.to_json() for name, ratio in ratios.items()}


def by_subject(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Turn rounds of subjects into subjects of rounds; every round has the same subjects."""
    return {subject: [times[subject] for times in rounds] for subject in rounds[0]}


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
