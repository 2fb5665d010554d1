"""The benchmark's own arithmetic and report; what it measures is no test."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from xml.etree import ElementTree

import pytest

from bench.environment import ROOT, is_made
from bench.interpreter import describe, find_optimized
from bench.page import PAGE, REPORT, put_tables, read_tables
from bench.plot import draw
from bench.ratios import added_ratio, by_subject, cost_ratio, extra_ratio, summarize
from bench.report import render, show, show_marks
from bench.session import QUICK, Scale
from bench.targets import TARGETS, Target, find, judge
from bench.tokens import TOKEN_CACHE_SIZE, Tokens, make_anew
from clerk_auth.conf import read_configs

pytestmark = pytest.mark.integration


def ratio(median: float) -> dict[str, float]:
    return {"median": median, "low": median - 0.01, "high": median + 0.01, "rounds": 5}


def report(**parts: object) -> dict[str, object]:
    return {
        "date": "2026-11-21",
        "quick": False,
        "python": {"name": "CPython 3.12", "build": "3.12 (main)", "optimized": "yes"},
        "system": "Linux",
        "cores": 2,
        "revision": "abc",
        "redis": None,
        "token_characters": 1024,
        "versions": {"Django": "6.1"},
        "scale": {"rounds": 5, "processes": 1},
        "parts": parts,
    }


VERIFY = {
    "titles": {"raw": "raw <RSA>", "ours": "clerk_auth"},
    "lets_in": {"ours": []},
    "new": {"raw": ratio(1.0), "ours": ratio(1.8)},
    "repeated": {"raw": ratio(1.0), "ours": ratio(0.14)},
}
KINDS = ("client new", "client repeated", "factory new", "factory repeated")
REQUESTS = {
    "titles": {"open": "open view", "ours": "clerk_auth", "ours before": "clerk_auth at abc"},
    "zero": "open",
    **{kind: {"ours": ratio(0.5), "open view alone": ratio(0.4)} for kind in KINDS},
    "raw": {kind: {"open": ratio(3.0), "ours": ratio(0.5)} for kind in KINDS},
}


class TestRatios:
    def test_each_round_is_compared_with_its_own_baseline(self):
        # The second round ran on a machine half as fast.
        found = cost_ratio([2.0, 4.0, 2.2], [1.0, 2.0, 1.0])
        assert found.median == 2.0
        assert found.rounds == 3

    def test_what_is_added_is_compared_and_not_the_whole(self):
        found = added_ratio([11.0, 22.0], [10.0, 20.0], [14.0, 28.0])
        assert (found.median, found.low, found.high) == (0.25, 0.25, 0.25)

    def test_round_in_which_the_baseline_adds_nothing_is_left_out(self):
        times, zero, baseline = [11.0, 12.0, 11.0], [10.0, 10.0, 10.0], [14.0, 10.0, 14.0]
        found = added_ratio(times, zero, baseline)
        assert (found.median, found.rounds) == (0.25, 2)

    def test_units_that_are_added_are_those_of_the_same_round(self):
        found = extra_ratio([11.0, 22.0], [10.0, 20.0], [2.0, 4.0])
        assert (found.median, found.low, found.high) == (0.5, 0.5, 0.5)

    def test_rounds_of_different_number_are_not_compared(self):
        with pytest.raises(ValueError, match="zip"):
            cost_ratio([1.0, 2.0], [1.0])

    def test_spread_is_the_middle_half(self):
        found = summarize([5.0, 1.0, 3.0, 2.0, 4.0])
        assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)

    def test_spread_lies_between_rounds_of_an_even_number(self):
        found = summarize([1.0, 2.0])
        assert (found.low, found.median, found.high) == (1.25, 1.5, 1.75)

    def test_no_rounds_are_no_ratio(self):
        with pytest.raises(ValueError, match="no rounds"):
            summarize([])

    def test_rounds_become_subjects(self):
        assert by_subject([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]) == {
            "a": [1.0, 3.0],
            "b": [2.0, 4.0],
        }


class TestTokens:
    @staticmethod
    def make(number: int) -> list[str]:
        return [f"header.payload.{i}" for i in range(number)]

    def test_token_is_given_again_after_all_others(self):
        number = TOKEN_CACHE_SIZE + 2
        tokens = Tokens(self.make(number), at_once=1)
        taken = [tokens.take("ours", 1)[0] for _ in range(2 * number)]
        assert taken[:number] == taken[number:] == self.make(number)

    def test_each_cache_is_given_all_of_them(self):
        tokens = Tokens(self.make(TOKEN_CACHE_SIZE + 2), at_once=1)
        assert tokens.take("ours", 3) == tokens.take("pyjwt", 3)

    @pytest.mark.parametrize(
        ("more", "is_refused"),
        [
            pytest.param(0, True, id="as-many-as-are-kept-or-under-way"),
            pytest.param(1, False, id="one-more"),
        ],
    )
    def test_token_that_a_cache_may_still_keep_is_not_called_new(self, more, is_refused):
        tokens = self.make(TOKEN_CACHE_SIZE + 240 + more)
        if is_refused:
            with pytest.raises(ValueError, match="too few"):
                Tokens(tokens, at_once=240)
        else:
            Tokens(tokens, at_once=240)

    @pytest.mark.parametrize("scale", [Scale(), QUICK])
    def test_run_has_enough_of_them(self, scale):
        views, ways = 2, 2
        for at_once in (scale.verify_batch + 1, scale.request_batch * views * ways + 1):
            assert scale.tokens - at_once > TOKEN_CACHE_SIZE

    def test_run_fills_the_cache_of_each_worker(self):
        workers = 2
        assert Scale().fill > workers * TOKEN_CACHE_SIZE

    def test_size_of_the_cache_is_the_default(self):
        config = read_configs({"FRONTEND_API": "clerk.example.com"}, debug=False)["default"]
        assert config.verified_token_cache_size == TOKEN_CACHE_SIZE

    def test_repeated_token_is_another_string(self):
        token = self.make(1)[0]
        again = make_anew(token)
        assert again == token
        assert again is not token


class TestInterpreter:
    @pytest.mark.parametrize(
        ("variables", "found"),
        [
            pytest.param({"CONFIG_ARGS": "'--enable-optimizations'"}, "yes", id="by-the-option"),
            pytest.param(
                {"CONFIG_ARGS": "'--prefix=/usr'", "PY_CORE_CFLAGS": "-O2 -fprofile-use"},
                "yes",
                id="by-the-flag-that-was-used",
            ),
            pytest.param(
                {"CONFIG_ARGS": "'--prefix=/opt'", "PGO_PROF_USE_FLAG": "-fprofile-use"},
                "no",
                id="by-a-flag-that-was-not-used",
            ),
            pytest.param(
                {"CONFIG_ARGS": "'--prefix=/usr'", "PGO_PROF_USE_FLAG": ""},
                "unknown",
                id="distribution-deletes-the-flag",
            ),
            pytest.param({}, "unknown", id="nothing-noted"),
        ],
    )
    def test_optimizations_are_known_by_what_the_build_notes(self, variables, found):
        assert find_optimized(variables) == found

    @pytest.mark.parametrize("fact", ["path", "build", "optimized"])
    def test_environment_of_another_interpreter_is_made_again(self, fact, tmp_path):
        note, made = tmp_path / "made.json", {"interpreter": describe(), "requirements": ["x"]}
        assert not is_made(note, made)
        note.write_text(json.dumps(made))
        assert is_made(note, made)
        assert not is_made(note, made | {"interpreter": describe() | {fact: "another"}})

    def test_environment_describes_the_interpreter_that_made_it(self, tmp_path):
        venv.create(tmp_path, with_pip=False)
        python = tmp_path / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        done = subprocess.run(
            [python, "-m", "bench.interpreter"], cwd=ROOT, capture_output=True, check=True
        )
        assert json.loads(done.stdout) == describe()


class TestTargets:
    @pytest.mark.parametrize(
        ("median", "verdict"),
        [
            pytest.param(0.99, "met", id="below"),
            pytest.param(1.0, "met", id="exactly"),
            pytest.param(1.5, "over by 0.50 (50%)", id="above"),
        ],
    )
    def test_verdict(self, median, verdict):
        assert judge(Target("x", ("x",), 1.0), median) == verdict

    def test_part_that_was_not_measured_has_no_figure(self):
        assert find(report(), TARGETS[0].path) is None

    def test_figures_are_found_where_the_parts_put_them(self):
        found = json.loads(REPORT.read_text(encoding="utf-8"))
        assert all(find(found, target.path) for target in TARGETS)


class TestReport:
    def test_says_what_is_met_and_what_is_short(self):
        text = render(report(verify=VERIFY))
        assert "| at most 1.78 | 1.80 (1.79 to 1.81) | over by 0.020 (1%) |" in text
        assert "| at most 0.14 | 0.140 (0.130 to 0.150) | met |" in text

    def test_has_no_section_for_what_was_not_measured(self):
        assert "gunicorn" not in render(report(verify=VERIFY))

    def test_row_that_an_earlier_package_cannot_serve_is_a_dash(self):
        assert show(None) == "-"
        text = render(report(requests=REQUESTS))
        assert "| clerk_auth at abc | - | - | - | - |" in text

    def test_names_the_interpreter_of_the_subjects(self):
        assert "| interpreter | CPython 3.12, built with optimizations |" in render(report())

    def test_smoke_run_says_so(self):
        assert "no result" in render(report() | {"quick": True})
        assert "no result" not in render(report())

    @pytest.mark.parametrize(
        ("lets_in", "mark"),
        [
            ([], "refuses all"),
            (["expired", "forged"], "lets in: expired, forged"),
        ],
    )
    def test_subject_is_marked(self, lets_in, mark):
        marked = VERIFY | {"lets_in": {"ours": lets_in}}
        assert show_marks(lets_in) == mark
        assert f"| {mark} |" in render(report(verify=marked))

    def test_is_made_from_its_json(self):
        whole = report(verify=VERIFY)
        assert render(json.loads(json.dumps(whole))) == render(whole)


class TestPage:
    TABLE = "| a |  |\n| --- | --- |\n| 1 | 2 |\n"

    def test_table_is_replaced_by_the_one_of_the_same_header(self):
        other = self.TABLE.replace("| a |", "| b |")
        page = f"# Page\n\n{self.TABLE}\nText.\n\n{other}"
        measured = self.TABLE.replace("2", "3")
        assert put_tables(page, read_tables(measured)) == f"# Page\n\n{measured}\nText.\n\n{other}"

    def test_shows_what_was_measured(self):
        """``python -m bench.page`` makes it so."""
        tables = read_tables(render(json.loads(REPORT.read_text(encoding="utf-8"))))
        page = PAGE.read_text(encoding="utf-8")
        assert tables.keys() <= read_tables(page).keys()
        assert put_tables(page, tables) == page

    def test_report_is_that_of_its_figures(self):
        found = json.loads(REPORT.read_text(encoding="utf-8"))
        assert REPORT.with_suffix(".md").read_text(encoding="utf-8") == render(found)


class TestPlot:
    def test_has_a_bar_per_kind_and_subject(self):
        root = ElementTree.fromstring(draw(report(verify=VERIFY)))
        bars = [rect for rect in root.findall("{*}rect") if rect.get("height") == "12"]
        legend = 2
        assert len(bars) == legend + 2 * len(VERIFY["titles"])
        widths = [float(bar.get("width")) for bar in bars[legend:]]
        assert widths[2] == pytest.approx(widths[0] * 1.8, rel=0.01)

    def test_nothing_measured_is_an_empty_plot(self):
        assert ElementTree.fromstring(draw(report())).tag.endswith("svg")
