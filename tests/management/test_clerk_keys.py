"""The operator's look at the shared keys, and the fetch for the whole fleet."""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Iterator

import pytest
from django.core.cache import caches
from django.core.cache.backends.filebased import FileBasedCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from clerk_auth.conf import get_config
from clerk_auth.diagnostics.shared_keys import refresh_fleet
from clerk_auth.jwks.breaker import SLOW_SECONDS
from clerk_auth.jwks.wiring import make_source
from clerk_auth.verifier import get_verifier
from tests.commands import run_command
from tests.conftest import PARTY
from tests.fleet import Fleet, ScriptedIssuer
from tests.issuer_server import IssuerServer, answer
from tests.tenants import change_staff, serve_staff

pytestmark = pytest.mark.integration

DEAD_REDIS = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": "redis://127.0.0.1:1/0",
    "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.2, "SOCKET_TIMEOUT": 0.2},
}
OF_ONE_PROCESS = ["locmem.LocMemCache", "dummy.DummyCache"]


class FullCache(FileBasedCache):
    """Reads, and refuses to write: as a Redis that is full."""

    def set(self, *args, **kwargs):
        raise OSError("OOM command not allowed")

    add = set


class MuteCache(FileBasedCache):
    """Takes writes, and answers no read: as to a user who may not GET."""

    def get(self, *args, **kwargs):
        raise PermissionError


class PartialCache(FileBasedCache):
    """Refers to another server for the document alone: as a node of a cluster."""

    def _refer(self, key, *args, **kwargs):
        if key.endswith(":document"):
            raise ConnectionRefusedError("MOVED 1 127.0.0.1:2")

    def get(self, key, *args, **kwargs):
        self._refer(key)
        return super().get(key, *args, **kwargs)

    def set(self, key, *args, **kwargs):
        self._refer(key)
        super().set(key, *args, **kwargs)

    def has_key(self, key, *args, **kwargs):
        self._refer(key)
        return super().has_key(key, *args, **kwargs)


class ColdCache(FileBasedCache):
    """Its first call imports a client and connects; its document cannot be decoded."""

    warm_up = True

    def _connect(self):
        if type(self).warm_up:
            type(self).warm_up = False
            time.sleep(SLOW_SECONDS)

    def get(self, key, *args, **kwargs):
        self._connect()
        value = super().get(key, *args, **kwargs)
        if value == "undecodable":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return value

    def has_key(self, *args, **kwargs):
        self._connect()
        return super().has_key(*args, **kwargs)


class ForgetfulCache(FileBasedCache):
    """Takes what it is given, and keeps what it had."""

    def set(self, *args, **kwargs):
        """Do nothing."""


@pytest.fixture(autouse=True)
def shared_cache(settings, tmp_path):
    """A cache that other processes see."""
    settings.CACHES = {"default": file_cache(tmp_path, FileBasedCache)}


def file_cache(path, cls: type) -> dict[str, str]:
    return {"BACKEND": f"{cls.__module__}.{cls.__qualname__}", "LOCATION": str(path)}


def run(*arguments: str) -> tuple[int, str]:
    out, status = io.StringIO(), 0
    try:
        call_command("clerk_keys", "--no-color", *arguments, stdout=out)
    except SystemExit as end:
        status = end.code
    return status, out.getvalue()


def test_status_without_shared_keys_fails_and_names_the_remedy(configured):
    status, out = run("status")
    assert status == 1
    assert "state       cold" in out
    assert "clerk_keys refresh" in out
    assert configured.fetches == 0


def test_empty_cache_does_not_read_as_an_outage(configured):
    first, *_ = lines = run("status")[1].splitlines()
    assert first == (
        "cache       holds no key set: as before the first request, and after Redis was restarted "
        "or emptied"
    )
    assert "processes   may hold keys of their own, and go on with them" in lines
    assert json.loads(run("status", "--json")[1])["problem"] == "cache_empty"


def test_refresh_shares_the_keys_with_every_process(configured):
    status, out = run("refresh")
    assert status == 0
    assert "cache       refreshed, and read back" in out
    assert (
        "Processes that have requests take it in 15 s, or in 45 s where the cache has just failed "
        "them."
    ) in out
    assert get_verifier().verify(configured.signer.token(azp=PARTY))
    assert configured.fetches == 1


def test_status_shows_what_the_fleet_shares_without_a_fetch(configured):
    run("refresh")
    status, out = run("status")
    assert status == 0
    assert out.splitlines()[0] == "state       fresh"
    assert f"kid {configured.signer.kid}" in out
    assert configured.signer.verifying_key.thumbprint in out
    assert "expires     in 24 h 0 min" in out or "expires     in 23 h 59 min" in out
    assert configured.fetches == 1


