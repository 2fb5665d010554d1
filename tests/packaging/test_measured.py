"""The command that runs all tests fails where it must, and says what ran."""

import subprocess
import sys
from pathlib import Path

import pytest

from project.demo.environment import inherit_environment
from tests.packaging import measured

pytestmark = pytest.mark.integration

CODE = """
def sign(number):
    if number < 0:
        return "-"
    return "+"
"""
TESTS = """
import pytest
from code_of_it import sign

@pytest.mark.parametrize(("number", "expected"), [(0, "+"), (1, "+")])
def test_sign(number, expected):
    assert sign(number) == expected

def test_of_another_machine():
    pytest.importorskip("no_such_module")
"""
CONFIGURATION = (
    "[run]\nsource = .\nomit = test_*\nbranch = true\nparallel = true\npatch = subprocess\n"
)


def run_measured(directory: Path, test: str) -> subprocess.CompletedProcess[str]:
    (directory / "code_of_it.py").write_text(CODE)
    (directory / "test_it.py").write_text(test)
    (directory / ".coveragerc").write_text(CONFIGURATION)
    environment = {
        name: value for name, value in inherit_environment().items() if "COVERAGE" not in name
    }
    # Django and hypothesis would be most of the time.
    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    return subprocess.run(
        [sys.executable, measured.__file__],
        cwd=directory,
        env=environment | plugins,
        capture_output=True,
        text=True,
    )


def test_failing_test_fails_it(tmp_path):
    done = run_measured(tmp_path, TESTS + "\ndef test_fails():\n    assert False\n")
    assert done.returncode == 1
    assert "FAILED test_it.py::test_fails" in done.stdout
    assert "\nran: " not in done.stdout


def test_uncovered_line_fails_it_and_the_end_says_what_ran(tmp_path):
    done = run_measured(tmp_path, TESTS)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "line coverage is 75.00 %, and must be over 95 %",
        "branch coverage is 50.00 %, and must be over 90 %",
    ]
    said = done.stdout[done.stdout.rindex("\nran: ") + 1 :].splitlines()
    assert said[0].startswith("ran: 2 tests in ")
    assert said[1:] == [
        "skipped: 1",
        "  1 because: could not import 'no_such_module': No module named 'no_such_module'",
        "line coverage: 75.00 %",
        "branch coverage: 50.00 %",
    ]


def totals(*, lines: int, branches: int) -> dict[str, int]:
    return {
        "num_statements": 1000,
        "covered_lines": lines,
        "num_branches": 1000,
        "covered_branches": branches,
    }


@pytest.mark.parametrize(
    ("lines", "branches", "short"),
    [
        pytest.param(951, 901, [], id="both-just-over"),
        pytest.param(950, 901, ["line"], id="lines-exactly-on"),
        pytest.param(949, 901, ["line"], id="lines-just-under"),
        pytest.param(951, 900, ["branch"], id="branches-exactly-on"),
        pytest.param(951, 899, ["branch"], id="branches-just-under"),
        # 94 % and 99 %: over 95 % in the combined figure.
        pytest.param(940, 990, ["line"], id="branches-do-not-make-up-for-lines"),
    ],
)
def test_line_and_branch_coverage_are_held_apart(lines, branches, short):
    found = measured.find_shortfalls(totals(lines=lines, branches=branches))
    assert [text.split()[0] for text in found] == short
