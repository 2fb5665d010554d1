"""The key source's states and flights, on one thread and a clock that the test sets."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from clerk_auth import metrics
from clerk_auth.core.errors import KeyNotFound, KeysBusy, KeysUnavailable
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.held import Clock
from tests.conftest import ManualClock
from tests.fleet import ISSUER, Fleet, ScriptedIssuer, keys_after, keys_for, search
from tests.issuer_server import spare_signer

pytestmark = pytest.mark.integration

LEASE_SECONDS = 5  # the time to fetch, and a second
OLD, NEW = "ins_old", "ins_new"


@pytest.fixture(scope="module")
def old(local_issuer: LocalIssuer) -> LocalIssuer:
    return local_issuer.acting_as(ISSUER, kid=OLD)


@pytest.fixture(scope="module")
def new(other_issuer: LocalIssuer) -> LocalIssuer:
    return other_issuer.acting_as(ISSUER, kid=NEW)


@pytest.fixture(scope="module")
def replacement() -> LocalIssuer:
    return spare_signer(0).acting_as(ISSUER, kid=OLD)


@pytest.fixture
def issuer(old: LocalIssuer) -> ScriptedIssuer:
    return ScriptedIssuer(old)


@pytest.fixture
def fleet(issuer: ScriptedIssuer, clock) -> Fleet:
    return Fleet(issuer, clock)


def run(work) -> None:
    work()


class Spawn:
    """Starts flights as the test says: at once, to begin with."""

    how = staticmethod(run)

    def __call__(self, work) -> None:
        self.how(work)


@pytest.fixture
def spawn() -> Spawn:
    return Spawn()


@pytest.fixture
def source(fleet: Fleet, spawn: Spawn) -> CachedKeySource:
    """A process that holds the old key."""
    source = fleet.source(spawn=spawn)
    assert keys_for(source, OLD)
    return source


def thumbprints(keys) -> list[str]:
    return [key.thumbprint for key in keys]


# A set that may be used


def test_known_kid_costs_no_cache_call_and_no_fetch(source, fleet, issuer):
    before = fleet.cache.calls.copy()
    for _ in range(100):
        assert keys_for(source, OLD)
    assert fleet.cache.calls == before
    assert issuer.fetches == 1


def test_second_process_takes_the_shared_document(source, fleet, issuer):
    assert thumbprints(keys_for(fleet.source(), OLD)) == thumbprints(keys_for(source, OLD))
    assert issuer.fetches == 1


@pytest.mark.parametrize(("seconds", "looks"), [(11.9, 0), (15, 1), (16, 1)])
def test_process_looks_at_the_shared_copy_every_local_interval(
    source, fleet, clock, seconds, looks
):
    reads = fleet.cache.calls["get"]
    clock.time += seconds
    keys_for(source, OLD)
    assert fleet.cache.calls["get"] - reads == looks


@pytest.mark.parametrize(("age", "fetches"), [(299, 1), (300, 2), (301, 2)])
def test_set_older_than_refresh_is_fetched_again(source, issuer, clock, age, fetches):
    clock.time += age
    assert keys_for(source, OLD)
    assert issuer.fetches == fetches


def test_refresh_by_one_process_reaches_the_others_without_a_fetch(
    source, fleet, issuer, clock, new
):
    other = fleet.source()
    keys_for(other, OLD)
    issuer.signers.append(new)
    clock.time += 300
    keys_for(source, OLD)
    keys_for(other, OLD)
    assert keys_for(other, NEW)
    assert issuer.fetches == 2


@pytest.mark.parametrize(("age", "usable"), [(86399, True), (86400, False), (86401, False)])
def test_set_is_never_used_past_max_age(source, issuer, clock, age, usable):
    issuer.failure = "connection"
    clock.time += age
    if usable:
        assert keys_for(source, OLD)
    else:
        with pytest.raises(KeysUnavailable) as caught:
            keys_for(source, OLD)
        assert caught.value.code == "keys_unavailable"


def test_outage_of_a_day_is_survived_and_ends_without_a_restart(source, issuer, clock):
    issuer.failure = "timeout"
    for _ in range(95):
        clock.time += 900
        assert keys_for(source, OLD)
    assert source.status().state == "degraded"
    clock.time += 900
    with pytest.raises(KeysUnavailable):
        keys_for(source, OLD)
    issuer.failure = None
    clock.time += 75
    assert keys_for(source, OLD)
    assert source.status().state == "fresh"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [{"kty": "EC"}]}',
        b'{"keys": 1, "keys": 2}',
    ],
)
def test_garbage_replaces_nothing(source, issuer, clock, body):
    issuer.body = body
    clock.time += 300
    assert keys_for(source, OLD)
    assert keys_for(source, OLD)
    assert source.status().state == "degraded"


def test_failure_backs_the_whole_fleet_off(source, fleet, issuer, clock):
    other = fleet.source()
    keys_for(other, OLD)
    issuer.failure = "status"
    clock.time += 300
    keys_for(source, OLD)
    keys_for(other, OLD)
    keys_for(fleet.source(), OLD)
    assert issuer.fetches == 2


def test_backoff_doubles_to_a_minute(source, issuer, clock):
    issuer.failure = "status"
    clock.time += 300
    gaps, last = [], None
    for _ in range(2000):
        fetches = issuer.fetches
        source.refresh() if last is None else keys_for(source, OLD)
        if issuer.fetches > fetches:
            if last is not None:
                gaps.append(clock.time - last)
            last = clock.time
        clock.time += 1
    assert max(gaps) <= 72 + 15
    assert min(gaps[-5:]) >= 48


def test_clock_set_back_does_not_keep_a_set_fresh(fleet, issuer, clock):
    wall = ManualClock()
    source = fleet.source(clock=Clock(now=wall.now, monotonic=clock.now))
    keys_for(source, OLD)
    wall.time -= 3600
    clock.time += 15
    assert keys_for(source, OLD)
    assert issuer.fetches == 2


# Nothing that may be used


def test_cold_process_with_a_dead_issuer_is_unavailable_and_says_when_to_come_again(fleet, issuer):
    issuer.failure = "connection"
    source = fleet.source()
    with pytest.raises(KeysUnavailable) as caught:
        keys_for(source, OLD)
    assert 1 <= caught.value.retry_after <= 30
    assert source.status().state == "cold"


def test_cold_process_answers_from_memory_for_a_second_after_a_failure(fleet, issuer, clock):
    issuer.failure = "connection"
    source = fleet.source()
    for _ in range(50):
        with pytest.raises(KeysUnavailable):
            keys_for(source, OLD)
    assert issuer.fetches == 1
    assert fleet.cache.calls["add"] == 1
    issuer.failure = None
    clock.time += 2
    assert keys_for(source, OLD)


def test_cold_process_uses_an_old_shared_document_at_once_and_refreshes_it_next(
    source, fleet, issuer, clock
):
    clock.time += 4000
    issuer.failure = "timeout"
    cold = fleet.source()
    assert keys_for(cold, OLD)
    assert issuer.fetches == 1
    assert keys_for(cold, OLD)
    assert issuer.fetches == 2


def test_cold_process_waits_for_another_ones_fetch(fleet, issuer, clock):
    leader = fleet.source()
    lock = leader.fleet.acquire(lease_seconds=6)
    ticks = []

    def finish_on_the_third_poll(seconds: float) -> None:
        clock.time += seconds
        ticks.append(seconds)
        if len(ticks) == 3:
            leader.fleet.release(lock)
            keys_for(leader, OLD)

    follower = fleet.source(clock=Clock(clock.now, clock.now, finish_on_the_third_poll))
    assert keys_for(follower, OLD)
    assert issuer.fetches == 1


def test_cold_process_gives_up_after_three_seconds_of_another_ones_fetch(fleet, clock):
    holder, cold = fleet.source(), fleet.source()
    holder.fleet.acquire(lease_seconds=6)
    started_at = clock.time
    with pytest.raises(KeysUnavailable):
        keys_for(cold, OLD)
    assert clock.time - started_at <= 3


def test_lock_of_a_crashed_leader_ends_within_six_seconds(fleet, clock):
    crashed, other = fleet.source(), fleet.source()
    crashed.fleet.acquire(lease_seconds=LEASE_SECONDS)
    clock.time += 6
    assert keys_for(other, OLD)


# Unknown key ids


def test_key_rotated_in_is_found_at_its_first_use_by_every_process(fleet, issuer, new):
    processes = [fleet.source() for _ in range(5)]
    for process in processes:
        keys_for(process, OLD)
    issuer.signers.append(new)
    for process in processes:
        assert not keys_for(process, NEW)
        assert search(process, NEW)
    assert issuer.fetches == 2


def test_unknown_kid_is_not_found_after_one_forced_fetch(source, issuer):
    with pytest.raises(KeyNotFound):
        search(source, "ins_nobody")
    assert issuer.fetches == 2


def test_random_kids_force_one_fetch_per_cooldown_for_the_fleet(fleet, issuer, clock):
    processes = [fleet.source() for _ in range(4)]
    for process in processes:
        keys_for(process, OLD)
    started_at = clock.time
    count = 0
    while clock.time < started_at + 89:
        for process in processes:
            count += 1
            with pytest.raises(KeyNotFound):
                search(process, f"ins_random_{count}")
        clock.time += 0.25
    assert issuer.fetches == 1 + 3


def test_flood_of_kids_costs_one_cache_read_a_second(source, fleet, clock):
    with pytest.raises(KeyNotFound):
        search(source, "ins_first")
    reads = fleet.cache.calls["get"]
    for index in range(1000):
        with pytest.raises(KeyNotFound):
            search(source, f"ins_{index}")
        clock.time += 0.01
    assert fleet.cache.calls["get"] - reads <= 10


def test_unknown_kid_while_fetching_fails_is_unavailable_and_not_denied(source, issuer, clock):
    issuer.failure = "connection"
    clock.time += 300
    keys_for(source, OLD)
    with pytest.raises(KeysUnavailable) as caught:
        search(source, "ins_nobody")
    assert caught.value.code == "keys_unavailable"


def test_cooldown_is_kept_when_the_forced_fetch_fails(source, fleet, issuer, clock):
    issuer.failure = "status"
    with pytest.raises(KeysUnavailable):
        search(source, "ins_nobody")
    issuer.failure = None
    clock.time += 5
    fetches = issuer.fetches
    with pytest.raises(KeysUnavailable):
        search(source, "ins_nobody")
    assert issuer.fetches == fetches


def test_routine_fetch_does_not_spend_the_cooldown(source, issuer, clock, new):
    clock.time += 300
    keys_for(source, OLD)
    issuer.signers.append(new)
    assert search(source, NEW)


def test_forced_fetch_of_another_process_is_waited_for(fleet, issuer, clock, new):
    leader = fleet.source()
    keys_for(leader, OLD)
    issuer.signers.append(new)
    lock = leader.fleet.acquire(lease_seconds=6)

    def finish(seconds: float) -> None:
        clock.time += seconds
        leader.fleet.release(lock)
        search(leader, NEW)

    source = fleet.source(clock=Clock(clock.now, clock.now, finish))
    keys_for(source, OLD)
    assert search(source, NEW)
    assert issuer.fetches == 2


def test_unknown_kid_waits_a_second_and_a_half_at_most(source, fleet, clock):
    fleet.source().fleet.acquire(lease_seconds=6)
    started_at = clock.time
    with pytest.raises(KeysBusy) as caught:
        search(source, "ins_nobody")
    assert clock.time - started_at <= 1.5
    assert caught.value.retry_after == 1


def test_third_request_with_an_unknown_kid_is_busy_at_once(source):
    for _ in range(2):
        assert source._desk.places["key_id"].acquire(blocking=False)
    with pytest.raises(KeysBusy):
        search(source, "ins_nobody")


# Bad signatures under a known key id


def test_key_replaced_under_its_kid_is_found_by_the_first_bad_signature(
    source, issuer, replacement
):
    tried = keys_for(source, OLD)
    issuer.signers[:] = [replacement]
    found = keys_after(source, OLD, tried)
    assert thumbprints(found) == [replacement.verifying_key.thumbprint]
    assert issuer.fetches == 2


def test_key_replaced_under_its_kid_reaches_other_processes_by_their_next_look(
    fleet, issuer, clock, replacement
):
    first, second = fleet.source(), fleet.source()
    tried = keys_for(first, OLD)
    keys_for(second, OLD)
    issuer.signers[:] = [replacement]
    keys_after(first, OLD, tried)
    clock.time += 15
    keys_for(second, OLD)
    assert thumbprints(keys_for(second, OLD)) == [replacement.verifying_key.thumbprint]
    assert issuer.fetches == 2


def test_bad_signatures_force_one_fetch_per_cooldown_and_evict_nothing(fleet, issuer, clock):
    processes = [fleet.source() for _ in range(3)]
    tried = [keys_for(process, OLD) for process in processes]
    started_at = clock.time
    while clock.time < started_at + 59:
        for process, keys in zip(processes, tried, strict=True):
            assert keys_after(process, OLD, keys) == ()
            assert keys_for(process, OLD)
        clock.time += 0.5
    assert issuer.fetches == 1 + 2


def test_bad_signatures_do_not_spend_the_cooldown_of_unknown_kids(source, issuer, new):
    keys_after(source, OLD, keys_for(source, OLD))
    issuer.signers.append(new)
    assert search(source, NEW)


def test_bad_signature_does_not_wait_for_another_ones_fetch(source, fleet, clock):
    fleet.source().fleet.acquire(lease_seconds=6)
    started_at = clock.time
    assert keys_after(source, OLD, keys_for(source, OLD)) == ()
    assert clock.time == started_at


# Order and ownership


def test_process_never_goes_back_to_a_lower_generation(source, fleet, clock):
    document = fleet.cache.values[fleet.cache.find("document")]
    clock.time += 300
    keys_for(source, OLD)
    generation = source.status().generation
    fleet.cache.values[fleet.cache.find("document")] = document
    clock.time += 15
    keys_for(source, OLD)
    assert source.status().generation >= generation


def test_generation_rises_when_the_clock_of_a_leader_is_behind(source, issuer, clock):
    generation = source.status().generation
    clock.time -= 30
    source.refresh()
    assert source.status().generation == generation + 1


def test_leader_that_outlives_its_lease_publishes_nothing(source, fleet, issuer, clock):
    clock.time += 300

    def stall() -> None:
        clock.time += 10

    issuer.during = stall
    keys_for(source, OLD)
    issuer.during = lambda: None
    cold = fleet.source()
    assert keys_for(cold, OLD)
    assert cold.status().generation < source.status().generation


def test_stalled_leader_does_not_release_its_successors_lock(fleet, issuer, clock):
    stalled, successor = fleet.source(), fleet.source()
    taken: list[str] = []

    def stall() -> None:
        clock.time += 10
        taken.append(successor.fleet.acquire(lease_seconds=6))

    issuer.during = stall
    keys_for(stalled, OLD)
    assert fleet.cache.get(fleet.cache.find("lock")) == taken[0]


def test_document_under_the_lock_spares_the_fetch(fleet, issuer, clock):
    first, second = fleet.source(), fleet.source()
    add = fleet.cache.add

    def publish_just_before(key, value, timeout=None, version=None):
        if key.endswith(":lock"):
            fleet.cache.add = add
            keys_for(first, OLD)
        return add(key, value, timeout)

    fleet.cache.add = publish_just_before
    assert keys_for(second, OLD)
    assert issuer.fetches == 1


def test_operator_refresh_goes_past_cooldown_and_backoff(source, fleet, issuer):
    issuer.failure = "status"
    source.refresh()
    assert source.status().state == "degraded"
    issuer.failure = None
    source.refresh()
    assert source.status().state == "fresh"
    assert issuer.fetches == 3


# Without a cache


def fail_always(method: str) -> None:
    raise ConnectionError(method)


def test_dead_cache_is_no_outage(fleet, issuer, clock):
    fleet.cache.fail = fail_always
    source = fleet.source()
    assert keys_for(source, OLD)
    clock.time += 300
    assert keys_for(source, OLD)
    assert issuer.fetches == 2
    assert source.status().is_cache_avoided


def test_dead_cache_is_left_alone_between_probes(fleet, clock):
    fleet.cache.fail = fail_always
    source = fleet.source()
    keys_for(source, OLD)
    calls = fleet.cache.calls.total()
    for _ in range(20):
        source.fleet.load_failure()
    assert fleet.cache.calls.total() == calls
    clock.time += 2
    source.fleet.load_failure()
    assert fleet.cache.calls.total() == calls + 1


def test_without_a_cache_a_process_keeps_the_cooldown_for_itself(fleet, issuer, clock):
    fleet.cache.fail = fail_always
    source = fleet.source()
    keys_for(source, OLD)
    for index in range(50):
        with pytest.raises(KeyNotFound):
            search(source, f"ins_{index}")
        clock.time += 0.5
    assert issuer.fetches == 2


def test_cache_that_comes_back_is_used_without_a_herd(fleet, issuer, clock):
    processes = [fleet.source() for _ in range(4)]
    for process in processes:
        keys_for(process, OLD)
    fleet.cache.fail = fail_always
    clock.time += 300
    for process in processes:
        assert keys_for(process, OLD)
    assert issuer.fetches == 1 + 4
    fleet.cache.flush()
    fleet.cache.fail = lambda method: None
    clock.time += 300
    for process in processes:
        assert keys_for(process, OLD)
    assert issuer.fetches == 1 + 4 + 1


def test_add_that_returns_none_means_no_cache(fleet, issuer):
    fleet.cache.add = lambda *arguments, **options: None
    assert keys_for(fleet.source(), OLD)
    assert issuer.fetches == 1


def test_cache_that_reads_and_does_not_write_is_no_outage(fleet, issuer, clock):
    source = fleet.source()
    keys_for(source, OLD)

    def read_only(method: str) -> None:
        if method != "get":
            raise ConnectionError("READONLY")

    fleet.cache.fail = read_only
    clock.time += 300
    assert keys_for(source, OLD)
    assert issuer.fetches == 2
    assert keys_for(fleet.source(), OLD)


# Threads, forks, accidents


def test_no_thread_to_be_had_leaves_the_snapshot_in_use(source, spawn, clock):
    def refuse(work):
        raise RuntimeError("can't start new thread")

    spawn.how = refuse
    clock.time += 300
    assert keys_for(source, OLD)
    with pytest.raises(KeyNotFound):
        search(source, "ins_nobody")


def test_flight_that_hangs_is_left_behind_and_the_cache_with_it(fleet, issuer, clock, spawn):
    fleet.config = replace(fleet.config, jwks_local_seconds=1)
    source = fleet.source(spawn=spawn)
    keys_for(source, OLD)
    stuck: list[object] = []
    spawn.how = stuck.append
    clock.time += 300
    keys_for(source, OLD)
    spawn.how = run
    clock.time += 14
    keys_for(source, OLD)
    assert issuer.fetches == 1
    clock.time += 1
    keys_for(source, OLD)
    assert issuer.fetches == 2
    assert source.status().is_cache_avoided
    stuck[0]()
    assert not source.status().is_cache_avoided


def test_defect_in_a_flight_is_logged_and_leaves_the_snapshot(source, issuer, clock, caplog):
    def explode() -> None:
        raise ZeroDivisionError

    issuer.during = explode
    clock.time += 300
    assert keys_for(source, OLD)
    assert "clerk_auth.keys_flight_failed error=ZeroDivisionError" in caplog.text
    issuer.during = lambda: None
    clock.time += 15
    keys_for(source, OLD)
    assert source.status().state == "fresh"


def test_forked_child_keeps_the_snapshot_and_nothing_else(source):
    desk = source._desk
    desk._lock.acquire()
    desk.places["key_id"].acquire()
    desk.start_without_threads()
    assert desk._lock.acquire(blocking=False)
    assert keys_for(source, OLD)


def test_cold_threads_of_a_process_share_one_flight(fleet, issuer):
    source = fleet.source(spawn=lambda work: threading.Thread(target=work).start())
    barrier = threading.Barrier(16)
    found: list[object] = []

    def ask() -> None:
        barrier.wait()
        found.append(keys_for(source, OLD))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found)
    assert len(found) == 16
    assert issuer.fetches == 1


# What is told


def test_counters_follow_lookups_and_fetches(source, issuer, clock):
    keys_for(source, "ins_nobody")
    issuer.failure = "tls"
    clock.time += 300
    keys_for(source, OLD)
    totals = metrics.totals()
    assert totals["jwks_cache_hits",] == 1
    assert totals["jwks_cache_misses",] == 2
    assert totals["jwks_fetch_errors", "tls"] == 1
    assert totals["jwks_stale_uses",] == 1
    assert totals["jwks_fetched_timestamp_seconds",] == clock.time - 300
    assert totals["jwks_expiry_timestamp_seconds",] == clock.time - 300 + 86400


def test_skipped_keys_are_counted_and_the_others_used(fleet, issuer, old):
    import json

    issuer.body = json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, old.jwk]}).encode()
    assert keys_for(fleet.source(), OLD)
    assert metrics.totals()["jwks_keys_skipped", "key_type"] == 1


def test_status_reads_memory_alone(source, fleet):
    calls = fleet.cache.calls.total()
    status = source.status()
    assert status.state == "fresh"
    assert status.expires_at == status.fetched_at + 86400
    assert fleet.cache.calls.total() == calls


# A caller that does not wait


@pytest.fixture
def flights(source, spawn) -> list:
    """Flights of ``source`` that were started, and fly when the test runs them."""
    started: list = []
    spawn.how = started.append
    return started


def test_who_does_not_wait_is_told_that_the_first_look_has_not_ended(fleet, issuer):
    started: list = []
    source = fleet.source(spawn=started.append)
    for _ in range(3):
        with pytest.raises(KeysBusy):
            keys_for(source.unwaiting(), OLD)
    (flight,) = started
    flight()
    assert keys_for(source.unwaiting(), OLD)
    assert issuer.fetches == 1


def test_who_does_not_wait_is_told_that_fetching_fails(fleet, issuer):
    issuer.failure = "connection"
    source = fleet.source()
    for _ in range(2):
        with pytest.raises(KeysUnavailable) as caught:
            keys_for(source.unwaiting(), OLD)
        assert caught.value.code == "keys_unavailable"


@pytest.mark.parametrize(("age", "usable"), [(86399, True), (86400, False), (86401, False)])
def test_who_does_not_wait_never_uses_a_set_past_max_age(source, flights, clock, age, usable):
    clock.time += age
    if usable:
        assert keys_for(source.unwaiting(), OLD)
    else:
        with pytest.raises(KeysBusy):
            keys_for(source.unwaiting(), OLD)
    assert len(flights) == 1


def test_unknown_kid_is_not_denied_before_the_look_has_ended(source, flights, issuer, new):
    issuer.signers.append(new)
    for _ in range(3):
        with pytest.raises(KeysBusy):
            search(source.unwaiting(), NEW)
    (flight,) = flights
    flight()
    assert thumbprints(search(source.unwaiting(), NEW)) == [new.verifying_key.thumbprint]


def test_unknown_kid_is_not_denied_while_its_fetch_is_under_way(source, issuer):
    asked: list = []

    def ask() -> None:
        with pytest.raises(KeysBusy) as caught:
            search(source.unwaiting(), NEW)
        asked.append(caught.value.code)

    issuer.during = ask
    with pytest.raises(KeyNotFound):
        search(source.unwaiting(), NEW)
    assert asked == ["keys_busy"]


@pytest.mark.parametrize(("seconds", "error"), [(29, KeyNotFound), (30, KeysBusy), (31, KeysBusy)])
def test_last_fetch_answers_who_does_not_wait_for_its_cooldown(
    source, flights, clock, seconds, error
):
    with pytest.raises(KeysBusy):
        search(source.unwaiting(), NEW)
    flights.pop()()
    clock.time += seconds
    with pytest.raises(error):
        search(source.unwaiting(), NEW)
    assert len(flights) == 1


def test_bad_signature_is_not_denied_before_the_look_has_ended(
    source, flights, issuer, replacement
):
    tried = keys_for(source, OLD)
    issuer.signers[:] = [replacement]
    for _ in range(3):
        with pytest.raises(KeysBusy):
            keys_after(source.unwaiting(), OLD, tried)
    (flight,) = flights
    flight()
    found = keys_after(source.unwaiting(), OLD, tried)
    assert thumbprints(found) == [replacement.verifying_key.thumbprint]
    assert keys_after(source.unwaiting(), OLD, found) == ()


def test_looks_of_who_does_not_wait_are_as_few_as_anybodys(source, issuer, clock):
    for _ in range(50):
        with pytest.raises((KeyNotFound, KeysBusy)):
            search(source.unwaiting(), NEW)
        clock.time += 0.1
    assert issuer.fetches == 2
