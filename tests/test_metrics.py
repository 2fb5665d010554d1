"""Totals that are always there, and sinks that can neither slow nor stop anybody."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from django.conf import settings

from clerk_auth import metrics
from clerk_auth.core.errors import CODES
from clerk_auth.core.keys import SKIP_REASONS
from clerk_auth.fetch import FAILURE_REASONS
from clerk_auth.verifier import get_verifier
from project.demo.environment import inherit_environment
from tests.conftest import PARTY

MODES = ["enforce", "observe"]
COUNTERS = {
    "jwt_verifications_success": {"mode": MODES},
    "jwt_verifications_failure": {"code": CODES, "mode": MODES},
    "jwks_cache_hits": {},
    "jwks_cache_misses": {},
    "jwks_fetch_errors": {"reason": FAILURE_REASONS},
    "jwks_stale_uses": {},
    "jwks_keys_skipped": {"reason": SKIP_REASONS},
    "jwks_documents_refused": {"reason": metrics.DOCUMENT_REFUSALS},
    "clerk_auth_responses": {
        "status": ["2xx", "3xx", "401", "403", "4xx", "503", "keys_busy", "5xx"]
    },
}
GAUGES = ["jwks_fetched_timestamp_seconds", "jwks_expiry_timestamp_seconds"]
SERIES = {
    (name, *values) for name, labels in COUNTERS.items() for values in product(*labels.values())
} | {(name,) for name in GAUGES}
EXPIRED = (metrics.REFUSED, "token_expired", "enforce")


class RecordingSink:
    told: list[tuple] = []

    def increment(self, name, by, labels):
        self.told.append((name, by, dict(labels)))

    def set(self, name, value):
        self.told.append((name, value))


class FailingSink:
    def increment(self, name, by, labels):
        raise RuntimeError("no statsd")

    def set(self, name, value):
        raise RuntimeError("no statsd")


class OtherFailingSink(FailingSink):
    pass


class NoSinkAtAll:
    pass


class ClosingSink(RecordingSink):
    def close(self):
        self.told.append(("closed",))


class FailingToCloseSink(FailingSink):
    def close(self):
        raise RuntimeError("no statsd")


class GreedySink(RecordingSink):
    def increment(self, name, by, labels):
        labels["user"] = "user_1"


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
    metrics.connect([])


# Totals


def test_every_series_is_there_from_the_start_at_zero():
    assert metrics.totals() == dict.fromkeys(SERIES, 0)


@pytest.mark.integration
def test_every_series_is_there_as_soon_as_the_module_is():
    program = "from clerk_auth import metrics; print(len(metrics.totals()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"{len(SERIES)}\n", done.stderr


def test_one_event_changes_its_series_alone():
    for series in SERIES:
        metrics.reset()
        if series[0] in GAUGES:
            metrics.set_gauge(series[0], 1)
        else:
            metrics.increment(*series)
        assert metrics.totals() == {**dict.fromkeys(SERIES, 0), series: 1}


@pytest.mark.parametrize("by", [1, 2, 3])
def test_several_events_are_counted_at_once(by):
    metrics.increment(metrics.KEYS_SKIPPED, "private", by=by)
    assert metrics.totals() == {**dict.fromkeys(SERIES, 0), (metrics.KEYS_SKIPPED, "private"): by}


def test_gauge_is_what_it_was_set_to_last():
    for value in (1_800_000_000.5, 1_700_000_000.5):
        metrics.set_gauge(metrics.FETCHED_AT, value)
    assert metrics.totals()[metrics.FETCHED_AT,] == 1_700_000_000.5


def test_reading_changes_nothing():
    metrics.increment(metrics.HITS)
    for _ in range(3):
        assert metrics.totals()[metrics.HITS,] == 1


@pytest.mark.parametrize(
    "series",
    [
        ("jwt_verifications_failure", "user_1", "enforce"),
        ("jwt_verifications_failure", "token_expired", "user_1"),
        ("jwt_verifications_failure", "token_expired"),
        ("jwt_verifications_failure",),
        ("jwks_fetch_errors", "token_expired"),
        ("jwks_cache_hits", "ins_1"),
        ("of_somebody_else",),
    ],
)
def test_label_that_is_not_on_the_list_is_never_made(series):
    with pytest.raises(KeyError):
        metrics.increment(*series)
    assert set(metrics.totals()) == SERIES


def test_totals_are_a_copy():
    metrics.totals().clear()
    assert set(metrics.totals()) == SERIES


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Let threads take turns at every opportunity."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def run_together(*works: Callable[[], object]) -> None:
    together = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        together.wait(5)
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)


def count_a_thousand() -> None:
    for _ in range(1000):
        metrics.increment(metrics.HITS)
        metrics.increment(*EXPIRED)


def test_no_thread_loses_a_count(switching_often):
    run_together(*[count_a_thousand] * 8)
    totals = metrics.totals()
    assert totals[metrics.HITS,] == 8000
    assert totals[EXPIRED] == 8000


def test_threads_that_read_change_no_count_and_see_no_event_that_was_none(switching_often):
    seen: list[float] = []

    def read() -> None:
        seen.extend(max(metrics.totals().values()) for _ in range(200))

    run_together(*[read] * 8)
    run_together(*[count_a_thousand] * 2, *[metrics.totals] * 6)
    assert set(seen) == {0}
    assert metrics.totals() == {
        **dict.fromkeys(SERIES, 0),
        (metrics.HITS,): 2000,
        EXPIRED: 2000,
    }


def test_forked_child_goes_on_counting(passes_in_child):
    metrics.increment(metrics.HITS)

    def counts() -> bool:
        metrics.increment(metrics.HITS)
        return metrics.totals()[metrics.HITS,] == 2

    assert passes_in_child(counts)
    assert metrics.totals()[metrics.HITS,] == 1


def test_forked_child_reads_while_a_thread_of_the_parent_was_reading(passes_in_child):
    with metrics._reading[0]:  # as another thread may hold it
        assert passes_in_child(lambda: set(metrics.totals()) == SERIES)


# Sinks


def test_sinks_are_told_of_every_change(told):
    metrics.connect([path(RecordingSink)])
    metrics.increment(metrics.VERIFIED, "enforce")
    metrics.increment(*EXPIRED)
    metrics.increment(metrics.KEYS_SKIPPED, "private", by=3)
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5)
    assert told == [
        ("jwt_verifications_success", 1, {"mode": "enforce"}),
        ("jwt_verifications_failure", 1, {"code": "token_expired", "mode": "enforce"}),
        ("jwks_keys_skipped", 3, {"reason": "private"}),
        ("jwks_fetched_timestamp_seconds", 1_800_000_000.5),
    ]


@pytest.mark.parametrize("name", COUNTERS)
def test_labels_have_their_names(name, told):
    metrics.connect([path(RecordingSink)])
    labels = {label: values[0] for label, values in COUNTERS[name].items()}
    metrics.increment(name, *labels.values())
    assert told == [(name, 1, labels)]


def test_failing_sink_changes_nothing_and_is_reported_once(told, caplog):
    metrics.connect(
        [path(FailingSink), path(OtherFailingSink), path(NoSinkAtAll), path(RecordingSink)]
    )
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


def test_failing_sink_is_reported_again_once_it_is_connected_again(caplog):
    for times in (1, 2):
        metrics.connect([path(FailingSink)])
        metrics.increment(metrics.HITS)
        assert len(caplog.records) == times


def test_connecting_again_replaces_the_sinks(told):
    metrics.connect([path(RecordingSink)])
    metrics.connect([path(RecordingSink)])
    metrics.increment(metrics.HITS)
    assert len(told) == 1
    metrics.connect([])
    metrics.increment(metrics.HITS)
    assert len(told) == 1


def test_sink_that_cannot_be_made_is_left_out_and_reported(told, caplog):
    metrics.connect([path(UnmakeableSink), path(RecordingSink)])
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
    metrics.connect([path(RecordingSink)])
    with pytest.raises(ImportError):
        metrics.connect([path(ClosingSink), "no_such_module.Sink"])
    metrics.increment(metrics.HITS)
    assert len(told) == 1


def test_no_sink_changes_what_the_others_are_told(told, caplog):
    metrics.connect([path(GreedySink), path(RecordingSink)])
    metrics.increment(metrics.VERIFIED, "enforce")
    assert told == [("jwt_verifications_success", 1, {"mode": "enforce"})]
    assert [record.sink for record in caplog.records] == ["GreedySink"]


def test_sink_is_closed_when_another_takes_its_place(told):
    metrics.connect([path(ClosingSink), path(RecordingSink)])
    metrics.connect([path(RecordingSink)])
    assert told == [("closed",)]
    metrics.increment(metrics.HITS)
    assert len(told) == 2


def test_sink_that_fails_to_close_stops_nobody(told, caplog):
    metrics.connect([path(FailingToCloseSink), path(ClosingSink)])
    metrics.connect([])
    assert told == [("closed",)]
    assert [record.sink for record in caplog.records] == ["FailingToCloseSink"]


def test_forked_child_makes_sinks_of_its_own_and_closes_none_of_its_parent(told, passes_in_child):
    metrics.connect([path(ClosingSink)])
    (ours,) = metrics._sinks

    def has_its_own() -> bool:
        (sink,) = metrics._sinks
        metrics.increment(metrics.HITS)
        return sink is not ours and [name for name, *_ in told] == [metrics.HITS]

    assert passes_in_child(has_its_own)
    assert metrics._sinks == (ours,)


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
    (sink,) = metrics._sinks
    get_verifier()
    assert metrics._sinks == (sink,)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("sinks", "told"),
    [
        # Made when Django has started, closed when the process ends.
        (f"{__name__}.PrintingSink", ["made", "started", "told", "closed"]),
        ("no_such_module.Sink", ["started"]),
        ("", ["started"]),
    ],
)
def test_sinks_live_as_long_as_the_process(sinks, told):
    program = (
        "import django; django.setup(); print('started'); "
        "from clerk_auth import metrics; metrics.increment(metrics.HITS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.BASE_DIR,
        env=inherit_environment()
        | {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "CLERK_FRONTEND_API": "clerk.example.com",
            "CLERK_METRICS": sinks,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == told, done.stderr


def test_settings_name_the_sinks(configured, settings, told):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "METRICS": [path(RecordingSink)]}
    get_verifier().verify(configured.signer.token(azp=PARTY))
    assert ("jwt_verifications_success", 1, {"mode": "enforce"}) in told
    assert {name for name, *_ in told} >= set(GAUGES)


def test_failing_sink_refuses_no_token(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "METRICS": [path(FailingSink)]}
    assert get_verifier().verify(configured.signer.token("user_1", azp=PARTY)).user_id == "user_1"


def test_sink_that_cannot_be_imported_stops_the_verifier(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "METRICS": ["no_such_module.Sink"]}
    with pytest.raises(ImportError):
        get_verifier()
