"""Rules and dashboard on a real Prometheus, which scrapes real web servers until alarms fire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.issuer.standin import Answer, StandInClerk
from project.demo.environment import AUTHORIZED_PARTY
from tests.monitoring.processes import Api, Prometheus, run_api, run_prometheus, wait_for
from tests.monitoring.test_dashboard import QUERIES, fill_in

pytestmark = pytest.mark.integration

# Whatever runs in between, because the order is random: panels still see what was sent.
INTERVAL = "5m"
FAILS = {
    ("ClerkAuthUnavailable", "failing"),
    ("ClerkAuthKeysExpire", "failing"),
    ("ClerkAuthUnauthorizedShare", "failing"),
    ("ClerkAuthFetchErrors", "failing"),
}


def wait_for_first_scrape(prometheus: Prometheus, *jobs: str) -> None:
    """Wait for series at 0: what is counted before the first scrape, no query sees grow."""
    for job in jobs:
        query = f"""
            up{{job="{job}"}} == 1 and on (job) clerk_auth_responses_total{{status="503"}} == 0
        """
        wait_for(lambda query=query: prometheus.has(query), f"{job} is scraped")
    # Until then nobody had reported, and there is an alarm for that.
    wait_for(lambda: prometheus.alarms() == set(), "no alarm is left")


@pytest.fixture(scope="module")
def prometheus(prometheus_program, tmp_path_factory) -> Iterator[Prometheus]:
    """A Prometheus with two jobs: one that serves good traffic, and one where all goes wrong."""
    directory = tmp_path_factory.mktemp("live")
    with (
        run_api(directory / "well") as well,
        run_api(directory / "failing", "tests.monitoring.settings") as failing,
        run_prometheus(
            prometheus_program,
            directory / "prometheus",
            {"well": [well.address], "failing": [failing.address]},
        ) as server,
    ):
        wait_for_first_scrape(server, "well", "failing")
        serve_well(server, well)
        let_fail(server, well, failing)
        yield server


def serve_well(prometheus: Prometheus, well: Api) -> None:
    """Send good traffic until a window has seen plenty of it; no alarm goes off."""

    def is_plenty() -> bool:
        assert [well.ask() for _ in range(5)] == [200] * 5
        assert prometheus.alarms("firing") == set()
        return prometheus.has('increase(jwt_verifications_success_total{job="well"}[15s]) > 50')

    wait_for(is_plenty, "good traffic is counted")


def let_fail(prometheus: Prometheus, well: Api, failing: Api) -> None:
    """Send all that alarms are for, beside good traffic, until they have fired."""
    # Both workers hold keys, before Clerk is gone and tokens of another key arrive.
    assert {failing.ask() for _ in range(20)} == {200}
    failing.clerk.respond = lambda path: Answer(status=500)
    stranger = LocalIssuer.generate(failing.clerk.issuer, kid="ins_another")
    unknown = stranger.token(azp=AUTHORIZED_PARTY, expires_in=600)

    def have_fired() -> bool:
        assert well.ask() == failing.ask() == 200
        assert failing.ask(expires_in=-60) == 401
        assert failing.send(unknown) == 503
        return prometheus.alarms("firing") >= FAILS

    wait_for(have_fired, "every alarm fires")


def test_alarms_fire_where_things_fail_and_nowhere_else(prometheus):
    assert prometheus.alarms("firing") <= FAILS


@pytest.mark.parametrize("query", QUERIES)
def test_panel_shows_something(prometheus, query):
    assert prometheus.has(fill_in(query, job="well|failing", interval=INTERVAL))


SEVERAL_FAIL = {
    ("ClerkAuthUnavailable", "several"),
    ("ClerkAuthKeysExpire", "several staff"),
    ("ClerkAuthRefusedShare", "several staff"),
    ("ClerkAuthFetchErrors", "several staff"),
}


@pytest.fixture(scope="module")
def several(prometheus_program, tmp_path_factory) -> Iterator[Prometheus]:
    """A Prometheus with an API of two Clerk instances; all goes wrong for the smaller one."""
    directory = tmp_path_factory.mktemp("several")
    with ExitStack() as stack:
        staff = stack.enter_context(StandInClerk())
        environment = {"CLERK_STAFF_ISSUER": staff.issuer, "CLERK_STAFF_JWKS_URL": staff.jwks_url}
        api = stack.enter_context(
            run_api(directory / "api", "tests.monitoring.several", **environment)
        )
        targets = {"several": [api.address]}
        server = stack.enter_context(
            run_prometheus(prometheus_program, directory / "prometheus", targets)
        )
        wait_for_first_scrape(server, "several")
        assert {api.ask() for _ in range(20)} == {api.ask(staff) for _ in range(20)} == {200}
        staff.respond = lambda path: Answer(status=500)
        stranger = LocalIssuer.generate(staff.issuer, kid="ins_another")
        unknown = stranger.token(azp=AUTHORIZED_PARTY, expires_in=600)

        def have_fired() -> bool:
            assert {api.ask() for _ in range(20)} == {api.ask(staff)} == {200}
            assert api.ask(staff, expires_in=-60) == 401
            assert api.send(unknown) == 503
            fired = server.alarms("firing")
            # Of all responses too few are 401 for the alarm of the whole project.
            assert fired <= SEVERAL_FAIL
            return fired == SEVERAL_FAIL

        wait_for(have_fired, "every alarm of the smaller instance fires")
        yield server


def test_alarms_of_one_instance_fire_although_the_others_are_well(several):
    assert several.alarms("firing") <= SEVERAL_FAIL


def test_series_of_an_instance_keep_the_name_of_their_target(several):
    for name in ("jwt_verifications_success_total", "jwks_fetched_timestamp_seconds"):
        found = several.query(f'group by (instance, exported_instance) ({name}{{job="several"}})')
        assert {one["metric"]["exported_instance"] for one in found} == {"default", "staff"}
        (target,) = {one["metric"]["instance"] for one in found}
        assert several.has(f'up{{instance="{target}"}}')
    assert not several.has('clerk_auth_responses_total{exported_instance!=""}')


def test_label_is_absent_where_there_is_one_instance(prometheus):
    assert not prometheus.has('{exported_instance!="",__name__=~".+"}')


@pytest.mark.parametrize(
    ("instance", "shown"),
    [("default", {"default"}), ("staff", {"staff"}), (".*", {"default", "staff"})],
)
def test_panels_show_the_instances_that_are_chosen(several, instance, shown):
    labels = set()
    for query in (parameters.values[0] for parameters in QUERIES):
        found = several.query(fill_in(query, job="several", interval=INTERVAL, instance=instance))
        # Nothing is refused for the other.
        assert found or instance == "default", query
        labels |= {one["metric"].get("exported_instance") for one in found}
    assert labels - {None} == shown


def test_server_that_stops_is_missed(prometheus_program, tmp_path):
    with ExitStack() as stack:
        api = stack.enter_context(run_api(tmp_path / "api"))
        targets = {"api": [api.address]}
        with run_prometheus(prometheus_program, tmp_path / "prometheus", targets) as server:
            wait_for_first_scrape(server, "api")
            stack.close()
            missed = {("ClerkAuthMetricsLost", "api"), ("ClerkAuthMetricsAbsent", "")}
            wait_for(lambda: server.alarms("firing") == missed, "the server is missed")
