import re
from pathlib import Path

import pytest

from tests.conftest import BESIDE_THE_UNIT_PART
from tests.packaging.measured import OTHERS, find_shortfalls

TESTS = Path(__file__).parents[1]


def totals(*, lines, branches):
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
    found = find_shortfalls(totals(lines=lines, branches=branches))
    assert [text.split()[0] for text in found] == short


@pytest.mark.parametrize("path", OTHERS)
def test_what_the_unit_part_leaves_out_holds_no_unit_test(path):
    path = TESTS.parent / path
    if path.relative_to(TESTS).parts[0] not in BESIDE_THE_UNIT_PART:
        assert re.search(r"^pytestmark = .*\bintegration\b", path.read_text(), re.MULTILINE)
    assert path.exists()
