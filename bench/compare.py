"""Compare the verdicts of two states of the package: ``python -m bench.compare --before REVISION``.

Needs what ``requirements.txt`` names. A process of each state judges the same cases, twice each.
What differs in value, code, claim, reason or fact is shown, and so is every error that is not ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from bench.environment import ROOT, Environment
from bench.inside.cases import ACCEPTED, FAMILIES, RAISED, Case, Cases
from bench.revisions import export_package
from bench.workers import Worker

BATCH = 500
SHOWN = 5
# The verdicts of the second look are counted together, whatever the case.
AGAIN = "again"
State = tuple[str, Path]  # what it is called, and the directory that the package lies in


@dataclass
class Comparison:
    """What came of the cases so far; ``shown`` has the first that differ, whole."""

    cases: int = 0
    differ: int = 0
    codes: dict[str, Counter[str]] = field(
        default_factory=lambda: {column: Counter() for column in (*FAMILIES, AGAIN)}
    )
    refusals: set[tuple[str, str]] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)

    def add(self, case: Case, before: list[list[str]], after: list[list[str]]) -> None:
        """Count a case, on which each state gives two verdicts."""
        self.cases += 1
        for column, (code, why, _) in zip((case.family, AGAIN), after, strict=True):
            self.codes[column][code] += 1
            self.refusals.add((code, why))
        if before != after or any(code == RAISED for code, _, _ in before):
            self.note("\n".join([json.dumps(case.as_dict()), *_describe(before, after)]))

    def note(self, difference: str) -> None:
        self.differ += 1
        if len(self.shown) < SHOWN:
            self.shown.append(difference)


def compare(
    before: State, after: State, jwks: str, cases: Iterator[Case], say: Callable[[str], None]
) -> Comparison:
    """Give each case to both states; ``RuntimeError`` if one has ended, or is another package."""
    found = Comparison()
    with _start(before, jwks) as old, _start(after, jwks) as new:
        batch = list(islice(cases, BATCH))
        while batch:
            order = json.dumps([case.as_dict() for case in batch])
            for worker in (old, new):
                worker.tell(order)
            # Made while both judge: a signature costs more than a verdict.
            following = list(islice(cases, BATCH))
            (verdicts, counted), (other_verdicts, other_counted) = old.read(), new.read()
            for case, verdict, other in zip(batch, verdicts, other_verdicts, strict=True):
                found.add(case, verdict, other)
            if counted != other_counted:
                found.note(f"what is counted\n  before: {counted}\n  after:  {other_counted}")
            say(f"{found.cases} cases, {found.differ} differences")
            batch = following
    return found


def render(found: Comparison) -> str:
    """Return a table of codes by family, and the first differences."""
    columns = found.codes
    rows = sorted({code for counted in columns.values() for code in counted})
    lines = [f"{'verdict':<26}" + "".join(f"{column:>10}" for column in columns)]
    lines += [
        f"{code:<26}" + "".join(f"{counted[code]:>10}" for counted in columns.values())
        for code in rows
    ]
    refusals = len(found.refusals) - ((ACCEPTED, "") in found.refusals)
    lines.append(f"{refusals} kinds of refusal by code, claim and reason")
    lines += [f"\ndifference {number}: {text}" for number, text in enumerate(found.shown, 1)]
    lines.append(f"\n{found.cases} cases compared, {found.differ} differences")
    return "\n".join(lines)


def _start(state: State, jwks: str) -> Worker:
    name, directory = state
    worker = Worker(Environment(Path(sys.executable)), "verdicts", directory=directory)
    package = Path(worker.ask(jwks)).resolve()
    if not package.is_relative_to(directory.resolve()):
        worker.stop()
        raise RuntimeError(f"{name}: judged by {package.parent}, and not by {directory}")
    return worker


def _describe(before: list[list[str]], after: list[list[str]]) -> Iterator[str]:
    for look, verdict, other in zip(("first", "second"), before, after, strict=True):
        if verdict == other and verdict[0] != RAISED:
            yield f"  {look} look: {' '.join(verdict[:2]).strip()}, as before"
            continue
        lines, other_lines = ("\n".join(each).split("\n") for each in (verdict, other))
        yield f"  {look} look before: " + " | ".join(_unless_in(other_lines, lines))
        yield f"  {look} look after:  " + " | ".join(_unless_in(lines, other_lines))


def _unless_in(others: list[str], lines: list[str]) -> list[str]:
    return [line for line in lines if line not in others] or lines


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description="Compare the verdicts of this checkout and of a commit; exit 1 if any differ.",
    )
    parser.add_argument("--before", required=True, metavar="REVISION", help="the other state")
    parser.add_argument("--cases", type=int, default=300_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="other cases; default 1")
    return parser


def main() -> int:
    arguments = make_parser().parse_args()
    started = time.monotonic()
    shown = -10.0

    def say(text: str) -> None:
        nonlocal shown
        seconds = time.monotonic() - started
        if seconds - shown >= 10:
            print(f"{seconds:4.0f} s  {text}", file=sys.stderr, flush=True)
            shown = seconds

    with tempfile.TemporaryDirectory(prefix="clerk-auth-compare-") as work:
        try:
            commit = export_package(arguments.before, Path(work))
        except subprocess.CalledProcessError:
            return 2
        cases = Cases(arguments.seed)
        before, after = (commit, Path(work)), ("this checkout", ROOT)
        found = compare(before, after, cases.jwks, cases.take(arguments.cases), say)
    seconds = time.monotonic() - started
    print(f"{commit} and this checkout, seed {arguments.seed}, {seconds:.0f} s\n")
    print(render(found))
    return 1 if found.differ else 0


if __name__ == "__main__":
    sys.exit(main())
