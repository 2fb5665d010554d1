"""The package can be imported where tests run, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

from clerk_auth.testing.guard import require_test_run

pytestmark = pytest.mark.integration

SET_UP = """
import django
from django.conf import settings
settings.configure(DEBUG=True, SECRET_KEY="x", INSTALLED_APPS=["clerk_auth"])
django.setup()
"""
IN_TESTS = SET_UP + "from django.test.utils import *; setup_test_environment();"


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as no test run's child."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "PYTEST_"))
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, "PYTHONPATH": str(settings.BASE_DIR), **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def test_this_is_a_test_run():
    require_test_run()


@pytest.mark.parametrize(
    ("program", "environment"),
    [
        pytest.param(IN_TESTS, {}, id="django"),
        pytest.param(SET_UP, {"PYTEST_VERSION": "8.2.0"}, id="pytest"),
    ],
)
def test_test_runs_import_it(program, environment):
    done = run(f"{program}\nimport clerk_auth.testing as t; print(t.__all__)", **environment)
    assert done.returncode == 0, done.stderr
    assert "clerk_token" in done.stdout


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="nothing"),
        pytest.param(SET_UP, id="server-in-debug"),
        pytest.param("import pytest, unittest, django.test", id="libraries-of-tests-imported"),
        pytest.param(f"{IN_TESTS} teardown_test_environment()", id="tests-over"),
    ],
)
@pytest.mark.parametrize("module", ["clerk_auth.testing", "clerk_auth.testing.tokens"])
def test_everything_else_is_told_what_to_do(before, module):
    done = run(f"{before}\nimport {module}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: clerk_auth.testing is for tests")
    assert "manage.py clerk_token" in last


def test_refusal_loads_neither_the_signer_nor_the_server():
    done = run(
        "import sys\n"
        "try:\n    import clerk_auth.testing\n"
        "except ImportError:\n"
        "    ours = {'clerk_auth.issuer.local', 'clerk_auth.issuer.standin', 'jwt'}\n"
        "    print(ours & sys.modules.keys())"
    )
    assert (done.returncode, done.stdout) == (0, "set()\n")
