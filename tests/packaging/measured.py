"""Time the unit part, run all tests under coverage, and hold coverage to its two limits.

``python -m tests.packaging.measured`` runs the unit part twice: tracing would be most of its time.
With arguments, pytest gets them, and coverage is reported but not enforced: a selection cannot
cover the package.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

LINES_OVER_PERCENT = 95
BRANCHES_OVER_PERCENT = 90
UNIT_BUDGET_SECONDS = 5
# What holds no unit test is not collected, and hypothesis, which takes as long, not loaded.
OTHERS = (
    "tests/core/test_properties.py",
    "tests/deploy",
    "tests/packaging",
    "tests/project",
    "tests/jwks/test_backends.py",
    "tests/checks/test_settings.py",
    "tests/management/test_clerk_inspect.py",
    "tests/management/test_clerk_keys.py",
    "tests/management/test_clerk_link.py",
    "tests/management/test_clerk_selftest.py",
    "tests/management/test_clerk_token.py",
    "tests/permissions/test_composition_properties.py",
    "tests/diagnostics/test_deployed.py",
    "tests/issuer/test_development.py",
    "tests/issuer/test_key_file.py",
    "tests/issuer/test_local.py",
    "tests/test_docs.py",
    "tests/core/test_error_reports.py",
    "tests/test_existing_project.py",
    "tests/test_transport.py",
    "tests/test_guides.py",
    "tests/diagnostics/test_inspection_properties.py",
    "tests/jwks/test_jwks_model.py",
    "tests/test_migrating.py",
    "tests/test_odd_settings.py",
    "tests/management/test_command.py",
    "tests/conf/test_redaction.py",
    "tests/conf/test_redaction_of_settings.py",
    "tests/checks/test_users.py",
    "tests/test_slow_bodies.py",
    "tests/issuer/test_standin.py",
    "tests/diagnostics/test_terminal.py",
    "tests/users/test_user_id_claim.py",
    "tests/users/test_user_models.py",
    "tests/users/test_user_neighbours.py",
    "tests/users/test_user_races.py",
    "tests/users/test_writes.py",
)
# The run of all tests, which follows, is in random order.
WITHOUT_OTHERS = (
    *("-p", "no:hypothesispytest", "-p", "no:randomly"),
    *(f"--ignore={path}" for path in OTHERS),
)


def read_percentages(totals: Mapping[str, int]) -> dict[str, float]:
    """Lines and branches apart, in percent: ``fail_under`` knows only the two in one figure."""
    return {
        "line": 100 * totals["covered_lines"] / totals["num_statements"],
        "branch": 100 * totals["covered_branches"] / totals["num_branches"],
    }


def find_shortfalls(totals: Mapping[str, int]) -> list[str]:
    percentages = read_percentages(totals)
    limits = {"line": LINES_OVER_PERCENT, "branch": BRANCHES_OVER_PERCENT}
    return [
        f"{kind} coverage is {percentages[kind]:.2f} %, and must be over {limit} %"
        for kind, limit in limits.items()
        if percentages[kind] <= limit
    ]


def run(*command: str) -> None:
    print("$", *command, flush=True)
    completed = subprocess.run([sys.executable, "-m", *command])
    if completed.returncode:
        raise SystemExit(completed.returncode)


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        # Data of its own: neither another run's leftovers nor a parallel run's are counted.
        os.environ["COVERAGE_FILE"] = str(Path(directory, "coverage"))
        report = Path(directory, "coverage.json")
        unit_line = ""
        if arguments:
            run("coverage", "run", "-m", "pytest", *arguments)
        else:
            started = time.monotonic()
            run("pytest", "-q", "-m", "not integration", *WITHOUT_OTHERS)
            unit_line = f"unit part: {time.monotonic() - started:.1f} s, start included"
            run("coverage", "run", "-m", "pytest")
        run("coverage", "combine", "--quiet")
        run("coverage", "report")
        run("coverage", "json", "--quiet", "-o", str(report))
        totals = json.loads(report.read_text())["totals"]
    for kind, percentage in read_percentages(totals).items():
        print(f"{kind} coverage: {percentage:.2f} %")
    if arguments:
        print("coverage not enforced: only a part of the tests was asked for")
        return
    print(f"{unit_line} (budget {UNIT_BUDGET_SECONDS} s, when nothing else runs)")
    if shortfalls := find_shortfalls(totals):
        raise SystemExit("\n".join(shortfalls))


if __name__ == "__main__":
    main(sys.argv[1:])
