"""Lines that CloudWatch reads: deltas at an interval and at the end, none per request."""

from __future__ import annotations

import json
import logging
import queue
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from clerk_auth import metrics
from clerk_auth.contrib.emf import LOGGER, EMFSink
from clerk_auth.issuer.standin import StandInClerk
from clerk_auth.metrics import counts, sinks
from project.demo.environment import AUTHORIZED_PARTY
from tests.contrib.processes import run_program, serve
from tests.metrics.several import ALIASES, OF_SEVERAL, SEVERAL

pytestmark = pytest.mark.integration

SINK = "clerk_auth.contrib.emf.EMFSink"
EXPIRED = (metrics.REFUSED, "token_expired", "enforce")
UNITS = {"Count", "Seconds"}

Document = dict[str, Any]
Written = dict[metrics.Series, float]


class Impatient(EMFSink):
    interval_seconds = 0.01


class Lines(logging.Handler):
    """What was written, as documents."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: queue.Queue[Document] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.documents.put(read(record.getMessage()))

    def take(self) -> Written:
        """Return what was written since the last time, by series."""
        taken = []
        while not self.documents.empty():
            taken.append(self.documents.get())
        return collect(taken)


def read(line: str) -> Document:
    """Parse a line, and hold it against the specification of the format."""
    document = json.loads(line)
    assert len(line) < 4096  # so much a pipe takes in one piece, beside what others write
    about = document.pop("_aws")
    assert about.keys() == {"Timestamp", "CloudWatchMetrics"}
    assert type(about["Timestamp"]) is int
    assert abs(about["Timestamp"] / 1000 - time.time()) < 60
    (directive,) = about["CloudWatchMetrics"]
    assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
    assert 1 <= len(directive["Namespace"]) <= 1024
    (dimensions,) = directive["Dimensions"]
    assert len(dimensions) <= 30
    for dimension in dimensions:
        assert type(document[dimension]) is str
        assert 1 <= len(document[dimension]) <= 1024
    assert 1 <= len(directive["Metrics"]) <= 100
    for definition in directive["Metrics"]:
        assert definition.keys() == {"Name", "Unit"}
        assert definition["Unit"] in UNITS
        assert type(document[definition["Name"]]) in {int, float}
    names = [definition["Name"] for definition in directive["Metrics"]]
    assert document.keys() == {*dimensions, *names}
    return {"namespace": directive["Namespace"], "labels": dimensions, "names": names, **document}


def collect(documents: list[Document]) -> Written:
    """Add up counters, and take the last of a gauge."""
    found: Counter[metrics.Series] = Counter()
    for document in documents:
        for name in document["names"]:
            # As CloudWatch does: whoever asks for a series names exactly its dimensions.
            labels = [*metrics.COUNTERS.get(name, ()), "instance"]
            assert document["labels"] == [label for label in labels if label in document]
            series = (name, *(document[label] for label in document["labels"]))
            found[series] = document[name] + (found[series] if name in metrics.COUNTERS else 0)
    return dict(found)


GAUGES = {(name,): 0 for name in metrics.GAUGES}


@pytest.fixture
def clean_logger() -> Iterator[None]:
    """A logger that nobody has configured, before and after."""
    logger = logging.getLogger(LOGGER)
    kept = (logger.handlers, logger.propagate, logger.level)
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
    yield
    sinks.connect([])
    logger.handlers, logger.propagate = kept[:2]
    logger.setLevel(kept[2])


@pytest.fixture
def lines(clean_logger) -> Lines:
    lines = Lines()
    logging.getLogger(LOGGER).addHandler(lines)
    return lines


@pytest.fixture
def sink(lines) -> EMFSink:
    metrics.increment(metrics.HITS)  # before it was there: not its to write
    sinks.connect([SINK])
    (sink,) = sinks.made
    return sink


def test_event_writes_nothing(sink, lines):
    for _ in range(100):
        metrics.increment(metrics.HITS)
    assert lines.take() == {}


def test_counters_are_what_came_since_the_last_time(sink, lines):
    metrics.increment(*EXPIRED)
    metrics.increment(metrics.HITS, by=3)
    sink.write()
    assert lines.take() == {EXPIRED: 1, (metrics.HITS,): 3, **GAUGES}
    metrics.increment(metrics.HITS)
    sink.write()
    assert lines.take() == {(metrics.HITS,): 1, **GAUGES}
    sink.write()
    assert lines.take() == GAUGES


def test_gauge_is_written_as_it_is_each_time(sink, lines):
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5)
    for _ in range(2):
        sink.write()
        assert lines.take()[metrics.FETCHED_AT,] == 1_800_000_000.5


def test_all_series_are_in_a_full_report(sink, lines):
    sink.write(unchanged=True)
    assert lines.take() == dict.fromkeys(metrics.totals(), 0)


def test_label_values_share_a_line_and_never_two_values_of_one_label(sink, lines):
    for series in metrics.SERIES:
        metrics.increment(*series)
    sink.write()
    assert lines.documents.qsize() == len(
        {tuple(labels.items()) for labels in metrics.SERIES.values()}
    )
    assert lines.take() == {**dict.fromkeys(metrics.SERIES, 1), **GAUGES}


def test_instance_is_a_dimension_while_there_are_several(lines, settings):
    settings.CLERK_AUTH = {**SEVERAL, "METRICS": [SINK]}
    (sink,) = sinks.made
    sink.write(unchanged=True)
    assert lines.take() == dict.fromkeys(OF_SEVERAL, 0)
    metrics.increment(*EXPIRED, instance="staff")
    metrics.set_gauge(metrics.FETCHED_AT, 1_800_000_000.5, "default")
    sink.write()
    of_gauges = {(name, alias): 0 for name in metrics.GAUGES for alias in ALIASES}
    gauges = {**of_gauges, (metrics.FETCHED_AT, "default"): 1_800_000_000.5}
    assert lines.take() == {(*EXPIRED, "staff"): 1, **gauges}
    # What is left is written under the labels that it was counted under.
    metrics.increment(metrics.HITS, instance="staff")
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com", "METRICS": [SINK]}
    assert lines.take() == {(metrics.HITS, "staff"): 1, **gauges}
    metrics.increment(metrics.HITS)
    sinks.connect([])
    assert lines.take() == {(metrics.HITS,): 1, **GAUGES}


def test_thread_starts_with_the_first_event(sink):
    assert sink._thread is None
    metrics.set_gauge(metrics.FETCHED_AT, 1)
    thread = sink._thread
    metrics.increment(metrics.HITS)
    assert sink._thread is thread
    assert thread.daemon


@pytest.mark.parametrize(
    "event",
    [partial(metrics.increment, metrics.HITS), partial(metrics.set_gauge, metrics.FETCHED_AT, 1)],
    ids=["counter", "gauge"],
)
def test_events_after_the_first_are_told_to_nobody(event, sink, lines):
    assert sinks.connected == (sink,)
    event()
    assert sinks.connected == ()
    metrics.increment(metrics.MISSES)
    sinks.connect([])
    assert lines.take()[metrics.MISSES,] == 1


def test_interval_writes_all_series_first_and_then_the_changed_ones(lines):
    sinks.connect([f"{__name__}.Impatient"])
    metrics.increment(metrics.HITS)
    first = [lines.documents.get(timeout=5)]
    while collect(first).keys() != metrics.totals().keys():
        first.append(lines.documents.get(timeout=5))
    assert collect(first)[metrics.HITS,] == 1
    metrics.increment(*EXPIRED)
    while "code" not in (document := lines.documents.get(timeout=5)):
        assert collect([document]) == GAUGES
    assert collect([document]) == {EXPIRED: 1}


def test_sink_that_is_replaced_writes_the_rest_and_ends(sink, lines):
    metrics.increment(metrics.HITS)
    sinks.connect([])
    assert lines.take() == {(metrics.HITS,): 1, **GAUGES}
    sink._thread.join(5)
    assert not sink._thread.is_alive()


def test_process_without_events_writes_nothing(sink, lines):
    sinks.connect([])
    assert lines.take() == {}


def test_forked_child_writes_its_own_counts_alone(sink, lines, passes_in_child):
    metrics.increment(metrics.HITS, by=2)

    def writes_its_own() -> bool:
        metrics.increment(metrics.HITS)
        sinks._close()
        return lines.take() == {(metrics.HITS,): 1, **GAUGES}

    assert passes_in_child(writes_its_own)
    sink.write()
    assert lines.take() == {(metrics.HITS,): 2, **GAUGES}


@pytest.mark.parametrize("held", ["writes", "reads"])
def test_forked_child_starts_while_a_thread_of_the_parent(held, sink, passes_in_child):
    metrics.increment(metrics.HITS)

    def has_a_thread() -> bool:
        metrics.increment(metrics.HITS)
        return sinks.made[0]._thread.is_alive()

    # As another thread may hold it.
    with sink._lock if held == "writes" else counts._reading[0]:
        assert passes_in_child(has_a_thread)


# Where lines go


def test_lines_go_to_standard_error_as_they_are(clean_logger, capsys):
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    sinks.connect([])
    (line,) = capsys.readouterr().err.splitlines()
    assert collect([read(line)]) == {(metrics.HITS,): 1, **GAUGES}


def test_lines_go_to_no_handler_above(lines, caplog):
    caplog.set_level(logging.DEBUG)
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    sinks.connect([])
    assert lines.take() != {}
    assert caplog.records == []


def test_level_of_the_loggers_above_silences_nothing(lines, caplog):
    caplog.set_level(logging.ERROR, "clerk_auth")
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    sinks.connect([])
    assert lines.take() != {}


def test_level_that_a_project_chose_is_kept(lines):
    logging.getLogger(LOGGER).setLevel(logging.WARNING)
    sinks.connect([SINK])
    metrics.increment(metrics.HITS)
    sinks.connect([])
    assert lines.take() == {}


# At the end of a process


def read_all(text: str) -> Written:
    return collect([read(line) for line in text.splitlines() if line.startswith('{"_aws"')])


def test_process_that_ends_writes_the_rest():
    program = "from clerk_auth import metrics; metrics.increment(metrics.HITS); print('done')"
    done = run_program(program, sinks=SINK)
    assert done.stdout == "done\n"
    assert read_all(done.stderr) == {(metrics.HITS,): 1, **GAUGES}


@pytest.mark.parametrize(
    "options",
    [[], ["--preload"], ["--worker-class", "gthread", "--threads", "2"]],
    ids=["each-loads", "preloaded", "threads"],
)
def test_worker_that_is_told_to_end_writes_the_rest(options, tmp_path):
    with StandInClerk() as clerk:
        with serve(clerk, tmp_path, *options, CLERK_METRICS=SINK) as server:
            good = clerk.signer.token(azp=AUTHORIZED_PARTY)
            expired = clerk.signer.token(azp=AUTHORIZED_PARTY, expires_in=-3600)
            assert [server.get("/api/me", good) for _ in range(12)] == [200] * 12
            assert [server.get("/api/me", expired) for _ in range(3)] == [401] * 3
        written = read_all(server.read_log())
    assert written[metrics.VERIFIED, "enforce"] == 12
    assert written[EXPIRED] == 3
    assert written[metrics.RESPONSES, "2xx"] == 12
    assert written[metrics.RESPONSES, "401"] == 3
    assert written[metrics.EXPIRES_AT,] == written[metrics.FETCHED_AT,] + 86400
