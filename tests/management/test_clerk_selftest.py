"""The self-test as an operator runs it: what is printed, and the exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings

from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.development import DEV_DIRECTORY
from project.demo.environment import inherit_environment
from tests.api_server import serve_api
from tests.commands import Outcome, run_command
from tests.conftest import PARTY
from tests.issuer_server import IssuerServer, answer
from tests.tenants import STAFF_PARTY, change_staff, serve_staff
from tests.terminals import run_at_terminal, without_colours

pytestmark = pytest.mark.integration

TOKEN = re.compile(r"eyJ[\w-]+\.")


def run(*arguments: str, **options: str) -> Outcome:
    return run_command("clerk_selftest", *arguments, **options)


def run_process(*arguments: str, **environment: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "manage.py", "clerk_selftest", *arguments],
        cwd=django_settings.BASE_DIR,
        env={**inherit_environment(), **environment},
        capture_output=True,
        timeout=60,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def environment_of(server: IssuerServer) -> dict[str, str]:
    return {
        "CLERK_ISSUER": server.issuer,
        "CLERK_JWKS_URL": server.jwks_url,
        "CLERK_AUTHORIZED_PARTIES": PARTY,
        "PYTHONIOENCODING": "utf-8",
    }


# Text


def test_passing_run_ends_with_a_summary(configured):
    done = run()
    assert (done.status, done.err) == (0, "")
    *_, summary = done.out.splitlines()
    assert re.fullmatch(
        r"The lock is locked: \d+ passed, 1 warning, 0 failed, 1 skipped\.", summary
    )
    for bad in BAD_TOKENS.values():
        assert bad.title in done.out
    key = configured.signer.verifying_key
    assert f"kid ins_server  RSA 2048  sig RS256  thumbprint {key.thumbprint}" in done.out
    assert not TOKEN.search(done.out)
    assert "BEGIN" not in done.out


def test_summary_says_that_the_lock_is_not_in_use_while_observing(settings, key_configured):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "MODE": "observe"}
    done = run()
    assert done.status == 0
    assert "Verdicts decide nothing until MODE is enforce" in done.out
    assert done.out.splitlines()[-1].startswith(
        "The lock is locked but not in use, because MODE is observe: "
    )


def test_failing_run_names_what_to_do(configured):
    configured.script = answer(b"<html>")
    done = run()
    assert done.status == 1
    *lines, summary = done.out.splitlines()
    (failed,) = (number for number, line in enumerate(lines) if line.startswith("  ✗"))
    assert configured.jwks_url in lines[failed]
    assert "FRONTEND_API or JWKS_URL" in lines[failed + 1]
    assert summary.startswith("NOT READY: ")
    assert ", 1 failed, " in summary


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_marks_are_written_as_the_terminal_can(key_configured, encoding):
    out = run(encoding=encoding).out
    passed, other = ("✓", "ok") if encoding == "utf-8" else ("ok", "✓")
    assert f"  {passed} good token" in out
    assert f"  {other} good token" not in out


@pytest.mark.parametrize("kid", ["ключ", "ins_\x1b[2J\x1b]0;owned\x07", "ins_\n  ok all is well"])
def test_hostile_key_id_neither_breaks_nor_steers_the_terminal(configured, kid):
    configured.signers = [configured.signer.acting_as(configured.issuer, kid=kid)]
    done = run(encoding="ascii")
    assert done.status == 0
    assert all(line.isprintable() for line in done.out.splitlines())
    assert kid not in done.out


def test_quiet_run_prints_one_line(configured):
    done = run("--verbosity", "0")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"The lock is locked: .* skipped\.\n", done.out)
    configured.stop()
    done = run("-v", "0", "--wait", "1.5")
    assert (done.status, done.err) == (1, "")
    assert re.fullmatch(
        r"NOT READY: .* skipped\. First: key set, fetch: .*: connection\.\n", done.out
    )


def test_lines_fit_the_terminal_and_are_coloured(issuer_server):
    environment = {**inherit_environment(), **environment_of(issuer_server)}
    status, shown = run_at_terminal("clerk_selftest", environment=environment, columns=40)
    assert status == 0, shown
    assert "\x1b[" in shown
    lines = without_colours(shown)
    assert all(len(line) <= 40 or len(line.split()) == 1 for line in lines), shown
    key = issuer_server.signer.verifying_key
    for whole in (issuer_server.jwks_url, "token_class_not_accepted", key.thumbprint):
        assert whole in shown


def test_colours_are_left_out_where_nobody_wants_them(issuer_server):
    environment = {**inherit_environment(), **environment_of(issuer_server), "NO_COLOR": "1"}
    status, shown = run_at_terminal("clerk_selftest", "--offline", environment=environment)
    assert status == 0, shown
    assert "\x1b[" not in shown


# JSON


def test_json_is_one_document_and_nothing_else(configured):
    done = run("--json")
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["passed"]
    statuses = [probe["status"] for probe in document["probes"]]
    assert document["counts"] == {
        status: statuses.count(status) for status in ("passed", "warning", "failed", "skipped")
    }
    assert [key["kid"] for key in document["keys"]] == ["ins_server"]
    assert {probe["status"] for probe in document["probes"]} == {"passed", "warning", "skipped"}


def test_json_of_a_failing_run_says_so(configured):
    configured.stop()
    done = run("--json")
    document = json.loads(done.out)
    assert (done.status, document["passed"]) == (1, False)
    (failed,) = (probe for probe in document["probes"] if probe["status"] == "failed")
    assert (failed["group"], failed["name"]) == ("key set", "fetch")
    assert failed["remedy"]


# What cannot run


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--offline"], ["--wait", "60"]])
def test_wrong_settings_end_it_at_once_with_two(settings, arguments):
    settings.CLERK_AUTH = {"FRONTEND_API": "https://clerk.example.com", "LEEWAY_SECONDS": 61}
    done = run(*arguments)
    assert done.status == 2
    for said in ("FRONTEND_API", 'Write "clerk.example.com"', "LEEWAY_SECONDS"):
        assert said in done.err
    if "--json" in arguments:
        document = json.loads(done.out)
        assert (document["schema_version"], document["passed"]) == (1, False)
        assert "LEEWAY_SECONDS" in document["error"]
    else:
        assert done.out == ""


def test_missing_setting_ends_it_with_two(settings):
    del settings.CLERK_AUTH
    done = run()
    assert done.status == 2
    assert "FRONTEND_API" in done.err


def test_key_file_that_cannot_be_read_ends_it_with_two(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    (tmp_path / DEV_DIRECTORY).mkdir()
    (tmp_path / DEV_DIRECTORY / "signing-key.pem").write_text("not a key")
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    done = run("--json")
    assert done.status == 2
    assert not json.loads(done.out)["passed"]


# Offline, and waiting


def test_offline_makes_no_request(configured):
    done = run("--offline")
    assert done.status == 0
    assert "offline" in done.out
    assert done.out.splitlines()[-1].endswith("; there are no keys yet.")
    assert configured.fetches == 0


@pytest.mark.parametrize("arguments", [[], ["--wait", "0.5"]])
def test_failure_is_final_where_there_is_no_time_to_try_again(configured, arguments):
    configured.script = answer(b"", status="503 Busy")
    assert run(*arguments).status == 1
    assert configured.fetches == 1


def test_waiting_ends_as_soon_as_everything_passes(configured):
    configured.script = answer(b"", status="503 Busy")

    def recover() -> None:
        while configured.fetches == 0:
            time.sleep(0.01)
        configured.script = None

    thread = threading.Thread(target=recover)
    thread.start()
    started_at = time.monotonic()
    done = run("--wait", "30")
    thread.join()
    assert done.status == 0
    assert configured.fetches == 2
    assert time.monotonic() - started_at < 10
    assert done.out.count("The lock is locked") == 1
    assert "NOT READY" not in done.out
    assert re.fullmatch(
        rf"try 1, (29|30) s left: key set, fetch: {configured.jwks_url}: status 503\n", done.err
    )


def test_ctrl_c_ends_the_waiting_without_a_traceback_or_a_report(issuer_server):
    """Progress is one line of the terminal, which is gone at the end."""
    issuer_server.stop()
    environment = {**inherit_environment(), **environment_of(issuer_server)}
    status, shown = run_at_terminal(
        *("clerk_selftest", "--wait", "60", "--json"),
        environment=environment,
        typed="\x03",
        after="try 1, ",
    )
    assert status == 130
    progress, blank, rest = shown.partition(f"\r{' ' * 79}\r")
    assert re.search(r"\rtry 1, (60|59) s left: key set, fetch: http", progress)
    assert "\n" not in progress
    assert blank
    assert rest.split() == ["Interrupted."]


@pytest.mark.parametrize("seconds", ["-1", "-0.001", "nan", "-nan", "inf", "-inf", "1e400"])
def test_time_that_cannot_be_waited_ends_it_with_two(key_configured, seconds):
    done = run(f"--wait={seconds}")
    assert (done.status, done.out) == (2, "")
    assert "--wait must be a number of seconds, 0 or more" in done.err
    assert "--wait" in json.loads(run(f"--wait={seconds}", "--json").out)["error"]


def test_reader_that_leaves_ends_it_without_a_traceback(issuer_server):
    """As ``head`` does; what is written goes to a pipe that nobody holds any more."""
    process = subprocess.Popen(
        [sys.executable, "-u", "manage.py", "clerk_selftest"],
        cwd=django_settings.BASE_DIR,
        env={**inherit_environment(), **environment_of(issuer_server)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_waiting_in_vain_ends_with_one(configured):
    configured.script = answer(b"", status="503 Busy")
    started_at = time.monotonic()
    done = run("--wait", "1.5", "--json")
    assert done.status == 1
    assert not json.loads(done.out)["passed"]
    assert configured.fetches == 2
    assert time.monotonic() - started_at < 5


# As a process


def test_log_is_in_the_output_where_it_is_asked_for(issuer_server):
    """It is not unless it is asked for: see below, where nothing is on standard error."""
    done = run_process("-v", "2", **environment_of(issuer_server))
    assert "clerk_auth.keys_changed" in done.err
    assert "clerk_auth.keys_changed" not in done.out


@pytest.mark.redis
def test_process_warms_the_cache_of_the_others(issuer_server, redis):
    environment = {**environment_of(issuer_server), "REDIS_URL": redis.url}
    environment["DJANGO_SECRET_KEY"] = "the-same-key-for-every-process-of-one-deployment-0123456789"
    done = run_process("--json", **environment)
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert {probe["status"] for probe in document["probes"]} <= {"passed", "skipped"}
    assert issuer_server.fetches == 1
    issuer_server.stop()
    done = run_process("--offline", "--json", **environment)
    assert done.status == 0
    assert [key["kid"] for key in json.loads(done.out)["keys"]] == ["ins_server"]


def test_process_ends_with_one_and_a_remedy_in_ascii_where_it_must_be(issuer_server):
    issuer_server.stop()
    done = run_process(**{**environment_of(issuer_server), "PYTHONIOENCODING": "ascii"})
    assert (done.status, done.err) == (1, "")
    assert "egress" in done.out
    assert "NOT READY" in done.out
    assert "  ok good token" in done.out
    assert done.out.isascii()


def test_process_without_settings_ends_with_two_and_repeats_no_token():
    done = run_process("--json", "--token", "eyJ.a.b", PYTHONIOENCODING="ascii")
    assert done.status == 2
    assert "FRONTEND_API" in json.loads(done.out)["error"]
    assert "Traceback" not in done.err
    assert "eyJ" not in done.out + done.err


def test_what_an_ascii_terminal_cannot_show_is_escaped(key_configured):
    url = "http://127.0.0.1:1/b\u00fccher"
    for more in ([], ["-v", "0"], ["--wait", "1.5"]):
        done = run("--url", url, *more, encoding="ascii")
        assert done.status == 1
        assert "http://127.0.0.1:1/b\\xfccher: connection" in done.out
    assert "http://127.0.0.1:1/b\\xfccher: connection" in done.err


# A token to explain


def test_token_is_explained_beside_the_probes(configured):
    done = run("--token", "-", given=configured.signer.token("user_shown", azp=PARTY))
    assert done.status == 0
    assert 'sub "user_shown"' in done.out
    assert "ACCEPTED: " in done.out
    assert done.out.splitlines()[-1].startswith("The lock is locked")
    assert done.out.splitlines()[-1].endswith(" skipped; the token is accepted.")
    assert not TOKEN.search(done.out + done.err)


@pytest.mark.parametrize("arguments", [["--token", "-"], ["--token"]])
def test_token_that_is_refused_ends_it_with_one(configured, arguments):
    token = configured.signer.token(azp=PARTY, expires_in=-60)
    done = run(*arguments, "--json", given=token)
    document = json.loads(done.out)
    assert (done.status, document["passed"]) == (1, False)
    assert document["token"]["code"] == "token_expired"
    assert {probe["status"] for probe in document["probes"]} <= {"passed", "warning", "skipped"}
    assert token.split(".")[2] not in done.out


def test_without_a_token_there_is_none_in_the_document(key_configured):
    assert json.loads(run("--json").out)["token"] is None


@pytest.mark.parametrize(
    "arguments",
    [["--token", "eyJ.a.b"], ["--token=eyJ.a.b"], ["eyJ.a.b"], ["--token", "-", "eyJ.a.b"]],
)
def test_token_is_no_argument(key_configured, arguments):
    done = run(*arguments, "--json")
    assert done.status == 2
    assert "standard input" in json.loads(done.out)["error"]
    assert "eyJ" not in done.out + done.err


@pytest.mark.parametrize("given", ["", " \n"])
def test_no_token_on_standard_input_ends_it_with_two(key_configured, given):
    done = run("--token", "-", given=given)
    assert (done.status, done.out) == (2, "")
    assert "no token on standard input" in done.err


# Several instances


@pytest.fixture
def staff(configured, settings) -> Iterator[IssuerServer]:
    with serve_staff(settings) as server:
        yield server


def sections(out: str) -> dict[str, list[str]]:
    """Return the lines below the heading of each instance."""
    _, *parts = re.split(r"^instance (\w+)\n", out, flags=re.MULTILINE)
    return {alias: text.splitlines() for alias, text in zip(parts[::2], parts[1::2], strict=True)}


def test_every_instance_is_checked_by_its_own_settings_and_keys(configured, staff):
    done = run()
    assert (done.status, done.err) == (0, "")
    found = sections(done.out)
    assert list(found) == ["default", "staff"]
    for alias, server in (("default", configured), ("staff", staff)):
        text = "\n".join(found[alias])
        assert f"issuer {server.issuer}; keys from {server.jwks_url}; " in text
        assert f"thumbprint {server.signer.verifying_key.thumbprint}" in text
        assert "The lock is locked: " in text
        assert server.fetches == 1
    assert done.out.endswith("\n\nREADY: all 2 instances.\n")


@pytest.mark.parametrize("broken", ["default", "staff"])
def test_broken_instance_fails_the_run_and_hides_no_other(broken, configured, staff):
    servers = {"default": configured, "staff": staff}
    servers.pop(broken).stop()
    (healthy,) = servers
    done = run()
    assert done.status == 1
    found = sections(done.out)
    assert "\n".join(found[healthy]).count("The lock is locked: ") == 1
    assert "\n".join(found[broken]).count("NOT READY: ") == 1 + (broken == "staff")
    assert done.out.endswith(f"\nNOT READY: 1 of 2 instances: {broken}.\n")
    documents = json.loads(run("--json").out)
    assert (documents["schema_version"], documents["passed"]) == (1, False)
    assert list(documents) == ["schema_version", "passed", "instances"]
    passed = {alias: each["passed"] for alias, each in documents["instances"].items()}
    assert passed == {healthy: True, broken: False}


def test_cache_that_one_instance_lacks_is_its_own_failure(staff, settings):
    change_staff(settings, CACHE_ALIAS="gone")
    instances = json.loads(run("--json").out)["instances"]
    assert {alias: each["passed"] for alias, each in instances.items()} == {
        "default": True,
        "staff": False,
    }


def test_key_file_that_no_instance_can_read_ends_it_with_two(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    (tmp_path / DEV_DIRECTORY).mkdir()
    (tmp_path / DEV_DIRECTORY / "signing-key.pem").write_text("not a key")
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True, "INSTANCES": {"staff": {}}}
    done = run("--json")
    assert (done.status, json.loads(done.out)["passed"]) == (2, False)


def test_quiet_run_prints_one_line_for_each_instance(staff):
    staff.stop()
    first, second = run("-v", "0").out.splitlines()
    assert first.startswith("default: The lock is locked: ")
    assert re.fullmatch(r"staff: NOT READY: .* First: key set, fetch: .*: connection\.", second)


def test_waiting_repeats_only_what_fails(configured, staff):
    staff.script = answer(b"", status="503 Busy")
    done = run("--wait", "2.5", "-v", "1")
    assert done.status == 1
    assert (configured.fetches, staff.fetches > 1) == (1, True)
    assert re.match(rf"try 1, [12] s left: staff: key set, fetch: {staff.jwks_url}: ", done.err)


def test_option_checks_one_instance(configured, staff):
    configured.stop()
    done = run("--instance", "staff")
    assert (done.status, list(sections(done.out))) == (0, ["staff"])
    assert done.out.splitlines()[-1].startswith("The lock is locked: ")
    assert staff.fetches == 1
    documents = json.loads(run("--instance", "staff", "--json").out)
    assert (documents["passed"], list(documents["instances"])) == (True, ["staff"])
    assert run("--instance", "default").status == 1


def test_instance_that_is_not_there_ends_it_with_two(staff):
    done = run("--instance", "custommers", "--json")
    assert done.status == 2
    said = "CLERK_AUTH has no instance 'custommers'. It has: default, staff."
    assert said in done.err
    assert json.loads(done.out)["error"] == said


@pytest.mark.parametrize("arguments", [[], ["--instance", "default"]])
def test_only_instance_is_not_spoken_of(configured, arguments):
    out = run(*arguments).out
    assert out.startswith("settings\n")
    assert "instance" not in out.partition("key set")[0]
    assert list(json.loads(run("--json", *arguments).out))[:3] == [
        *("schema_version", "passed", "counts"),
    ]


def test_token_is_judged_by_the_instance_that_it_names(configured, staff):
    token = staff.signer.token("user_shown", azp=STAFF_PARTY)
    done = run("--token", "-", given=token)
    assert done.status == 0, done.out
    found = sections(done.out)
    assert "the token given" not in found["default"]
    assert (
        "ACCEPTED: the verifier lets this token in. Judged by the instance staff: its issuer is "
        "the token's iss."
    ) in found["staff"]
    instances = json.loads(run("--token", "-", "--json", given=token).out)["instances"]
    assert instances["default"]["token"] is None
    assert (instances["staff"]["token"]["verdict"]) == "accepted"
    assert (instances["staff"]["token"]["chosen_by"]) == "issuer"
    done = run("--token", "-", "--instance", "default", "--json", given=token)
    (instance,) = json.loads(done.out)["instances"].values()
    assert (done.status, instance["token"]["chosen_by"]) == (1, "option")


def test_deployed_api_is_probed_by_the_instance_of_the_option_or_of_the_token(
    configured, staff, settings
):
    settings.ROOT_URLCONF = "tests.diagnostics.test_deployed"
    token = staff.signer.token(azp=STAFF_PARTY)
    with serve_api() as url:
        for arguments in (["--token", "-"], ["--instance", "staff"]):
            done = run("--url", f"{url}/of-staff", *arguments, given=token)
            assert done.status == 0, done.out
            assert list(sections(done.out)) == ["staff"]
        done = run("--url", f"{url}/api/me")
        assert (done.status, list(sections(done.out))) == (0, ["default"])


# A deployed API


def test_deployed_api_is_checked_from_outside(configured):
    with serve_api() as url:
        token = configured.signer.token(azp=PARTY)
        done = run("--url", f"{url}/api/me", "--token", "-", given=token)
        assert done.status == 0, done.out
        assert "  ✓ signed with another key" in done.out
        assert re.search("  ✓ the token given +200", done.out)
        assert not TOKEN.search(done.out + done.err)
        assert run("--url", f"{url}/health/live").status == 1


def test_summary_says_what_answers_prove(configured):
    with serve_api() as url:
        done = run("--url", f"{url}/api/me")
    assert done.status == 0
    assert done.out.splitlines()[-1].startswith("It answers as a locked API does: 10 passed, ")


def test_other_host_gets_the_token_only_where_somebody_says_so(configured, settings):
    settings.ALLOWED_HOSTS = ["localhost"]
    token = configured.signer.token(azp=PARTY)
    with serve_api() as url:
        # The API itself allows this name alone.
        url = f"{url}/api/me".replace("127.0.0.1", "localhost")
        assert run("--url", url, "--token", "-", given=token).status == 0
        settings.ALLOWED_HOSTS = ["api.example.com"]
        done = run("--url", url, "--token", "-", given=token)
    assert done.status == 1
    assert "ALLOWED_HOSTS does not name localhost:" in done.out
    assert "--any-host" in done.out


def test_observing_is_said_once(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "MODE": "observe"}
    with serve_api() as url:
        done = run("--url", f"{url}/api/me")
    assert done.status == 1
    assert done.out.count("the API refuses no token yet") == 1
    assert "Do not deploy" not in done.out


def test_open_api_is_found(configured):
    api = IssuerServer(configured.signer)
    api.script = answer(b"{}")
    try:
        done = run("--url", f"{api.issuer}/me")
    finally:
        api.stop()
    assert done.status == 1
    assert done.out.count("ACCEPTED with 200") == 8
    assert done.out.count("Do not deploy") == 1
    assert "NOT READY" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://api.example.com/me"], "plain http"),
        (["--url", "api.example.com/me"], "scheme"),
        (["--url", "https://user:secret@api.example.com/"], "without credentials"),
        (["--url", ""], "--url"),
        (["--url", "https://api.example.com/", "--offline"], "--offline"),
        (["--url", "https://api.example.com/", "--any-host"], "--any-host"),
        (["--token", "-", "--any-host"], "--any-host"),
    ],
)
def test_address_that_cannot_be_asked_ends_it_with_two(key_configured, arguments, said):
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "secret" not in done.err