def test_refresh_takes_a_rotated_key_past_the_cooldown(configured):
    verifier = get_verifier()
    verifier.verify(configured.signer.token(azp=PARTY))
    for kid in ("ins_first", "ins_second"):
        configured.rotate(kid)
        assert run("refresh")[0] == 0
    assert run("status")[1].count("ins_second") == 1
    assert configured.fetches == 3


def test_refresh_that_fails_leaves_the_keys_and_says_why(configured):
    run("refresh")
    configured.script = answer(b"", status="503 Service Unavailable")
    status, out = run("refresh")
    assert status == 1
    assert "cache       was not changed: the fetch failed" in out
    assert "state       degraded" in out
    assert "failing     status, 1 in a row" in out
    assert configured.signer.kid in out
    status, out = run("status")
    assert status == 0
    assert "failing     status" in out


def test_refresh_goes_past_the_pause_after_failures(configured):
    configured.script = answer(b"", status="503 Service Unavailable")
    for _ in range(3):
        assert run("refresh")[0] == 1
    assert configured.fetches == 3
    configured.script = None
    assert run("refresh")[0] == 0
    assert "failing" not in run("status")[1]


# What no other process can hear of


@pytest.mark.parametrize("backend", OF_ONE_PROCESS)
@pytest.mark.parametrize("action", ["refresh", "status"])
def test_cache_of_one_process_fails_and_says_so(configured, settings, backend, action):
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    status, out = run(action)
    assert status == 1
    name = backend.partition(".")[2]
    assert f"cache       {name} belongs to one process: others do not see what is in it" in out
    assert "Restart the processes" in out
    assert configured.fetches == (action == "refresh")


def test_refresh_while_somebody_else_holds_the_lock_fails_and_fetches_nothing(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "JWKS_TIMEOUT_SECONDS": 1}
    run("refresh")
    holder = make_source(get_config()).fleet
    assert holder.acquire(lease_seconds=60)
    configured.rotate("ins_new")
    status, out = run("refresh")
    assert status == 1
    assert "was not changed: another process holds the lock, and nothing was fetched" in out
    assert "ins_new" not in out
    assert configured.fetches == 1


def test_set_that_another_process_fetches_meanwhile_is_not_this_refresh(local_issuer, clock):
    """It may have been fetched before the key was taken out at Clerk."""
    issuer = ScriptedIssuer(local_issuer)
    fleet = Fleet(issuer, clock)
    other, holder = fleet.source(), fleet.shared()
    lock = holder.acquire(lease_seconds=60)

    def publish() -> None:
        holder.release(lock)
        other.refresh()
        assert holder.acquire(lease_seconds=60)

    refresh = refresh_fleet(fleet.source(clock=_PublishingClock(clock, publish)))
    assert refresh.outcome == "locked"
    assert refresh.status.keys
    assert issuer.fetches == 1


class _PublishingClock:
    """A clock whose first sleep has something happen elsewhere."""

    def __init__(self, clock, happen) -> None:
        self.now, self.monotonic, self._sleep, self._happen = (
            clock.now,
            clock.monotonic,
            clock.sleep,
            happen,
        )

    def sleep(self, seconds: float) -> None:
        happen, self._happen = self._happen, lambda: None
        happen()
        self._sleep(seconds)


@pytest.mark.parametrize("cls", [FullCache, ForgetfulCache])
def test_refresh_that_the_cache_does_not_take_fails(configured, settings, tmp_path, cls):
    run("refresh")
    settings.CACHES = {"default": file_cache(tmp_path, cls)}
    configured.rotate("ins_new")
    status, out = run("refresh")
    assert status == 1
    assert "cache       does not give back what was fetched: " in out
    assert "Repair or empty the cache" in out
    assert configured.fetches == 2
    settings.CACHES = {"default": file_cache(tmp_path, FileBasedCache)}
    assert "ins_new" not in run("status")[1]


@pytest.mark.parametrize("ignore", [False, True])
def test_cache_that_cannot_be_used_is_told(configured, settings, ignore):
    options = {**DEAD_REDIS["OPTIONS"], "IGNORE_EXCEPTIONS": ignore}
    settings.CACHES = {"default": {**DEAD_REDIS, "OPTIONS": options}}
    error = "add_without_effect" if ignore else "ConnectionError"
    status, out = run("status")
    assert status == 1
    assert out.splitlines()[0] == f"cache       cannot be used: {error}"
    assert "Check CACHES['default'] and its server" in out
    assert "processes   may hold keys of their own" in out
    assert "clerk_keys refresh" not in out
    document = json.loads(run("status", "--json")[1])
    assert document["is_cache_avoided"] is True
    assert (document["cache_error"], document["problem"]) == (error, "cache_unusable")
    assert configured.fetches == 0
    status, out = run("refresh")
    assert status == 1
    assert f"cache       does not give back what was fetched: {error}" in out
    assert configured.signer.kid in out


