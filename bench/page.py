"""Put the tables of the report into ``docs/performance.md``: ``python -m bench.page``."""

from __future__ import annotations

import json
import re

from bench.environment import ROOT
from bench.report import render

PAGE = ROOT / "docs" / "performance.md"
REPORT = ROOT / "bench" / "results" / "report.json"
_TABLE = re.compile(r"^\|.*\|\n\|[ |:-]+\|\n(?:\|.*\|\n)*", re.MULTILINE)


def read_tables(text: str) -> dict[str, str]:
    """Return the tables of a Markdown text by their first lines."""
    return {found[0].partition("\n")[0]: found[0] for found in _TABLE.finditer(text)}


def put_tables(page: str, tables: dict[str, str]) -> str:
    """Replace each table of the page by the one with the same first line."""
    return _TABLE.sub(lambda found: tables.get(found[0].partition("\n")[0], found[0]), page)


def main() -> None:
    tables = read_tables(render(json.loads(REPORT.read_text(encoding="utf-8"))))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(put_tables(page, tables), encoding="utf-8")
    if missing := tables.keys() - read_tables(page).keys():
        print("not on the page:", *sorted(missing), sep="\n")


if __name__ == "__main__":
    main()
