"""Sinks are told of every event, or of none, and can neither slow nor stop anybody."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator

import pytest

from clerk_auth import metrics
from clerk_auth.metrics import sinks
from clerk_auth.verifier import get_verifier
from tests.contrib.processes import run_program
from tests.metrics.several import SEVERAL

pytestmark = pytest.mark.integration

EXPIRED = (metrics.REFUSED, "token_expired", "enforce")


class RecordingSink:
    told: list[tuple] = []

    def increment(self, name, by, labels):
        self.told.append((name, by, dict(labels)))

    def set(self, name, value, labels):
        self.told.append((name, value, dict(labels)))


class FailingSink:
    def increment(self, name, by, labels):
        raise RuntimeError("no statsd")

    def set(self, name, value, labels):
        raise RuntimeError("no statsd")


class CancelledSink:
    """As one that asks a task of its own, which has been cancelled."""

    def increment(self, name, by, labels):
        raise CancelledError

    set = increment


class UncancellableSink(CancelledSink):
    def __init__(self):
        raise CancelledError


class CoroutineSink:
    async def increment(self, name, by, labels): ...

    async def set(self, name, value, labels): ...


class OtherFailingSink(FailingSink):
    pass


class NoSinkAtAll:
    pass


class ClosingSink(RecordingSink):
    def close(self):
        self.told.append(("closed",))


class ReadingSink(ClosingSink):
    reads_totals = True


class ReadingOnlySink:
    reads_totals = True


class UndeclaredSink:
    """Declares neither, but has every attribute, as a mock does."""

    def __getattr__(self, name):
        return lambda *_: RecordingSink.told.append((name,))


class FirstEventSink(ClosingSink):
    def increment(self, name, by, labels):
        super().increment(name, by, labels)
        sinks.stop_telling(self)


class FailingToCloseSink(FailingSink):
    def close(self):
        raise RuntimeError("no statsd")


class GreedySink(RecordingSink):
    def increment(self, name, by, labels):
        labels["user"] = "user_1"

    set = increment


class PrintingSink:
    def __init__(self):
        print("made")

    def increment(self, name, by, labels):
        print("told")

    def close(self):
        print("closed")


class UnmakeableSink:
    def __init__(self):
        raise OSError("no statsd")


def path(sink: type) -> str:
    return f"{__name__}.{sink.__name__}"


@pytest.fixture(autouse=True)
def told() -> Iterator[list[tuple]]:
    """What sinks are told; none is connected before and after."""
    RecordingSink.told = []
    yield RecordingSink.told
    sinks.connect([])


def test_sinks_are_told_of_every_change(told):
    sinks.connect([path(RecordingSink)])
    metrics.increment(metrics.VERIFIED, "enforce")
    metrics.increment(*EXPIRED)
    metrics.increment(metrics.KEYS_SKIPPED, "private", by=3)
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5)
    assert told == [
        ("jwt_verifications_success", 1, {"mode": "enforce"}),
        ("jwt_verifications_failure", 1, {"code": "token_expired", "mode": "enforce"}),
        ("jwks_keys_skipped", 3, {"reason": "private"}),
        ("jwks_fetched_timestamp_seconds", 1_800_000_000.5, {}),
    ]


def test_sinks_are_told_of_the_instance_where_there_are_several(settings, told):
    settings.CLERK_AUTH = {**SEVERAL, "METRICS": [path(RecordingSink)]}
    for event in (metrics.increment, lambda *args, **kwargs: metrics.counter(*args, **kwargs)()):
        event(*EXPIRED, instance="staff")
        event(metrics.RESPONSES, "401", instance="staff")
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5, "staff")
    refused = (
        metrics.REFUSED,
        1,
        {"code": "token_expired", "mode": "enforce", "instance": "staff"},
    )
    responded = (metrics.RESPONSES, 1, {"status": "401"})
    gauge = (metrics.FETCHED_AT, 1_800_000_000.5, {"instance": "staff"})
    assert told == [refused, responded, refused, responded, gauge]


@pytest.mark.parametrize("name", metrics.COUNTERS)
def test_labels_have_their_names(name, told):
    sinks.connect([path(RecordingSink)])
    labels = {label: values[0] for label, values in metrics.COUNTERS[name].items()}
    metrics.increment(name, *labels.values())
    assert told == [(name, 1, labels)]


def test_failing_sink_changes_nothing_and_is_reported_once(told, caplog):
    sinks.connect(map(path, (FailingSink, OtherFailingSink, NoSinkAtAll, RecordingSink)))
    for _ in range(3):
        metrics.increment(metrics.HITS)
        metrics.set_gauge(metrics.FETCHED_AT, 1)
    assert metrics.totals()[metrics.HITS,] == 3
    assert len(told) == 6
    assert [record.event for record in caplog.records] == ["metrics_sink_failed"] * 3
    assert {record.sink for record in caplog.records} == {
        "FailingSink",
        "OtherFailingSink",
        "NoSinkAtAll",
    }
    assert "no statsd" not in caplog.text


@pytest.mark.parametrize("kind", [CancelledSink, UncancellableSink, CoroutineSink])
def test_no_kind_of_failure_of_a_sink_reaches_a_request(told, caplog, kind):
    sinks.connect([f"{__name__}.{kind.__name__}", f"{__name__}.RecordingSink"])
    metrics.increment(*EXPIRED)
    assert [name for name, *_ in told].count(metrics.REFUSED) == 1
    assert caplog.text.count("clerk_auth.metrics_sink_failed") == 1
    assert kind.__name__ in caplog.text


def test_failing_sink_is_reported_again_once_it_is_connected_again(caplog):
    for times in (1, 2):
        sinks.connect([path(FailingSink)])
        metrics.increment(metrics.HITS)
        assert len(caplog.records) == times


def test_connecting_again_replaces_the_sinks(told):
    sinks.connect([path(RecordingSink)])
    sinks.connect([path(RecordingSink)])
    metrics.increment(metrics.HITS)
    assert len(told) == 1
    sinks.connect([])
    metrics.increment(metrics.HITS)
    assert len(told) == 1


def test_sink_that_cannot_be_made_is_left_out_and_reported(told, caplog):
    sinks.connect([path(UnmakeableSink), path(RecordingSink)])
    metrics.increment(metrics.HITS)
    assert len(told) == 1
    (record,) = caplog.records
    assert (record.event, record.sink, record.error) == (
        "metrics_sink_failed",
        "UnmakeableSink",
        "OSError",
    )
    assert "no statsd" not in caplog.text


def test_sink_that_cannot_be_imported_leaves_the_others_as_they_are(told):
    sinks.connect([path(RecordingSink)])
    with pytest.raises(ImportError):
        sinks.connect([path(ClosingSink), "no_such_module.Sink"])
    metrics.increment(metrics.HITS)
    assert len(told) == 1


def test_no_sink_changes_what_the_others_are_told(told, caplog):
    sinks.connect([path(GreedySink), path(RecordingSink)])
    metrics.increment(metrics.VERIFIED, "enforce")
    metrics.set_gauge(metrics.FETCHED_AT, 1)
    metrics.set_gauge(metrics.FETCHED_AT, 2)
    assert told == [
        (metrics.VERIFIED, 1, {"mode": "enforce"}),
        (metrics.FETCHED_AT, 1, {}),
        (metrics.FETCHED_AT, 2, {}),
    ]
    assert [record.sink for record in caplog.records] == ["GreedySink"]


def test_sink_is_closed_when_another_takes_its_place(told):
    sinks.connect([path(ClosingSink), path(RecordingSink)])
    sinks.connect([path(RecordingSink)])
    assert told == [("closed",)]
    metrics.increment(metrics.HITS)
    assert len(told) == 2


def test_sink_that_reads_the_totals_is_told_of_nothing_and_closed(told, caplog):
    sinks.connect(map(path, (ReadingSink, ReadingOnlySink)))
    metrics.increment(metrics.HITS)
    metrics.set_gauge(metrics.FETCHED_AT, 1)
    assert sinks.connected == ()
    assert told == []
    sinks.connect([])
    assert told == [("closed",)]
    assert sinks.made == ()
    assert caplog.records == []


def test_sinks_beside_one_that_reads_are_told(told):
    sinks.connect(map(path, (ReadingSink, RecordingSink)))
    metrics.increment(metrics.HITS)
    assert told == [(metrics.HITS, 1, {})]


def test_only_a_sink_that_declares_it_is_told_of_nothing(told):
    sinks.connect([path(UndeclaredSink)])
    metrics.increment(metrics.HITS)
    metrics.set_gauge(metrics.FETCHED_AT, 1)
    assert told == [("increment",), ("set",)]


def test_sink_that_has_heard_enough_is_told_no_more_and_closed(told):
    sinks.connect(map(path, (FirstEventSink, RecordingSink)))
    metrics.increment(metrics.HITS)
    metrics.increment(metrics.HITS)
    assert told == [(metrics.HITS, 1, {})] * 3
    sinks.connect([])
    assert told[3:] == [("closed",)]


def test_sink_that_fails_to_close_stops_nobody(told, caplog):
    sinks.connect([path(FailingToCloseSink), path(ClosingSink)])
    sinks.connect([])
    assert told == [("closed",)]
    assert [record.sink for record in caplog.records] == ["FailingToCloseSink"]


def test_forked_child_makes_sinks_of_its_own_and_closes_none_of_its_parent(told, passes_in_child):
    sinks.connect(map(path, (ClosingSink, ReadingSink)))
    ours = sinks.made

    def has_its_own() -> bool:
        metrics.increment(metrics.HITS)
        return (
            not {*sinks.made} & {*ours}
            and sinks.connected == sinks.made[:1]
            and [name for name, *_ in told] == [metrics.HITS]
        )

    assert passes_in_child(has_its_own)
    assert (sinks.made, sinks.connected) == (ours, ours[:1])


def test_forked_child_tells_a_sink_again_that_had_heard_enough(told, passes_in_child):
    sinks.connect([path(FirstEventSink)])
    metrics.increment(metrics.HITS)

    def is_told() -> bool:
        metrics.increment(metrics.HITS)
        return len(told) == 2

    assert passes_in_child(is_told)


def test_settings_that_change_connect_other_sinks_at_once(settings, told):
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [path(ClosingSink)]}
    metrics.increment(metrics.HITS)
    assert len(told) == 1
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    metrics.increment(metrics.HITS)
    assert told[1:] == [("closed",)]


@pytest.mark.parametrize(
    "broken",
    [
        {"FRONTEND_API": "clerk.example.com", "METRICS": ["no_such_module.Sink"]},
        {"FRONTEND_API": "https://clerk.example.com"},
        {},
        None,
    ],
)
def test_settings_that_cannot_be_used_connect_nothing_and_raise_nothing(broken, settings, told):
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [path(RecordingSink)]}
    settings.CLERK_AUTH = broken
    metrics.increment(metrics.HITS)
    assert told == []


def test_verifier_connects_no_sink_twice(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "METRICS": [path(RecordingSink)]}
    (sink,) = sinks.connected
    get_verifier()
    assert sinks.connected == (sink,)


@pytest.mark.parametrize(
    ("paths", "printed"),
    [
        # Made when Django has started, closed when the process ends.
        (f"{__name__}.PrintingSink", ["made", "started", "told", "closed"]),
        ("no_such_module.Sink", ["started"]),
        ("", ["started"]),
    ],
)
def test_sinks_live_as_long_as_the_process(paths, printed):
    program = "print('started'); from clerk_auth import metrics; metrics.increment(metrics.HITS)"
    done = run_program(program, sinks=paths)
    assert done.stdout.split() == printed, done.stderr


def test_sink_that_cannot_be_imported_stops_the_verifier(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "METRICS": ["no_such_module.Sink"]}
    with pytest.raises(ImportError):
        get_verifier()
