"""The workflows, beyond what zizmor and their schema say."""

from __future__ import annotations

import re

import pytest
import yaml
from django.conf import settings

pytestmark = pytest.mark.integration

ROOT = settings.BASE_DIR
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    used = re.findall(r"uses: *(.*)", path.read_text())
    assert used
    for line in used:
        if line == "$/.github/workflows/ci.yml":  # of the same commit
            continue
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_one_action_has_one_version(path):
    texts = "".join(each.read_text() for each in PATHS)
    for action, pin in re.findall(r"uses: *([^@\s]+)@(\S+)", path.read_text()):
        assert set(re.findall(rf"{re.escape(action)}@(\S+)", texts)) == {pin}


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_jobs_ask_for_what_they_need_and_end(workflow):
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        if "uses" in job:  # the other workflow's job says it
            continue
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            # What a caller can write, a branch's name among it, is never part of a script.
            assert "${{" not in step.get("run", "")


def test_only_the_job_that_publishes_can_prove_who_it_is():
    granted = {
        (name, job): given["permissions"]
        for name, workflow in WORKFLOWS.items()
        for job, given in workflow["jobs"].items()
    }
    assert granted.pop(("release", "publish")) == {"id-token": "write"}
    assert all(permissions == {"contents": "read"} for permissions in granted.values())
    # It runs nothing of the repository.
    assert not any("run" in step for step in WORKFLOWS["release"]["jobs"]["publish"]["steps"])


def test_nothing_is_published_that_the_whole_ci_has_not_passed_elsewhere():
    jobs = WORKFLOWS["release"]["jobs"]
    assert set(jobs["publish"]["needs"]) == {"test", "build"}
    assert jobs["test"]["uses"] == "$/.github/workflows/ci.yml"
    # What the tests install has not been on the machine that builds.
    assert not [step for step in jobs["build"]["steps"] if ".ci/run" in step.get("run", "")]


def test_whole_ci_runs_with_every_python_that_it_knows():
    steps = WORKFLOWS["ci"]["jobs"]["test"]["steps"]
    assert [step for step in steps if step.get("run") == ".ci/run"]
    (python,) = (step["with"] for step in steps if "setup-python" in step.get("uses", ""))
    script = (ROOT / ".ci" / "run").read_text()
    known = " ".join(re.findall(r"^(?:required|newer)=\((.*)\)$", script, re.M)).split()
    assert set(python["python-version"].split()) == set(known)
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    assert set(classifiers) == set(known)
