import pytest

from tests.packaging.measured import find_shortfalls


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
