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
from tests.metrics.several import SEVERAL
from tests.monitoring.cloudwatch import is_alarm
from tests.monitoring.conftest import TEMPLATE
from tests.test_docs import DOCS, anchors, names, rows

pytestmark = pytest.mark.integration

DOCUMENT = decode(str(TEMPLATE))[0]
NAMESPACE = DOCUMENT["Parameters"]["Namespace"]["Default"]


INSTANCES = ("", "default", "staff")


def resolve(value, instance=""):
    """Put the parameters in their places, as CloudFormation does."""
    match value:
        case {"Ref": "Namespace"}:
            return NAMESPACE
        case {"Ref": "Instance"}:
            return instance
        case {"Fn::Sub": text}:
            return text.replace("${Namespace}", NAMESPACE).replace("${Instance}", instance)
        case {"Fn::If": [condition, then, otherwise]}:
            return resolve(then if is_met(condition, instance) else otherwise, instance)
        case dict():
            items = ((key, resolve(inner, instance)) for key, inner in value.items())
            return {key: inner for key, inner in items if inner != {"Ref": "AWS::NoValue"}}
        case list():
            return [resolve(inner, instance) for inner in value]
    return value


def is_met(condition, instance):
    """Evaluate a condition of the template."""
    match DOCUMENT["Conditions"][condition] if isinstance(condition, str) else condition:
        case {"Fn::Equals": [left, right]}:
            return resolve(left, instance) == right
        case {"Fn::Not": [inner]}:
            return not is_met(inner, instance)
        case {"Fn::Or": inner}:
            return any(is_met(one, instance) for one in inner)
    raise NotImplementedError(condition)


def find_alarms(instance):
    return {
        name: resolve(alarm["Properties"], instance)
        for name, alarm in DOCUMENT["Resources"].items()
        if "Condition" not in alarm or is_met(alarm["Condition"], instance)
    }


ALARMS = find_alarms("")
OF_ALL = [
    pytest.param(instance, alarm, id=f"{name}-{instance or 'one'}")
    for instance in INSTANCES
    for name, alarm in find_alarms(instance).items()
]
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
def written(caplog, monkeypatch, settings, request):
    """What the sink writes in its first minute: metrics with their dimensions."""
    if getattr(request, "param", ""):
        settings.CLERK_AUTH = SEVERAL
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


@pytest.mark.parametrize(("written", "alarm"), OF_ALL, indirect=["written"])
def test_alarm_reads_what_the_sink_writes(alarm, written):
    stats = metric_stats(alarm)
    assert {metric["Namespace"] for metric in stats} <= {NAMESPACE}
    assert {key(metric) for metric in stats} <= written


@pytest.mark.parametrize(
    ("written", "instance"), [(one, one) for one in INSTANCES], indirect=["written"]
)
def test_query_reads_what_the_sink_writes(written, instance):
    (query,) = find_alarms(instance)["FetchErrors"]["Metrics"]
    name, namespace, schema, label, value = re.fullmatch(
        r'SELECT SUM\((\w+)\) FROM SCHEMA\("(\w+)", (.+?)\)(?: WHERE (\w+) = \'(\w+)\')?',
        query["Expression"],
    ).groups()
    assert namespace == NAMESPACE
    of_instance = {("instance", instance)} if instance else set()
    assert {(label, value)} - {(None, None)} == of_instance
    read = {
        labels
        for metric, labels in written
        if metric == name and {key for key, _ in labels} == set(schema.split(", "))
    }
    assert {labels for labels in read if labels >= of_instance} == {
        frozenset({("reason", reason), *of_instance}) for reason in FETCH_REASONS
    }


def test_each_instance_has_its_own_alarms_and_one_stack_those_of_the_project():
    of_project = {"Unavailable", "UnauthorizedShare"}
    assert find_alarms("default").keys() == ALARMS.keys()
    assert find_alarms("staff").keys() == ALARMS.keys() - of_project
    for name, alarm in find_alarms("default").items():
        assert (alarm == ALARMS[name]) == (name in of_project)


@pytest.mark.parametrize(("instance", "alarm"), OF_ALL)
def test_alarm_keeps_the_quotas_and_one_period(instance, alarm):
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


def of_instance(samples, instance):
    """Return samples as those of one among several instances."""
    return {
        (name, labels if name == metrics.RESPONSES else labels | {("instance", instance)}): values
        for (name, labels), values in samples.items()
    }


@pytest.mark.parametrize(
    ("name", "samples", "expected"), [pytest.param(*row[:3], id="-".join(row[::3])) for row in ROWS]
)
def test_alarm_of_an_instance_goes_off_when_it_should_and_for_no_other(name, samples, expected):
    periods = max(map(len, samples.values()), default=2)
    well = keys([(in_hours(24, period),) for period in range(periods)])
    well |= {key: [(9,)] * periods for key in well if key[0] in (metrics.HITS, metrics.MISSES)}
    well |= {key: [(0,)] * periods for key in errors(timeout=(0,))}
    samples = {**of_instance(well, "default"), **of_instance(samples, "staff")}
    for instance, is_staff in (("staff", True), ("default", False)):
        alarm = find_alarms(instance).get(name)
        if alarm is not None and not {"Unavailable", "UnauthorizedShare"} & {name}:
            goes_off = is_alarm(alarm, samples, periods, start=START)
            assert goes_off is (expected and is_staff)


def test_page_has_every_alarm_and_no_other():
    cells = [row["in CloudWatch"] for row in rows("monitoring.md", "alarm").values()]
    assert sorted(names("".join(cells))) == sorted(ALARMS)


def test_every_alarm_goes_off_once():
    assert {name for name, _, expected, _ in ROWS if expected} == ALARMS.keys()