@pytest.mark.parametrize(
    ("cls", "error"), [(MuteCache, "PermissionError"), (PartialCache, "ConnectionRefusedError")]
)
def test_cache_that_gives_no_document_is_told_by_its_error(
    configured, settings, tmp_path, cls, error
):
    settings.CACHES = {"default": file_cache(tmp_path, cls)}
    assert f"cache       does not give back what was fetched: {error}" in run("refresh")[1]
    status, out = run("status")
    assert (status, out.splitlines()[0]) == (1, f"cache       cannot be used: {error}")
    document = json.loads(run("status", "--json")[1])
    assert (document["is_cache_avoided"], document["cache_error"]) == (True, error)


@pytest.mark.parametrize("action", ["status", "refresh"])
def test_document_that_cannot_be_decoded_is_no_fault_of_a_client_that_starts(
    configured, settings, tmp_path, action
):
    run("refresh")
    settings.CACHES = {"default": file_cache(tmp_path, ColdCache)}
    caches["default"].set(f"{make_source(get_config()).fleet._prefix}:document", "undecodable")
    ColdCache.warm_up = True
    status, out = run(action)
    told = "refreshed, and read back"
    if action == "status":
        told = "holds a key set that is not used: unreadable"
    assert out.startswith(f"cache       {told}")
    assert status == (action == "status")


@pytest.mark.parametrize("value", ["forged\x1b[31m", b"\xff", 7, None])
def test_document_that_is_not_ours_is_told_and_replaced(configured, value):
    name = f"{make_source(get_config()).fleet._prefix}:document"
    caches["default"].set(name, value)
    status, out = run("status")
    assert status == 1
    assert out.startswith("cache       holds a key set that is not used: ")
    assert "\x1b" not in out
    assert run("refresh")[0] == 0
    assert run("status")[0] == 0


def test_forged_failure_is_not_printed(configured):
    run("refresh")
    name = f"{make_source(get_config()).fleet._prefix}:failure"
    for failure in (["\x1b[31mowned", 1, 2e9], ["status", 10**6, 2e9], ["status", 1, 1e300]):
        caches["default"].set(name, json.dumps(failure))
        status, out = run("status")
        assert (status, "failing" in out, "owned" in out) == (0, False, False)


def test_json_is_one_document(configured):
    run("refresh")
    status, out = run("status", "--json")
    document = json.loads(out)
    assert status == 0
    assert document["schema_version"] == 1
    assert document["state"] == "fresh"
    assert document["failure"] is None
    assert document["problem"] is None
    assert document["expires_at"] - document["fetched_at"] == 86400
    (key,) = document["keys"]
    assert key["kid"] == configured.signer.kid
    assert "n" not in key


# Nothing to share


def test_configured_key_is_shown_and_not_fetched(settings, local_issuer):
    settings.CLERK_AUTH = {"ISSUER": local_issuer.issuer, "JWT_KEY": local_issuer.public_pem}
    status, out = run("status")
    assert (status, "state       static" in out) == (0, True)
    assert local_issuer.verifying_key.thumbprint in out
    refused = run_command("clerk_keys", "refresh")
    assert (refused.status, refused.out) == (2, "")
    assert "There is nothing to refresh: these keys come from the settings." in refused.err
    assert "cannot be had" not in refused.err
    assert "restart every process" in refused.err
    assert "come from the settings" in json.loads(run("refresh", "--json")[1])["error"]


@pytest.mark.parametrize(
    "backend", ["django.core.cache.backends.filebased.FileBasedCache", "gone.Cache"]
)
def test_backend_that_cannot_be_made_is_a_cache_that_cannot_be_used(configured, settings, backend):
    """As where the file system is gone; a process then fetches for itself."""
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": os.devnull}}
    error = "InvalidCacheBackendError" if backend == "gone.Cache" else "FileExistsError"
    status, out = run("status")
    assert (status, out.splitlines()[0]) == (1, f"cache       cannot be used: {error}")
    status, out = run("refresh")
    assert status == 1
    assert f"cache       does not give back what was fetched: {error}" in out


def test_wrong_settings_stop_it(settings):
    settings.CLERK_AUTH = {}
    status, out = run("status", "--json")
    assert (status, "FRONTEND_API" in json.loads(out)["error"]) == (2, True)


# Several instances


