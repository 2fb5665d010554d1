"""Run all tests under coverage in two processes, say what ran, and hold coverage to its limits.

``python -m tests.packaging.measured``. With arguments, pytest gets them in one process, and
coverage is reported but not enforced: a selection cannot cover the package.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import django

LINES_OVER_PERCENT = 95
BRANCHES_OVER_PERCENT = 90
# Each has half of the modules, until one has nothing left and takes some of the other's.
IN_TWO_PROCESSES = ("-n", "2", "--dist", "worksteal")


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


def describe_run(junit: str) -> list[str]:
    """Say how many tests ran and why the others did not; ``junit`` is pytest's JUnit XML."""
    (suite,) = ElementTree.fromstring(junit).iter("testsuite")
    reasons = Counter(skipped.get("message") for skipped in suite.iter("skipped"))
    ran = int(suite.get("tests", 0)) - reasons.total()
    return [
        f"ran: {ran} tests in {float(suite.get('time', 0)):.0f} s, "
        f"on Python {platform.python_version()} and Django {django.__version__}",
        f"skipped: {reasons.total()}",
        *(f"  {count} because: {reason}" for reason, count in reasons.most_common()),
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
        junit, report = Path(directory, "junit.xml"), Path(directory, "coverage.json")
        options = arguments or IN_TWO_PROCESSES
        run("coverage", "run", "-m", "pytest", f"--junitxml={junit}", *options)
        run("coverage", "combine", "--quiet")
        run("coverage", "report")
        run("coverage", "json", "--quiet", "-o", str(report))
        totals = json.loads(report.read_text())["totals"]
        print(*describe_run(junit.read_text("utf-8")), sep="\n")
    for kind, percentage in read_percentages(totals).items():
        print(f"{kind} coverage: {percentage:.2f} %")
    if arguments:
        print("coverage not enforced: only a part of the tests was asked for")
    elif shortfalls := find_shortfalls(totals):
        raise SystemExit("\n".join(shortfalls))
    else:
        print("not run here: the other environments, which `tox list` describes; .ci/run runs all")


if __name__ == "__main__":
    main(sys.argv[1:])
