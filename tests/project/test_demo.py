"""``manage.py demo`` from end to end, and what it leaves behind: nothing."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from urllib.parse import urljoin

import pytest
import requests
from django.conf import settings
from django.core.management import CommandError, call_command

from project.demo.environment import inherit_environment
from tests.processes import is_running, list_descendants, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.redis]

ROWS = 16


@pytest.fixture
def start_demo(tmp_path):
    started = []

    def start(*options, program=("manage.py", "demo"), **environment):
        demo = subprocess.Popen(
            [sys.executable, *program, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=settings.BASE_DIR,
            env=inherit_environment()
            | {"TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
            | environment,
        )
        started.append(demo)
        return demo

    yield start
    for demo in started:
        with demo:
            demo.kill()


@pytest.fixture
def serving(start_demo):
    """A demo in serve mode, its output up to the last curl line, and all its processes."""
    demo = start_demo("--serve")
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if "file=@" in line:
            break
    return demo, "".join(lines), list_descendants(demo.pid)


def finish(demo):
    stdout, stderr = demo.communicate(timeout=60)
    return demo.returncode, stdout, stderr


def test_everything_comes_out_as_expected_whatever_the_callers_environment(start_demo, tmp_path):
    status, stdout, stderr = finish(
        start_demo(
            CLERK_FRONTEND_API="clerk.example.com",
            DJANGO_ALLOWED_HOSTS="api.example.com",
            AUTH_DEV_MODE="1",
            HTTP_PROXY="http://127.0.0.1:1",
            http_proxy="http://127.0.0.1:1",
            PYTHONIOENCODING="ascii",
        )
    )
    assert (status, stderr) == (0, "")
    rows = [re.split(" {2,}", line)[1:] for line in stdout.splitlines() if line.startswith("ok  ")]
    assert len(rows) == ROWS
    assert all(expected == got for _, expected, got in rows)
    assert {expected for _, expected, _ in rows} >= {
        "401",
        "201 20 rows",
        "404",
        "403 step-up: strict",
        "204",
        "401 signature_invalid",
        "401 token_expired",
        "401 algorithm_not_allowed",
        "401 issuer_not_allowed",
        "401 token_class_not_accepted",
    }
    assert stdout.splitlines()[-1].startswith(f"All {ROWS} as expected")
    assert "DEBUG off" in stdout
    assert stdout.isascii()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Run the demo in this process, and return why it does not start."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(*options):
        with pytest.raises(CommandError) as caught:
            call_command("demo", *options, stdout=io.StringIO())
        assert list(tmp_path.iterdir()) == []
        return str(caught.value)

    return run


def test_redis_that_does_not_answer_is_named(refusal, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert "REDIS_URL" in refusal()


def test_port_that_is_not_valid_or_is_taken_is_named(refusal):
    assert "65536 is not a valid port" in refusal("--port", "65536")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} cannot be used" in refusal("--port", str(port))


def test_served_api_answers_until_a_signal_ends_it_and_leaves_nothing(serving, tmp_path):
    demo, stdout, descendants = serving
    load_docs_page(stdout)
    follow_curl_line(stdout)
    assert len(descendants) >= 5
    demo.send_signal(signal.SIGTERM)
    status, _, stderr = finish(demo)
    assert (status, stderr) == (0, "")
    assert not any(map(is_running, descendants))
    assert list(tmp_path.iterdir()) == []


def load_docs_page(stdout):
    """Load the page and its files, beside the idle connections of a browser."""
    url = re.search(r"^http://(\S+):(\d+)/api/docs$", stdout, re.MULTILINE)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(socket.create_connection((url[1], int(url[2]))))
        page = requests.get(url[0], timeout=5)
        assert page.status_code == 200
        for file in re.findall(r'src="([^"]+)"', page.text):
            assert requests.get(urljoin(url[0], file), timeout=5).status_code == 200


def follow_curl_line(stdout):
    """Do what the printed line does: take a token, and send it."""
    token_url, me_url = re.search(r"curl -s '(.*?)'.* (\S+/api/me)$", stdout, re.MULTILINE).groups()
    token = requests.get(token_url, timeout=5).text
    answer = requests.get(me_url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
    assert (answer.status_code, answer.json()["user_id"]) == (200, "user_2demoAlice")


def test_signal_during_the_start_ends_it_and_leaves_nothing(start_demo, tmp_path):
    demo = start_demo()
    demo.stdout.readline()
    descendants = list_descendants(demo.pid)
    demo.send_signal(signal.SIGTERM)
    assert finish(demo)[::2] == (143, "")
    assert not any(map(is_running, descendants))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends children")
def test_killed_demo_leaves_nothing(serving, tmp_path):
    demo, _, descendants = serving
    demo.kill()
    demo.wait()
    wait_until(lambda: not any(map(is_running, descendants)))
    wait_until(lambda: not list(tmp_path.iterdir()))


def test_server_that_ends_ends_the_demo_with_its_last_words(serving, tmp_path):
    demo, _, descendants = serving
    server = next(pid for pid in descendants if list_descendants(pid))  # only it has workers
    os.kill(server, signal.SIGTERM)
    status, _, stderr = finish(demo)
    assert status == 1
    assert stderr.startswith("CommandError: ")
    assert "The API ended with" in stderr
    assert "Shutting down" in stderr
    assert "Traceback" not in stderr
    assert not any(map(is_running, descendants))
    assert list(tmp_path.iterdir()) == []


OPEN_LOCK = """
from dataclasses import replace
from django.core.management import execute_from_command_line
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
from clerk_auth.issuer import bad_tokens
forged = bad_tokens.BAD_TOKENS["forged"]
good = replace(forged, _make=lambda issuer, payload, key: issuer.sign(payload))
bad_tokens.BAD_TOKENS = {**bad_tokens.BAD_TOKENS, "forged": good}
execute_from_command_line(["manage.py", "demo"])
"""


def test_one_line_out_of_order_fails_the_demo(start_demo, tmp_path):
    status, stdout, stderr = finish(start_demo(program=("-c", OPEN_LOCK)))
    assert status == 1
    assert re.search(r"^✗  .*  401 signature_invalid  +200", stdout, re.MULTILINE)
    assert f" of {ROWS} not as expected" in stderr
    assert "JWT signature verified" in stderr
    assert list(tmp_path.iterdir()) == []