@pytest.fixture
def staff(configured, settings) -> Iterator[IssuerServer]:
    with serve_staff(settings) as server:
        yield server


def sections(out: str) -> dict[str, str]:
    """Return what stands below the heading of each instance."""
    start, *parts = re.split(r"^instance (\w+)\n", out, flags=re.MULTILINE)
    assert start == ""
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_keys_of_every_instance_are_refreshed_and_shown(configured, staff):
    assert run("status")[0] == 1
    status, out = run("refresh")
    assert status == 0
    assert all("cache       refreshed, and read back" in text for text in sections(out).values())
    status, out = run("status")
    assert (status, list(sections(out))) == (0, ["default", "staff"])
    for alias, server in (("default", configured), ("staff", staff)):
        assert "state       fresh" in sections(out)[alias]
        assert server.signer.verifying_key.thumbprint in sections(out)[alias]
        assert sections(out)[alias].count("key         ") == 1
        assert server.fetches == 1


@pytest.mark.parametrize("broken", ["default", "staff"])
def test_instance_whose_fetch_fails_fails_the_refresh_and_stops_no_other(broken, configured, staff):
    servers = {"default": configured, "staff": staff}
    servers.pop(broken).stop()
    ((healthy, server),) = servers.items()
    status, out = run("refresh")
    assert status == 1
    assert "refreshed, and read back" in sections(out)[healthy]
    assert "was not changed: the fetch failed" in sections(out)[broken]
    server.rotate("ins_new")
    status, out = run("refresh", "--json")
    document = json.loads(out)
    assert (status, document["schema_version"], document["passed"]) == (1, 1, False)
    assert list(document) == ["schema_version", "passed", "instances"]
    problems = {alias: each["problem"] for alias, each in document["instances"].items()}
    assert problems == {healthy: None, broken: "fetch_failed"}
    (key,) = document["instances"][healthy]["keys"]
    assert key["kid"] == "ins_new"
    assert [run("status", "--instance", alias)[0] for alias in (healthy, broken)] == [0, 1]


def test_instance_that_cannot_be_made_is_the_worst_and_hides_no_other(staff, settings):
    change_staff(settings, CACHE_ALIAS="gone")
    status, out = run("refresh")
    assert status == 2
    assert "refreshed, and read back" in sections(out)["default"]
    assert sections(out)["staff"].startswith(
        "error       CLERK_AUTH['INSTANCES.staff.CACHE_ALIAS']"
    )
    status, out = run("status", "--json")
    instances = json.loads(out)["instances"]
    assert (status, instances["default"]["state"]) == (2, "fresh")
    assert set(instances["staff"]) == {"schema_version", "error"}
    assert run("status", "--instance", "default")[0] == 0
    with pytest.raises(ImproperlyConfigured):
        run("status", "--traceback")


def test_option_refreshes_one_instance(configured, staff):
    status, out = run("refresh", "--instance", "staff")
    assert (status, list(sections(out))) == (0, ["staff"])
    assert (configured.fetches, staff.fetches) == (0, 1)
    document = json.loads(run("status", "--instance", "staff", "--json")[1])
    assert (document["passed"], list(document["instances"])) == (True, ["staff"])


def test_keys_of_the_settings_are_passed_over_beside_those_that_are_fetched(
    configured, staff, settings, local_issuer
):
    change_staff(settings, JWKS_URL=None, JWT_KEY=local_issuer.public_pem)
    status, out = run("refresh")
    assert status == 0
    assert "cache       is not used: these keys come from the settings" in sections(out)["staff"]
    assert "read back" not in sections(out)["staff"]
    assert run("status")[0] == 0
    done = run_command("clerk_keys", "refresh", "--instance", "staff")
    assert (done.status, done.err) == (2, "")
    assert "There is nothing to refresh" in sections(done.out)["staff"]


def test_nothing_to_refresh_in_any_instance_ends_it_with_two(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True, "INSTANCES": {"staff": {}}}
    status, out = run("refresh")
    assert status == 2
    assert out.count("There is nothing to refresh") == 2


def test_instance_that_is_not_there_ends_it_with_two(staff):
    done = run_command("clerk_keys", "status", "--instance", "custommers")
    assert (done.status, done.out) == (2, "")
    assert "CLERK_AUTH has no instance 'custommers'. It has: default, staff." in done.err


@pytest.mark.parametrize("arguments", [[], ["--instance", "default"]])
def test_only_instance_is_not_spoken_of(configured, arguments):
    run("refresh")
    status, out = run("status", *arguments)
    assert (status, out.splitlines()[0]) == (0, "state       fresh")
    assert "instances" not in json.loads(run("status", "--json", *arguments)[1])
