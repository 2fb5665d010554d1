"""The CloudFormation template: valid, about metrics that exist, with the thresholds of the page."""

from __future__ import annotations

import json
import logging
import re

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs
from cfnlint.decode import decode

from clerk_auth import metrics
from clerk_auth.contrib.emf import LOGGER, EMFSink
from clerk_auth.core.errors import FETCH_REASONS
from tests.monitoring.cloudwatch import is_alarm
from tests.monitoring.conftest import TEMPLATE
from tests.test_docs import DOCS, anchors, names, rows

pytestmark = pytest.mark.integration

DOCUMENT = decode(str(TEMPLATE))[0]
NAMESPACE = DOCUMENT["Parameters"]["Namespace"]["Default"]


def resolve(value):
    """Put the parameter in its place, as CloudFormation does."""
    match value:
        case {"Ref": "Namespace"}:
            return NAMESPACE
        case {"Fn::Sub": text}:
            return text.replace("${Namespace}", NAMESPACE)
        case dict():
            return {key: resolve(inner) for key, inner in value.items()}
        case list():
            return [resolve(inner) for inner in value]
    return value


ALARMS = {name: resolve(alarm["Properties"]) for name, alarm in DOCUMENT["Resources"].items()}
# Quotas of an alarm: metrics that it reads, and expressions.
MOST = 10
HOUR = 3600
START = 1_800_000_000


def metric_stats(alarm):
    if "MetricName" in alarm:
        return [alarm]
    return [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]


def test_template_is_valid():
    assert lint_file(TEMPLATE, ManualArgs(regions=["us-east-1", "eu-central-1"])) == []


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_alarm_tells_the_topic_and_says_where_to_read_on(alarm):
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "TopicArn"}]
    page, _, anchor = alarm["AlarmDescription"].rpartition(": ")[2].partition("#")
    assert page == "docs/monitoring.md"
    assert anchor in anchors(DOCS / "monitoring.md")


def key(metric):
    return metric["MetricName"], frozenset(
        (one["Name"], one["Value"]) for one in metric.get("Dimensions", ())
    )


@pytest.fixture
def written(caplog, monkeypatch):
    """What the sink writes in its first minute: metrics with their dimensions."""
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [caplog.handler])
    EMFSink().write(unchanged=True)
    found = set()
    for record in caplog.records:
        document = json.loads(record.getMessage())
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        (dimensions,) = directive["Dimensions"]
        assert directive["Namespace"] == NAMESPACE
        found |= {
            (metric["Name"], frozenset((name, document[name]) for name in dimensions))
            for metric in directive["Metrics"]
        }
    return found


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_alarm_reads_what_the_sink_writes(alarm, written):
    stats = metric_stats(alarm)
    assert {metric["Namespace"] for metric in stats} <= {NAMESPACE}
    assert {key(metric) for metric in stats} <= written


def test_query_reads_what_the_sink_writes(written):
    (query,) = ALARMS["FetchErrors"]["Metrics"]
    name, namespace, dimension = re.fullmatch(
        r'SELECT SUM\((\w+)\) FROM SCHEMA\("(\w+)", (\w+)\)', query["Expression"]
    ).groups()
    assert namespace == NAMESPACE
    read = {labels for metric, labels in written if metric == name}
    assert read == {frozenset({(dimension, reason)}) for reason in FETCH_REASONS}


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_alarm_keeps_the_quotas_and_one_period(alarm):
    queries = alarm.get("Metrics", ())
    stats = [query["MetricStat"] for query in queries if "MetricStat" in query]
    assert len(stats) <= MOST
    assert len(queries) - len(stats) <= MOST
    assert len({stat["Period"] for stat in stats}) <= 1


def test_share_is_of_all_responses():
    statuses = [
        one["Value"]
        for metric in metric_stats(ALARMS["UnauthorizedShare"])
        for one in metric["Dimensions"]
    ]
    assert sorted(statuses) == sorted(metrics.STATUSES)


def responses(**by_status):
    """Return samples of responses by status: for each period a number, or one of each process."""
    return {
        (metrics.RESPONSES, frozenset({("status", status.removeprefix("s"))})): [
            () if value is None else value if isinstance(value, tuple) else (value,)
            for value in values
        ]
        for status, values in by_status.items()
    }


def errors(**by_reason):
    return {
        (metrics.FETCH_ERRORS, frozenset({("reason", reason)})): [values]
        for reason, values in by_reason.items()
    }


def keys(expiry, *, hits=((9,), (9,)), misses=((0,), (0,))):
    """Return samples of two periods: what each process says of its keys, and tokens that came."""
    return {
        (metrics.EXPIRES_AT, frozenset()): expiry,
        (metrics.HITS, frozenset()): hits,
        (metrics.MISSES, frozenset()): misses,
    }


