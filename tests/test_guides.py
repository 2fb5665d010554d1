"""The guides to a deployment: their commands run, and their transcripts are what is printed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from django.http import HttpResponse
from django.test import RequestFactory

from clerk_auth.issuer.standin import StandInClerk
from project.demo import children
from project.demo.api import run_api
from project.demo.environment import AUTHORIZED_PARTY, make_environment
from tests.conftest import PARTY
from tests.processes import wait_until
from tests.test_docs import ROOT, blocks, read

pytestmark = pytest.mark.integration

NOT_RUN = re.compile(r"# not run here: .+")
GUIDES = ["deployment.md", "checklist.md"]
# Of deploy/, beside the alarms.
KIT = {
    *("Dockerfile", "compose.yaml", "gunicorn.conf.py", "ecs-task-definition.json", "kubernetes"),
}


@pytest.fixture(scope="module")
def production(redis, tmp_path_factory):
    """The environment of a checkout in production, behind a stand-in Clerk; its keys are shared."""
    with StandInClerk() as clerk:
        directory = tmp_path_factory.mktemp("production")
        made = make_environment(clerk, redis_url=redis.url, directory=directory)
        del made["DJANGO_HTTPS"]
        programs = Path(sys.executable).parent
        environment = made | {"PATH": f"{programs}{os.pathsep}{made['PATH']}"}
        command = [sys.executable, "manage.py", "clerk_keys", "refresh"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        yield environment


def is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def shown_probes(text: str) -> list[tuple[str, str]]:
    rows = re.findall(r"^  ([✓!✗-]) (?:[\w-]{8}: )?(.*?)  ", text, re.MULTILINE)
    assert len(rows) > 10
    return rows


@pytest.mark.redis
class TestGuides:
    """Each ``sh`` block of these pages is run, or says in its first line why it is not."""

    scripts = tuple(
        pytest.param(script, id=f"{page}-{number}")
        for page in GUIDES
        for number, script in enumerate(blocks(read(page), "sh"))
        if not NOT_RUN.match(script)
    )

    @pytest.mark.parametrize("script", scripts)
    def test_scripts_run(self, script, production, tmp_path):
        log = tmp_path / "log"
        with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
            port = listener.getsockname()[1]
            bind = f"--bind fd://{listener.fileno()}"
            process = children.start(
                ["sh", "-ec", script],
                output=output,
                environment=production | {"GUNICORN_CMD_ARGS": bind},
                pass_fds=[listener.fileno()],
                cwd=ROOT,
            )
        if "gunicorn" in script:
            wait_until(lambda: process.poll() is not None or is_ready(port), patience_seconds=60)
            process.terminate()
        assert process.wait(60) == 0, log.read_text()

    def test_transcripts_show_what_is_printed(self, production, redis, tmp_path):
        """Of each command with its output, the probes, their order and the verdict."""
        shown = [
            (command, body)
            for page in GUIDES
            for block in blocks(read(page))
            for command, body in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
        ]
        assert len(shown) == 2
        with (
            StandInClerk() as clerk,
            run_api(clerk, redis_url=redis.url, directory=tmp_path, port=0) as api,
        ):
            issuer = {"CLERK_ISSUER": clerk.issuer, "CLERK_JWKS_URL": clerk.jwks_url}
            environment = production | issuer | {"PYTHONIOENCODING": "utf-8"}
            (tmp_path / "token.txt").write_text(clerk.signer.token(azp=AUTHORIZED_PARTY))
            for command, body in shown:
                here = command.replace("http://127.0.0.1:8000", api.url)
                done = subprocess.run(
                    ["sh", "-c", here.replace("token.txt", str(tmp_path / "token.txt"))],
                    cwd=ROOT,
                    env=environment,
                    capture_output=True,
                    encoding="utf-8",
                )
                assert done.returncode == 0, done.stdout + done.stderr
                # "..." leaves out what the page has elsewhere.
                rows = shown_probes(body)
                assert shown_probes(done.stdout)[: len(rows) if "\n...\n" in body else None] == rows
                assert body.splitlines()[-1] == done.stdout.splitlines()[-1]

    def test_every_file_of_the_kit_has_its_place(self):
        named = set(re.findall(r"\(\.\./(deploy/[\w./-]+)\)", read("deployment.md")))
        kit = [path.relative_to(ROOT) for path in (ROOT / "deploy").rglob("*") if path.is_file()]
        beside = {"deploy/Dockerfile.dockerignore", "deploy/probe.py"}
        assert named >= {path.as_posix() for path in kit if path.parts[1] in KIT} - beside

    def test_checklist_is_one_page(self):
        assert len(read("checklist.md").splitlines()) <= 60


def test_middleware_of_the_page_answers_probes_under_any_host(settings):
    settings.CLERK_AUTH = {}
    (block,) = (b for b in blocks(read("deployment.md"), "python") if "answer_probes" in b)
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    middleware = namespace["answer_probes"](lambda request: HttpResponse("other"))
    for path, answer in {"/health/live": b'{"status": "live"}', "/api/me": b"other"}.items():
        request = RequestFactory().get(path, headers={"Host": "10.0.0.7:8000"})
        assert middleware(request).content == answer


# The view of the page on coroutines


@pytest.fixture
def ask_view():
    """Ask the view of the page in a coroutine, with a header."""
    (source,) = [b for b in blocks(read("async.md"), "python") if "averify" in b]
    namespace: dict[str, Any] = {}
    exec(source, namespace)

    def ask(token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = RequestFactory().get("/me", headers=headers)
        return asyncio.run(namespace["me"](request))

    return ask


def test_view_of_a_coroutine_says_what_the_verifier_says(ask_view, configured):
    accepted = ask_view(configured.signer.token("user_1", azp=PARTY))
    assert (accepted.status_code, json.loads(accepted.content)["user"]) == (200, "user_1")
    assert ask_view().status_code == 401
    for token, code in (
        (configured.signer.token(azp=PARTY, expires_in=-60), "token_expired"),
        ("one two", "token_malformed"),
    ):
        refused = ask_view(token)
        assert (refused.status_code, json.loads(refused.content)["code"]) == (401, code)


def test_view_of_a_coroutine_answers_503_without_keys(ask_view, configured):
    token = configured.signer.token(azp=PARTY)
    configured.stop()
    answer = ask_view(token)
    assert (answer.status_code, json.loads(answer.content)["code"]) == (503, "keys_unavailable")
    assert int(answer["Retry-After"]) >= 1
