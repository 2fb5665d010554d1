"""Lines that fit a terminal: broken between words, and whole where there is none."""

from __future__ import annotations

import io
import re

import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style, no_style
from hypothesis import given
from hypothesis import strategies as st

from clerk_auth.diagnostics.report import FAILED, PASSED
from clerk_auth.diagnostics.terminal import Page, Progress, Row, lay_out

pytestmark = pytest.mark.integration

PROSE = "Redirects are not followed: correct FRONTEND_API or JWKS_URL."
KEY = "  kid ins_1  RSA 2048  sig RS256  thumbprint BteS-PVcYijtAJ_SjqHw66ku4tyFV_EbNYBkyz1dlpQ"


class Terminal(io.StringIO):
    """A stream that says it is a terminal; its width is that of ``COLUMNS``."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def printed(columns: int | None, monkeypatch, *, style=None) -> tuple[Page, io.StringIO]:
    stream = io.StringIO() if columns is None else Terminal()
    monkeypatch.setenv("COLUMNS", str(columns or 40))
    return Page(OutputWrapper(stream), style or no_style()), stream


# Lines


def test_line_that_fits_stays_as_it_is():
    for line in ("", "one", "  ok good token   accepted", PROSE):
        assert lay_out(line, max(len(line), 1)) == [line]
        assert lay_out(line, 200, hang=20) == [line]


def test_line_is_broken_between_words_and_hangs():
    assert lay_out(PROSE, 30) == [
        "Redirects are not followed:",
        "correct FRONTEND_API or",
        "JWKS_URL.",
    ]
    assert lay_out(f"  ! fetch  {PROSE}", 40, hang=11) == [
        "  ! fetch  Redirects are not followed:",
        "           correct FRONTEND_API or",
        "           JWKS_URL.",
    ]


def test_boundaries_of_the_width():
    assert lay_out("abc def", 7) == ["abc def"]
    assert lay_out("abc def", 6) == ["abc", "def"]
    assert lay_out("abc def", 3) == ["abc", "def"]
    assert lay_out("abc def", 1) == ["abc", "def"]


def test_what_stands_between_two_blanks_stays_together_where_it_can():
    thumbprint = "thumbprint BteS-PVcYijtAJ_SjqHw66ku4tyFV_EbNYBkyz1dlpQ"
    assert lay_out(KEY, len(KEY), hang=4) == [KEY]
    first = "  kid ins_1  RSA 2048  sig RS256"
    assert lay_out(KEY, len(KEY) - 1, hang=4) == [first, f"    {thumbprint}"]
    assert lay_out(KEY, 58, hang=4) == [first, f"    {thumbprint}"]
    # Too narrow for it: the value is whole all the same.
    assert lay_out(KEY, 40, hang=4)[-1] == thumbprint.split()[1]


@given(
    st.lists(st.text("abc-_/:é", min_size=1, max_size=30), min_size=1, max_size=12),
    st.lists(st.integers(1, 3), min_size=12, max_size=12),
    st.integers(1, 60),
    st.integers(0, 12),
)
def test_no_word_is_lost_broken_or_moved(words, gaps, width, hang):
    line = "".join(word + " " * gap for word, gap in zip(words, gaps, strict=False)).rstrip()
    lines = lay_out(line, width, hang=hang)
    assert " ".join(lines).split() == line.split()
    for part in lines[1:]:
        assert len(part) <= width or len(part.split()) == 1
    head = lines[0].rstrip()
    # Nothing is broken before the column of the hang.
    assert len(head) <= width or len(head[hang:].split()) <= 2


def test_colour_takes_no_column():
    painted = f"\x1b[32;1m{PROSE}\x1b[0m"
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lay_out(painted, 30)]
    assert plain == lay_out(PROSE, 30)


# Tables


def test_table_has_two_columns_where_they_fit(monkeypatch):
    page, stream = printed(40, monkeypatch)
    page.write_table([Row("name", "text", PASSED), Row("a", PROSE, FAILED, ("What to do.", ""))])
    assert stream.getvalue().splitlines() == [
        "  ✓ name  text",
        "  ✗ a     Redirects are not followed:",
        "          correct FRONTEND_API or",
        "          JWKS_URL.",
        "      What to do.",
    ]


def test_table_that_is_too_narrow_has_its_texts_below_the_names(monkeypatch):
    page, stream = printed(40, monkeypatch)
    page.write_table([Row("a name of some length", "text", PASSED), Row("b", PROSE, PASSED)])
    assert stream.getvalue().splitlines() == [
        "  ✓ a name of some length",
        "      text",
        "  ✓ b",
        "      Redirects are not followed:",
        "      correct FRONTEND_API or JWKS_URL.",
    ]


def test_word_that_fits_below_its_name_alone_goes_there(monkeypatch):
    page, stream = printed(40, monkeypatch)
    page.write_table([Row("round trip", "default: django_redis.cache.RedisCache", PASSED)])
    assert stream.getvalue().splitlines()[1:] == [
        "      default:",
        "      django_redis.cache.RedisCache",
    ]


def test_long_name_does_not_widen_the_column(monkeypatch):
    page, stream = printed(None, monkeypatch)
    page.write_table([Row("n" * 30, "1"), Row("sub", "2")], widest_name=5)
    assert stream.getvalue().splitlines() == [f"  {'n' * 30}  1", "  sub    2"]
    page.write_table([])


def test_without_a_terminal_lines_are_whole(monkeypatch):
    page, stream = printed(None, monkeypatch)
    page.write_table([Row("name", PROSE * 9, PASSED, (PROSE * 9,))])
    assert len(stream.getvalue().splitlines()) == 2


def test_painted_marks_change_no_column(monkeypatch):
    monkeypatch.setenv("DJANGO_COLORS", "dark")
    monkeypatch.delenv("NO_COLOR", raising=False)
    page, stream = printed(40, monkeypatch, style=color_style(force_color=True))
    page.write_table([Row("a", PROSE, FAILED)])
    assert "\x1b[" in stream.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    assert plain.splitlines()[:2] == [
        "  ✗ a  Redirects are not followed:",
        "       correct FRONTEND_API or JWKS_URL.",
    ]


# Progress


def test_progress_is_a_line_each_time():
    stream = io.StringIO()
    progress = Progress(OutputWrapper(stream))
    progress.show("try 1")
    progress.show("try 2")
    progress.end()
    assert stream.getvalue() == "try 1\ntry 2\n"


def test_progress_at_a_terminal_is_one_line_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    stream = Terminal()
    progress = Progress(OutputWrapper(stream))
    progress.show("a long try 1")
    progress.show("try 2")
    progress.end()
    assert stream.getvalue() == "\ra long tr\rtry 2    \r     \r"


def test_progress_that_showed_nothing_leaves_nothing():
    stream = Terminal()
    Progress(OutputWrapper(stream)).end()
    assert stream.getvalue() == ""
