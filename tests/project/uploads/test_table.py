"""CSV files that are taken, and the code and line of those that are not."""

from __future__ import annotations

import contextlib
import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project.uploads.records import MAX_BYTES, CSVRejected
from project.uploads.table import MAX_COLUMNS, Column, parse_csv

pytestmark = pytest.mark.integration


def refuse(data: bytes) -> tuple[str, int]:
    with pytest.raises(CSVRejected) as caught:
        parse_csv(data)
    assert caught.value.detail.startswith(f"Line {caught.value.line}: ")
    return caught.value.code, caught.value.line


def test_columns_types_and_rows():
    table = parse_csv(
        b"id,price,paid,due,at,note,none\n"
        b"1,2,true,2026-01-01,2026-01-01T10:00:00Z,x,\n"
        b"2,2.5,FALSE,,2026-01-02T10:00:00Z, , \n"
    )
    assert table.row_count == 2
    assert table.columns == (
        Column("id", "integer", nullable=False),
        Column("price", "number", nullable=False),
        Column("paid", "boolean", nullable=False),
        Column("due", "date", nullable=True),
        Column("at", "datetime", nullable=False),
        Column("note", "text", nullable=True),
        Column("none", "text", nullable=True),
    )


def test_header_alone_is_a_table_without_rows():
    table = parse_csv(b"id,name")
    assert table.row_count == 0
    assert [column.type for column in table.columns] == ["text", "text"]
    assert not any(column.nullable for column in table.columns)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_endings(end):
    table = parse_csv(end.join([b"id,name", b"1,a", b"", b"2,b", b""]))
    assert table.row_count == 2
    assert table.columns[0].type == "integer"


def test_byte_order_mark_is_no_part_of_the_first_name():
    table = parse_csv(b"\xef\xbb\xbfid\n1\n")
    assert table.columns == (Column("id", "integer", nullable=False),)
    assert table.text == "id\n1\n"


def test_quotes_keep_commas_quotes_and_line_ends():
    table = parse_csv('id,note\n1,"a, ""b""\nc"\n2,"Zoë \u2028 \x0b"\n'.encode())
    assert table.row_count == 2


def test_names_are_stripped():
    assert [column.name for column in parse_csv(b" id , full name \n").columns] == [
        "id",
        "full name",
    ]


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        pytest.param(b"", "file_empty", 1, id="no-bytes"),
        pytest.param(b"\xef\xbb\xbf", "file_empty", 1, id="byte-order-mark-alone"),
        pytest.param(b"\n\r\n\n", "file_empty", 1, id="blank-lines-alone"),
        pytest.param(b"\xff\xfei\0d\0", "encoding_invalid", 1, id="utf-16"),
        pytest.param(b"id,name\n1,a\n2,M\xfcller\n", "encoding_invalid", 3, id="latin-1"),
        pytest.param(b"id\r1\r\n\xc3", "encoding_invalid", 3, id="cut-character"),
        pytest.param(b"id\n1\n\xed\xa0\x80\n", "encoding_invalid", 3, id="surrogate"),
        pytest.param(b"id,name\n1,a\0b\n", "nul_byte", 2, id="nul"),
        pytest.param(b"1,alice\n2,bob\n", "header_missing", 1, id="data-in-the-first-row"),
        pytest.param(b"\n\n2026-01-01,x\n", "header_missing", 3, id="date-in-the-first-row"),
        pytest.param(b"id,,name\n", "header_blank", 1, id="name-empty"),
        pytest.param(b"id, \n", "header_blank", 1, id="name-blank"),
        pytest.param(b"id,name,\n1,a,b\n", "header_blank", 1, id="name-missing-at-the-end"),
        pytest.param(b"id,name,id\n", "header_duplicate", 1, id="name-twice"),
        pytest.param(b"id, id\n", "header_duplicate", 1, id="name-twice-but-for-blanks"),
        pytest.param(b"id,name\n1,a\n2\n", "row_ragged", 3, id="row-too-short"),
        pytest.param(b"id,name\n1,a,x\n", "row_ragged", 2, id="row-too-long"),
        pytest.param(b'id,name\n1,"a\nb"\n\n2\n', "row_ragged", 5, id="lines-not-records"),
        pytest.param(b'id,name\n1,"a\nb",x\n', "row_ragged", 2, id="first-line-of-record"),
        pytest.param(b'id,name\n1,a\n2,"b\n3,c\n', "quote_unterminated", 3, id="quote-open"),
        pytest.param(b'"id,name', "quote_unterminated", 1, id="quote-open-in-header"),
        pytest.param(b'id,name\n1,"a"b\n2,c\n', "quoting_invalid", 2, id="text-after-quote"),
        pytest.param(b'id,name\n1,"a"b', "quoting_invalid", 2, id="text-after-quote-at-end"),
    ],
)
def test_refuses(data, code, line):
    assert refuse(data) == (code, line)


def test_one_field_is_no_plural():
    for header, said in [(b"id", "has 1 field and"), (b"id,name", "has 2 fields and")]:
        with pytest.raises(CSVRejected) as caught:
            parse_csv(header + b"\n1,2,3\n")
        assert said in caught.value.detail


def test_refusal_quotes_nothing_of_the_file():
    with pytest.raises(CSVRejected) as caught:
        parse_csv(b"secret,secret\n")
    assert "secret" not in caught.value.detail


def test_size_boundary():
    head = b"id\n"
    line = b"x" * 1023 + b"\n"
    body = head + line * (MAX_BYTES // len(line))
    assert parse_csv(body[: MAX_BYTES - 1]).row_count == MAX_BYTES // 1024
    assert parse_csv(body[:MAX_BYTES]).row_count == MAX_BYTES // 1024
    assert refuse(body[: MAX_BYTES + 1]) == ("file_too_large", 1 + MAX_BYTES // 1024)


def test_field_boundary():
    limit = csv.field_size_limit()
    for length in (limit - 1, limit):
        assert parse_csv(b"id\n" + b"x" * length).row_count == 1
    assert refuse(b"id\n1\n" + b"x" * (limit + 1)) == ("field_too_large", 3)


def test_column_boundary():
    names = [f"c{number}" for number in range(MAX_COLUMNS + 1)]
    for count in (MAX_COLUMNS - 1, MAX_COLUMNS):
        assert len(parse_csv(",".join(names[:count]).encode()).columns) == count
    assert refuse(",".join(names).encode()) == ("too_many_columns", 1)


@given(st.binary(max_size=200) | st.text(alphabet='a1,"\r\n \ufeff\0', max_size=40).map(str.encode))
def test_any_bytes_make_a_table_or_a_refusal(data):
    with contextlib.suppress(CSVRejected):
        assert parse_csv(data).columns
