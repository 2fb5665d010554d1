"""A table of rows is as good as a test for each: every row runs, and each failure is named."""

from __future__ import annotations

import pytest

from tests.rows import each_row

ran: list[object] = []


@each_row(
    ("first", "second"), [(1, 2), pytest.param(3, 4, id="named"), [5, 6]], ids=lambda value: "own"
)
def keep(first, second, fixture="given"):
    ran.append((first, second, fixture))
    if first > 1:
        assert second < first


def test_every_row_runs_and_those_that_fail_are_named():
    ran.clear()
    with pytest.raises(ExceptionGroup) as caught:
        keep(fixture="shared")
    assert ran == [(1, 2, "shared"), (3, 4, "shared"), (5, 6, "shared")]
    assert caught.value.message == "2 of 3 rows fail: named, own-own"
    assert all(isinstance(failure, AssertionError) for failure in caught.value.exceptions)
    assert [failure.__notes__ for failure in caught.value.exceptions] == [
        ["row: named"],
        ["row: own-own"],
    ]


def test_rows_that_pass_are_silent():
    each_row("value", [(1, 2), None])(lambda value: ran.append(value))()
    assert ran[-2:] == [(1, 2), None]


@pytest.mark.parametrize(
    "end", [lambda: pytest.fail("so"), lambda: pytest.skip("so"), lambda: 1 / 0]
)
def test_neither_failure_nor_skip_stops_the_rows_behind_it(end):
    def test(value):
        ran.append(value)
        if value == 1:
            end()

    ran.clear()
    with pytest.raises(BaseExceptionGroup, match="1 of 3 rows fail: 1"):
        each_row("value", [0, 1, 2])(test)()
    assert ran == [0, 1, 2]


def test_interrupt_ends_it():
    def test(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each_row("value", [0, 1])(test)()


@each_row("inner", "ab", ids=["inner-a", "inner-b"])
@pytest.mark.parametrize("item", [1, 2])
@each_row("outer", [1, 2])
def test_tables_and_parameters_may_be_stacked(inner, outer, item, request):
    assert request.node.name == f"test_tables_and_parameters_may_be_stacked[{item}]"
    ran.append((inner, outer))
    if (inner, outer) == ("b", 2):
        assert ran[-4:] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


class TestMethods:
    @each_row("value", [1, 2])
    def test_have_rows_too(self, value, clock):
        assert clock.now() > value


def test_table_that_would_test_less_than_it_says_is_refused():
    with pytest.raises(ValueError, match="without rows"):
        each_row("value", [])
    with pytest.raises(ValueError, match="mark"):
        each_row("value", [pytest.param(1, marks=pytest.mark.skip)])
    with pytest.raises(ValueError, match="shorter"):
        each_row(("value", "other"), [(1,)])
    with pytest.raises(TypeError, match="takes not all of value"):
        each_row("value", [1])(lambda: None)
