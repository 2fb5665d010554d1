"""Totals that are always there: no event is lost, and none makes a series."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings

from clerk_auth import metrics
from clerk_auth.metrics import counts

pytestmark = pytest.mark.integration

SERIES = {*metrics.SERIES, *((name,) for name in metrics.GAUGES)}
EXPIRED = (metrics.REFUSED, "token_expired", "enforce")


def test_every_series_is_there_from_the_start_at_zero():
    assert metrics.totals() == dict.fromkeys(SERIES, 0)


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
        if series[0] in metrics.GAUGES:
            metrics.set_gauge(series[0], 1)
        else:
            metrics.increment(*series)
        assert metrics.totals() == {**dict.fromkeys(SERIES, 0), series: 1}


def test_counter_that_was_looked_up_counts_on_after_a_reset():
    count_one = metrics.counter(metrics.HITS)
    for _ in range(2):
        count_one()
        metrics.increment(metrics.HITS)
        assert metrics.totals()[metrics.HITS,] == 2
        metrics.reset()
        assert metrics.totals()[metrics.HITS,] == 0


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
    for look_up in metrics.increment, metrics.counter:
        with pytest.raises(KeyError):
            look_up(*series)
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
    with counts._reading[0]:  # as another thread may hold it
        assert passes_in_child(lambda: set(metrics.totals()) == SERIES)
