"""Totals that are always there: no event is lost, and none makes a series."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.conf import settings

from clerk_auth import conf, metrics
from clerk_auth.conf.lifetime import forget
from clerk_auth.core.errors import TokenExpired
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.metrics import counts
from clerk_auth.verifier import Verifier
from tests.metrics.several import ALIASES, OF_SEVERAL, SEVERAL, UNDIVIDED
from tests.processes import wait_until

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


# Where the settings have several instances


@pytest.fixture
def several(settings):
    settings.CLERK_AUTH = SEVERAL


def test_every_series_of_every_instance_is_there_at_zero(several):
    assert metrics.totals() == dict.fromkeys(OF_SEVERAL, 0)
    assert metrics.find_series() == OF_SEVERAL


def test_labels_keep_their_order_and_the_instance_comes_last(several):
    for (name, *values), labels in metrics.find_series().items():
        assert [*labels.values()] == values
        of_one = [*metrics.COUNTERS.get(name, ())]
        assert [*labels] == (of_one if name in UNDIVIDED else [*of_one, "instance"])


@pytest.mark.parametrize("clerk_auth", [{}, None, {"INSTANCES": {}}, {"INSTANCES": "staff"}])
def test_nothing_has_the_label_without_another_instance(clerk_auth, settings):
    settings.CLERK_AUTH = clerk_auth
    assert set(metrics.find_series()) == SERIES
    assert not any("instance" in labels for labels in metrics.find_series().values())


@pytest.mark.parametrize("alias", ALIASES)
def test_event_of_an_instance_changes_its_series_alone(alias, several):
    for series in SERIES:
        metrics.reset()
        name, (changed, _) = series[0], metrics.label_series(series, alias)
        if name in metrics.GAUGES:
            metrics.set_gauge(name, 1, alias)
        else:
            metrics.increment(*series, instance=alias)
            metrics.counter(*series, instance=alias)()
        changed_by = 1 if name in metrics.GAUGES else 2
        assert changed[1:] == series[1:] if name in UNDIVIDED else changed == (*series, alias)
        assert metrics.totals() == {**dict.fromkeys(OF_SEVERAL, 0), changed: changed_by}


def test_verifier_counts_for_its_instance(several, local_issuer):
    issuer = local_issuer.acting_as("https://clerk.staff.example.com")
    source = StaticKeySource((issuer.verifying_key,))
    verifier = Verifier(source, conf.get_config("staff").policy)
    verifier.verify(issuer.token())
    with pytest.raises(TokenExpired):
        verifier.verify(issuer.token(expires_in=-60))
    assert {series: total for series, total in metrics.totals().items() if total} == {
        (metrics.VERIFIED, "enforce", "staff"): 1,
        (*EXPIRED, "staff"): 1,
    }


def test_label_comes_and_goes_with_the_setting_and_counts_stay(settings):
    metrics.increment(metrics.HITS)
    settings.CLERK_AUTH = SEVERAL
    metrics.increment(metrics.HITS, instance="staff", by=2)
    assert (metrics.HITS,) not in metrics.totals()
    assert metrics.totals()[metrics.HITS, "staff"] == 2
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    assert set(metrics.totals()) == SERIES
    assert metrics.totals()[metrics.HITS,] == 1
    settings.CLERK_AUTH = SEVERAL
    assert metrics.totals()[metrics.HITS, "staff"] == 2


def test_what_no_setting_names_is_in_no_total(several):
    metrics.increment(metrics.HITS, instance="of_nobody")
    metrics.set_gauge(metrics.FETCHED_AT, 1, "of_nobody")
    metrics.increment(metrics.HITS)
    assert metrics.totals() == dict.fromkeys(OF_SEVERAL, 0)


def test_reset_is_of_every_instance(several, settings):
    for alias in ALIASES:
        metrics.increment(metrics.HITS, instance=alias)
        metrics.set_gauge(metrics.FETCHED_AT, 1, alias)
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    metrics.reset()
    settings.CLERK_AUTH = SEVERAL
    assert metrics.totals() == dict.fromkeys(OF_SEVERAL, 0)


def test_series_and_labels_can_be_changed_by_nobody(several):
    for series, labels in {**metrics.find_series(), **metrics.SERIES}.items():
        with pytest.raises(TypeError):
            labels["user"] = "user_1"  # type: ignore[index]
        with pytest.raises(TypeError):
            metrics.find_series()[series] = {}  # type: ignore[index]


def test_no_thread_loses_the_first_count_of_a_series(several, switching_often):
    """A series of an instance is made with its first event, by whichever thread comes first."""
    for alias in (f"alias_{number}" for number in range(200)):
        run_together(*[partial(metrics.increment, metrics.HITS, instance=alias)] * 4)
        assert counts.read([(metrics.HITS, alias)]) == {(metrics.HITS, alias): 4}


def test_series_are_found_before_the_totals_are_locked(several):
    """A sink that is made reads totals, under the lock of what is derived from the settings."""
    forget()
    with counts._reading[0]:  # as another thread may hold it
        thread = threading.Thread(target=metrics.totals)
        thread.start()
        wait_until(lambda: metrics.find_series.cache_info().currsize == 1)
    thread.join(5)
    assert not thread.is_alive()


def test_forked_child_counts_each_instance_on(several, passes_in_child):
    metrics.increment(metrics.HITS, instance="staff")

    def counts_on() -> bool:
        metrics.increment(metrics.HITS, instance="staff")
        metrics.increment(metrics.HITS, instance="default")
        found = metrics.totals()
        return (found[metrics.HITS, "staff"], found[metrics.HITS, "default"]) == (2, 1)

    assert passes_in_child(counts_on)
    assert metrics.totals()[metrics.HITS, "staff"] == 1