def in_hours(hours, period):
    return START + period * 300 + hours * HOUR


def each(*hours):
    """Return two periods in which processes hold keys for so many hours."""
    return [[in_hours(one, period) for one in hours] for period in (0, 1)]


ROWS = [
    ("Unavailable", responses(s503=[0]), False, "no-503"),
    ("Unavailable", responses(s503=[1]), True, "one-503"),
    ("Unavailable", responses(s503=[None]), False, "nothing-reported"),
    ("Unavailable", responses(keys_busy=[50], s503=[0]), False, "busy"),
    ("UnauthorizedShare", responses(s401=[99] * 2, s2xx=[901] * 2), False, "9.9-percent"),
    ("UnauthorizedShare", responses(s401=[100] * 2, s2xx=[900] * 2), False, "10-percent"),
    ("UnauthorizedShare", responses(s401=[101] * 2, s2xx=[899] * 2), True, "10.1-percent"),
    ("UnauthorizedShare", responses(s401=[0, 500], s2xx=[900] * 2), False, "one-period"),
    ("UnauthorizedShare", responses(s401=[9] * 2), False, "nine"),
    ("UnauthorizedShare", responses(s401=[10] * 2), True, "ten"),
    ("UnauthorizedShare", responses(s401=[11] * 2), True, "eleven"),
    ("UnauthorizedShare", responses(s401=[(5, 5)] * 2), True, "ten-of-two-processes"),
    ("UnauthorizedShare", responses(s2xx=[900] * 2), False, "none-reported"),
    ("UnauthorizedShare", {}, False, "silence"),
    *(
        (
            "UnauthorizedShare",
            responses(s401=[50] * 2, **{f"s{status}": [450] * 2}),
            False,
            f"10-percent-beside-{status}",
        )
        for status in metrics.STATUSES
        if status != "401"
    ),
    ("FetchErrors", errors(timeout=(3,)), False, "three"),
    ("FetchErrors", errors(timeout=(4,)), True, "four"),
    ("FetchErrors", errors(timeout=(2,), tls=(1,)), False, "three-of-two-reasons"),
    ("FetchErrors", errors(timeout=(2,), tls=(2,)), True, "four-of-two-reasons"),
    ("FetchErrors", errors(timeout=(1, 1, 1, 1)), True, "four-of-four-processes"),
    ("FetchErrors", {}, False, "no-errors"),
    ("KeysExpire", keys(each(24)), False, "fresh"),
    ("KeysExpire", keys(each(12)), False, "twelve-hours"),
    ("KeysExpire", keys(each(11.99)), True, "less-than-twelve-hours"),
    ("KeysExpire", keys(each(-1)), True, "expired"),
    ("KeysExpire", keys(each(1, 2)), True, "two-processes"),
    ("KeysExpire", keys(each(1, 24)), False, "one-process-idle"),
    ("KeysExpire", keys(each(1), hits=((0,), (0,))), False, "all-idle"),
    ("KeysExpire", keys(each(1), hits=((), ()), misses=((), ())), False, "no-token-reported"),
    ("KeysExpire", keys(each(1), hits=((0,), (0,)), misses=((3,), (3,))), True, "misses-alone"),
    ("KeysExpire", keys([each(1)[0], each(24)[1]]), False, "refreshed"),
    ("KeysExpire", keys([[0, 0], [0, 0]]), False, "static-keys"),
    ("KeysExpire", keys([[0, in_hours(1, 0)], [0, in_hours(1, 1)]]), True, "one-process-cold"),
    ("KeysExpire", keys([(), ()]), False, "tokens-alone"),
    ("KeysExpire", {}, False, "silent"),
    ("MetricsAbsent", keys([(), (), ()]), True, "15-minutes-of-silence"),
    ("MetricsAbsent", keys([(1,), (), ()]), False, "10-minutes-of-silence"),
    ("MetricsAbsent", keys([(0,), (0,), (0,)]), False, "static-keys"),
]


@pytest.mark.parametrize(
    ("name", "samples", "expected"), [pytest.param(*row[:3], id="-".join(row[::3])) for row in ROWS]
)
def test_alarm_goes_off_when_it_should(name, samples, expected):
    periods = max(map(len, samples.values()), default=2)
    assert is_alarm(ALARMS[name], samples, periods, start=START) is expected


def test_page_has_every_alarm_and_no_other():
    cells = [row["in CloudWatch"] for row in rows("monitoring.md", "alarm").values()]
    assert sorted(names("".join(cells))) == sorted(ALARMS)


def test_every_alarm_goes_off_once():
    assert {name for name, _, expected, _ in ROWS if expected} == ALARMS.keys()
