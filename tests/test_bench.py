"""The benchmark's own arithmetic and report; what it measures is no test."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from xml.etree import ElementTree

import pytest

from bench.environment import ROOT
from bench.interpreter import describe, find_optimized
from bench.plot import draw
from bench.ratios import added_ratio, by_subject, cost_ratio, summarize
from bench.report import TARGETS, Target, find, judge, render, show_marks

pytestmark = pytest.mark.integration


def ratio(median: float) -> dict[str, float]:
    return {"median": median, "low": median - 0.01, "high": median + 0.01, "rounds": 5}


def report(**parts: object) -> dict[str, object]:
    return {
        "date": "2026-11-21",
        "quick": False,
        "python": "CPython 3.12",
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
    "lets_in": {"raw": None, "ours": []},
    "new": {"raw": ratio(1.0), "ours": ratio(1.8)},
    "repeated": {"raw": ratio(1.0), "ours": ratio(0.15)},
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

    def test_environment_describes_the_interpreter_that_made_it(self, tmp_path):
        venv.create(tmp_path, with_pip=False)
        python = tmp_path / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        done = subprocess.run(
            [python, "-m", "bench.interpreter"], cwd=ROOT, capture_output=True, check=True
        )
        assert json.loads(done.stdout) == describe()


class TestTargets:
    @pytest.mark.parametrize(
        ("at_least", "median", "verdict"),
        [
            pytest.param(False, 0.99, "met", id="below-the-most"),
            pytest.param(False, 1.0, "met", id="exactly-the-most"),
            pytest.param(False, 1.5, "short by 0.50 (50%)", id="above-the-most"),
            pytest.param(True, 1.01, "met", id="above-the-least"),
            pytest.param(True, 1.0, "met", id="exactly-the-least"),
            pytest.param(True, 0.5, "short by 0.50 (50%)", id="below-the-least"),
        ],
    )
    def test_verdict(self, at_least, median, verdict):
        assert judge(Target("x", ("x",), 1.0, at_least), median) == verdict

    def test_part_that_was_not_measured_has_no_figure(self):
        assert find(report(), TARGETS[0].path) is None

    def test_figures_are_found_where_the_parts_put_them(self):
        whole = report(
            verify=VERIFY,
            requests={"client new": {"ours": 1}, "client repeated": {"ours": 1}},
            gunicorn={"sync": {"rate": {"ours new": 1, "ours repeated": 1}}},
            memory={"added_mib": 1, "cache_mib": 1},
        )
        assert all(find(whole, target.path) for target in TARGETS)


class TestReport:
    def test_says_what_is_met_and_what_is_short(self):
        text = render(report(verify=VERIFY))
        assert "| at most 1.7 | 1.80 (1.79 to 1.81) | short by 0.100 (6%) |" in text
        assert "| at most 0.15 | 0.150 (0.140 to 0.160) | met |" in text

    def test_has_no_section_for_what_was_not_measured(self):
        assert "gunicorn" not in render(report(verify=VERIFY))

    def test_smoke_run_says_so(self):
        assert "no result" in render(report() | {"quick": True})
        assert "no result" not in render(report())

    @pytest.mark.parametrize(
        ("lets_in", "mark"),
        [
            (None, "the signature only"),
            ([], "refuses all"),
            (["expired", "forged"], "lets in: expired, forged"),
        ],
    )
    def test_subject_is_marked(self, lets_in, mark):
        marked = VERIFY | {"lets_in": {"raw": None, "ours": lets_in}}
        assert show_marks(lets_in) == mark
        assert f"| {mark} |" in render(report(verify=marked))

    def test_is_made_from_its_json(self):
        whole = report(verify=VERIFY)
        assert render(json.loads(json.dumps(whole))) == render(whole)


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
