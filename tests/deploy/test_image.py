"""What the Dockerfile says, done without an engine: install, copy, run, probe."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from project.demo.environment import AUTHORIZED_PARTY, inherit_environment
from tests.deploy.conftest import KIT
from tests.deploy.dockerfile import BUILD, FINAL, copied, find

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """``/venv`` and ``/app`` as the image has them: what is installed, and what is copied."""
    root = tmp_path_factory.mktemp("image")
    src, app, python = root / "src", root / "app", root / "venv" / "bin" / "python"
    for stage, directory in ((BUILD, src), (FINAL, app)):
        directory.mkdir()
        for path in copied(stage):
            source = settings.BASE_DIR / path
            if source.is_dir():
                shutil.copytree(source, directory / path)
            else:
                shutil.copy(source, directory / Path(path).name)
    made, installed = (instruction.text for instruction in find(BUILD, "RUN"))
    assert made == "python -m venv /venv"
    for command in (made, installed):
        line = command.replace("/venv", str(root / "venv")).removeprefix("python ")
        argv = shlex.split(line)
        argv = [sys.executable, *argv] if command == made else argv
        subprocess.run(argv, cwd=src, env=inherit_environment(), check=True, capture_output=True)
    assert python.exists()
    return root


@pytest.fixture
def run(image, serve):
    """Start the image's CMD, in its /app, with the programs of its /venv."""
    (command,) = find(FINAL, "CMD")
    program, *arguments = command.words()
    argv = [str(image / "venv/bin" / program), *arguments]
    return lambda **variables: serve(argv, cwd=image / "app", **variables)


def probe(image, environment, **changes):
    (check,) = find(FINAL, "HEALTHCHECK")
    program, *arguments = check.words()
    return subprocess.run(
        [image / "venv/bin" / program, *arguments],
        cwd=image / "app",
        env=environment | changes,
        capture_output=True,
        text=True,
        timeout=10,
    )


def test_image_serves_the_demo(run, clerk):
    token = clerk.signer.token(azp=AUTHORIZED_PARTY)
    assert run().get("/api/me", token).status_code == 200


@pytest.mark.parametrize(
    "hosts", ["", "*", ".example.com", "api.example.com", "api.example.com, other.example.com"]
)
def test_health_check_passes_while_the_process_serves(hosts, run, image):
    container = run(DJANGO_ALLOWED_HOSTS=hosts)
    done = probe(image, container.environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_health_check_fails_where_nothing_serves(image, environment):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = probe(image, environment, PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith("not alive: ")


def test_health_check_fails_where_the_process_does_not_answer_to_the_host(run, image):
    container = run(DJANGO_ALLOWED_HOSTS="api.example.com")
    done = probe(image, container.environment, DJANGO_ALLOWED_HOSTS="other.example.com")
    assert (done.returncode, done.stderr) == (1, "not alive: status 400\n")


def test_image_passes_its_own_checks(image, environment):
    for command in (["check"], ["clerk_selftest"]):
        done = subprocess.run(
            [image / "venv/bin/python", "manage.py", *command],
            cwd=image / "app",
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_user_owns_no_code_and_is_not_root():
    users = [instruction.text for instruction in find(FINAL, "USER")]
    assert users == ["10001:10001"]
    assert not any("--chown" in instruction.text for instruction in find(FINAL, "COPY"))


def test_base_is_pinned_to_a_release_and_the_same_in_both_stages():
    bases = {stage[0].text.split()[0] for stage in (BUILD, FINAL)}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())


def test_builder_gets_what_is_copied_and_nothing_else():
    lines = (KIT / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert allowed == {*copied(BUILD), *copied(FINAL)}
