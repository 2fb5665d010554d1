"""The rules for Prometheus: its own tool tests them, and their tests catch what is wrong."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from tests.monitoring.conftest import RULES
from tests.monitoring.promql import find_foreign
from tests.test_docs import DOCS, anchors, blocks, read, rows

pytestmark = pytest.mark.integration

ALARMS = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
TESTS = "clerk_auth.test.yml"


def test_queries_name_series_and_values_that_exist():
    assert [name for alarm in ALARMS for name in find_foreign(alarm["expr"])] == []


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm["alert"])
def test_alarm_says_how_grave_it_is_and_where_to_read_on(alarm):
    assert alarm["labels"]["severity"] in {"critical", "warning"}
    assert alarm["annotations"].keys() == {"summary", "description", "runbook"}
    page, _, anchor = alarm["annotations"]["runbook"].partition("#")
    assert page == "docs/monitoring.md"
    assert anchor == alarm["alert"].lower()
    assert anchor in anchors(DOCS / "monitoring.md")


def test_page_has_every_alarm_and_no_other():
    table = rows("monitoring.md", "alarm")
    assert {name: row["severity"] for name, row in table.items()} == {
        alarm["alert"]: alarm["labels"]["severity"] for alarm in ALARMS
    }


def run(promtool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tool beside the shipped rules."""
    return subprocess.run(
        [promtool, *arguments], cwd=RULES.parent, capture_output=True, encoding="utf-8"
    )


def test_rules_are_valid(promtool):
    done = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stderr
    assert f"SUCCESS: {len(ALARMS)} rules found" in done.stdout


def test_page_shows_what_the_tool_says(promtool):
    (shown,) = (block for block in blocks(read("monitoring.md")) if "promtool" in block)
    said = ""
    for command in re.findall(r"^\$ promtool (.+)$", shown, re.MULTILINE):
        done = run(promtool, *command.split())
        assert done.returncode == 0, done.stdout + done.stderr
        said += f"$ promtool {command}\n{done.stdout}"
    assert said == shown


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        pytest.param(r'(status="503".*) > 0', r"\1 > 1", id="one-503-is-not-enough"),
        pytest.param(r'status="503"', 'status=~"503|keys_busy"', id="busy-pages"),
        pytest.param(r"> 0\.10", ">= 0.10", id="a-tenth-is-too-much"),
        pytest.param(r"> 0\.10", "> 0.101", id="share-too-high"),
        pytest.param(r">= 10$", "> 10", id="ten-is-no-share"),
        pytest.param(r">= 10$", ">= 9", id="nine-is-a-share"),
        pytest.param(r"floor\((.*)\) > 3", r"\1 > 3", id="extrapolated-errors-count"),
        pytest.param(r"> 3$", ">= 3", id="three-errors-are-too-many"),
        pytest.param(r"> 3$", "> 4", id="four-errors-are-not-enough"),
        pytest.param(r"< 12 \*", "<= 12 *", id="twelve-hours-are-too-few"),
        pytest.param(r"< 12 \*", "< 11.9 *", id="expiry-too-late"),
        pytest.param(r"max(.*expiry)", r"min\1", id="idle-worker-pages"),
        pytest.param(r"_seconds > 0\)", "_seconds)", id="process-without-keys-pages"),
        pytest.param(r"\n.*and on .*\n.*_hits.*\n.*_misses.*> 0", "", id="idle-job-pages"),
        pytest.param(r"\n.*\+ sum by.*_misses.*\) > 0", " > 0", id="expired-keys-page-nobody"),
        pytest.param(r"\|malformed", "", id="malformed-document-is-none"),
        pytest.param(r"\n.*and on \(job, instance\) up", "", id="scaled-away-pages"),
        pytest.param(r"by \(job\)", "by (job, instance)", id="each-host-for-itself"),
        pytest.param(
            r"by \(job, exp", "by (job, instance, exp", id="each-host-for-itself-of-several"
        ),
        pytest.param(
            r"max by \(job, exported_instance\)(.*)\n.*and on .*",
            r"max by (job)\1\n          and on (job)",
            id="fresh-keys-of-another-hide-those-that-expire",
        ),
        pytest.param(
            r"by \(job, exported_instance\) (.*_errors)", r"by (job) \1", id="sum-of-fetch-errors"
        ),
        pytest.param(
            r"by \(job, exported_instance\) (.*documents)", r"by (job) \1", id="sum-of-documents"
        ),
        pytest.param(r'exported_instance!="",', "", id="one-instance-has-two-alarms"),
        pytest.param(r'mode="enforce",code', "code", id="observed-refusals-count"),
        pytest.param(r"keys_unavailable\|", "", id="token-not-checked-is-refused"),
        pytest.param(r"\|keys_busy\"", '"', id="busy-is-refused"),
        pytest.param(r"\{\{ with.*?end \}\}", "", id="alarm-does-not-say-whose"),
        pytest.param(r"for: 5m", "for: 4m", id="too-early"),
        pytest.param(r"for: 5m", "for: 6m", id="too-late"),
        pytest.param(r"for: 10m", "for: 9m", id="absent-too-early"),
        pytest.param(r"for: 10m", "for: 11m", id="absent-too-late"),
        pytest.param(r"\[5m\]", "[4m]", id="window-too-short"),
        pytest.param(r"\[5m\]", "[6m]", id="window-too-long"),
    ],
)
def test_wrong_rule_fails_its_tests(promtool, tmp_path, pattern, instead):
    wrong, changes = re.subn(pattern, instead, RULES.read_text(), flags=re.MULTILINE)
    assert changes
    tests = shutil.copy(RULES.with_name(TESTS), tmp_path)
    rules = tmp_path / RULES.name
    rules.write_text(wrong)
    done = run(promtool, "test", "rules", str(tests))
    assert done.returncode == 1
    # A wrong answer, and no query that cannot be read.
    assert "got:" in done.stderr
