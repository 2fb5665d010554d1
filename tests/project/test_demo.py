"""``manage.py demo`` from end to end, and what it leaves behind: nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from urllib.parse import urljoin

import pytest
import requests
from django.conf import settings

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


def test_everything_comes_out_as_expected(start_demo, tmp_path):
    status, stdout, stderr = finish(start_demo())
    assert (status, stderr) == (0, "")
    rows = [re.split(" {2,}", line)[1:] for line in stdout.splitlines() if line.startswith("✓")]
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
    assert list(tmp_path.iterdir()) == []


def test_callers_environment_has_no_part_in_it_but_the_encoding(start_demo):
    status, stdout, _ = finish(
        start_demo(
            CLERK_FRONTEND_API="clerk.example.com",
            DJANGO_ALLOWED_HOSTS="api.example.com",
            AUTH_DEV_MODE="1",
            HTTP_PROXY="http://127.0.0.1:1",
            http_proxy="http://127.0.0.1:1",
            PYTHONIOENCODING="ascii",
        )
    )
    assert status == 0
    assert stdout.isascii()
    assert len(re.findall("^ok  ", stdout, re.MULTILINE)) == ROWS


@pytest.mark.parametrize(
    ("environment", "options", "reason"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1"}, [], "REDIS_URL"),
        ({}, ["--port", "65536"], "Port 65536"),
    ],
)
def test_what_cannot_start_says_why(start_demo, tmp_path, environment, options, reason):
    status, _, stderr = finish(start_demo(*options, **environment))
    assert status == 1
    assert stderr.startswith("CommandError: ")
    assert reason in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_taken_port(start_demo):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, stderr = finish(start_demo("--port", str(port)))
    assert status == 1
    assert f"Port {port} cannot be had" in stderr


def test_docs_page_answers_beside_the_idle_connections_of_a_browser(serving):
    _, stdout, _ = serving
    url = re.search(r"^http://(\S+):(\d+)/api/docs$", stdout, re.MULTILINE)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(socket.create_connection((url[1], int(url[2]))))
        page = requests.get(url[0], timeout=5)
        assert page.status_code == 200
        for file in re.findall(r'src="([^"]+)"', page.text):
            assert requests.get(urljoin(url[0], file), timeout=5).status_code == 200


def test_curl_lines_work(serving):
    _, stdout, _ = serving
    token_url, me_url = re.search(r"curl -s '(.*?)'.* (\S+/api/me)$", stdout, re.MULTILINE).groups()
    token = requests.get(token_url, timeout=5).text
    answer = requests.get(me_url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
    assert (answer.status_code, answer.json()["user_id"]) == (200, "user_2demoAlice")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_serving_and_leaves_nothing(serving, tmp_path, signum):
    demo, _, descendants = serving
    assert len(descendants) >= 5
    demo.send_signal(signum)
    status, _, stderr = finish(demo)
    assert (status, stderr) == (0, "")
    assert not any(map(is_running, descendants))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_during_the_start(start_demo, tmp_path, signum, status):
    demo = start_demo()
    demo.stdout.readline()
    descendants = list_descendants(demo.pid)
    demo.send_signal(signum)
    assert finish(demo)[::2] == (status, "")
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
    server = next(pid for pid in descendants if list_descendants(pid))  # it alone has workers
    os.kill(server, signal.SIGTERM)
    status, _, stderr = finish(demo)
    assert status == 1
    assert "The API ended with" in stderr
    assert "Shutting down" in stderr
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
