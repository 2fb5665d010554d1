"""A metric is one row: everything else follows from it, and its page says the same."""

from __future__ import annotations

import re
from itertools import chain, product
from pathlib import Path

import pytest

from clerk_auth import metrics
from clerk_auth.metrics import catalog

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
NAMES = [*metrics.COUNTERS, *metrics.GAUGES]


def test_every_metric_has_a_constant_that_the_face_exports():
    constants = {name: value for name, value in vars(catalog).items() if isinstance(value, str)}
    named = {name for name, value in constants.items() if value in NAMES}
    assert {constants[name] for name in named} == set(NAMES)
    assert named <= set(catalog.__all__) <= set(metrics.__all__)


def test_series_are_every_combination_of_label_values():
    assert list(metrics.SERIES) == list(
        chain.from_iterable(
            product([name], *labels.values()) for name, labels in metrics.COUNTERS.items()
        )
    )
    for (name, *values), labels in metrics.SERIES.items():
        assert labels == dict(zip(metrics.COUNTERS[name], values, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_page_says_what_the_help_text_says(name):
    """The page may go on, and links some words."""
    assert set(metrics.DESCRIPTIONS) == set(NAMES)
    (row,) = re.findall(rf"^\| `{name}` \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    said = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", row)
    description = metrics.DESCRIPTIONS[name]
    assert said.startswith(description[0].lower() + description[1:])
