"""The dashboard: what Grafana reads, and queries that select something."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from clerk_auth import metrics
from tests.monitoring.conftest import DASHBOARD
from tests.monitoring.promql import EXPOSED, find_foreign, find_selectors

pytestmark = pytest.mark.integration

BOARD = json.loads(DASHBOARD.read_text())
PANELS = BOARD["panels"]
COLUMNS = 24


def fill_in(query: str, *, job: str, interval: str, instance: str = ".*") -> str:
    """Put values in the place of Grafana's variables; the last is that of all by default."""
    filled = query.replace("$job", job).replace("$__rate_interval", interval)
    filled = filled.replace("$instance", instance)
    assert "$" not in filled, filled
    return filled


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel.get("targets", ())
]


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return what a JSON document holds, by path."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = {path: value} if not items and value is not None else {}
    for key, inner in items:
        found |= leaves(inner, f"{path}/{key}")
    return found


def test_grafana_knows_every_member():
    register_default_plugins()
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(BOARD)))
    assert leaves(BOARD).items() <= leaves(understood).items()


def test_schema_is_the_current_one():
    assert BOARD["schemaVersion"] == 42


def test_panels_have_ids_of_their_own():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_panels_lie_side_by_side_and_none_over_another():
    cells: Counter[tuple[int, int]] = Counter()
    for panel in PANELS:
        x, y, w, h = (panel["gridPos"][name] for name in "xywh")
        assert 0 <= x < x + w <= COLUMNS
        cells.update(product(range(x, x + w), range(y, y + h)))
    assert set(cells.values()) == {1}
    assert len(cells) == COLUMNS * (1 + max(y for _, y in cells))


def test_source_job_and_instance_are_variables():
    source, job, instance = BOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    assert (job["name"], job["multi"], job["includeAll"]) == ("job", True, True)
    assert (instance["name"], instance["multi"], instance["includeAll"]) == ("instance", True, True)
    # All of them, and what has no such label, as where there is one instance.
    assert instance["allValue"] == ".*"
    for owner in [
        job,
        instance,
        *PANELS,
        *(t for panel in PANELS for t in panel.get("targets", ())),
    ]:
        if owner.get("type") != "row":
            assert owner["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("query", QUERIES)
def test_query_names_series_and_values_that_exist(query):
    filled = fill_in(query, job=".+", interval="5m")
    assert list(find_foreign(filled)) == []
    for selector in find_selectors(filled):
        chosen = {m.name: m.value for m in selector.matchers.matchers}
        assert chosen["job"] == ".+"
        counts_for_one = selector.name not in {
            f"{metrics.RESPONSES}_total",
            f"{metrics.DENIED}_total",
        }
        assert chosen.get("exported_instance") == (".*" if counts_for_one else None)


def test_every_metric_is_shown():
    shown = {
        selector.name
        for (query,) in (parameters.values for parameters in QUERIES)
        for selector in find_selectors(fill_in(query, job=".+", interval="5m"))
    }
    assert shown == EXPOSED.keys()


def test_legend_says_which_instance():
    for panel in PANELS:
        for target in panel.get("targets", ()):
            is_by_instance = "by (" in target["expr"] and "exported_instance)" in target["expr"]
            if is_by_instance and panel["type"] != "stat":
                assert target["legendFormat"].endswith(" {{exported_instance}}")


def test_alarms_are_marked():
    (marks,) = BOARD["annotations"]["list"]
    assert re.search(r'alertname=~"ClerkAuth\.\+"', marks["expr"])
