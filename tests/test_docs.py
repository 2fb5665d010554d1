"""What the documentation says, held against the code; examples run as written."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Tags, run_checks
from django.core.management import BaseCommand, find_commands, load_command_class
from django.dispatch import Signal
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication

from bench.main import make_parser
from clerk_auth import logs, metrics, permissions, pytest_plugin, signals, testing
from clerk_auth.checks import TAG, load_checks
from clerk_auth.conf import Config, readers
from clerk_auth.conf.declarations import declared
from clerk_auth.conf.origins import write_origin
from clerk_auth.contrib import responses
from clerk_auth.core import authorization, errors
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import FETCH_REASONS
from clerk_auth.core.keys import SKIP_REASONS
from clerk_auth.core.tokens import Policy
from clerk_auth.diagnostics.rules import NAMES, RULES
from clerk_auth.exceptions import AuthenticationUnavailable, InvalidToken
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.jwks import cached
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.metrics import sinks
from clerk_auth.testing import clerk_token
from clerk_auth.verifier import Verifier
from project.demo import steps
from project.environment import _CLERK_AUTH as VARIABLES
from tests import test_architecture as architecture

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(DOCS.glob("*.md")),
]
SOURCES = sorted((ROOT / "clerk_auth").rglob("*.py"))
COMMANDS = {
    "clerk_inspect": "clerk_auth",
    "clerk_keys": "clerk_auth",
    "clerk_link": "clerk_auth",
    "clerk_selftest": "clerk_auth",
    "clerk_token": "clerk_auth",
    "demo": "project",
}
# Each has its row in "Where do I change ...".
SUBJECTS = (
    *("a claim", "a permission", "a setting", "a system check", "a metric", "code", "a rule"),
    *("a command", "a fault test", "change at Clerk"),
)
# The key source has words of its own.
WORDS = {
    *("snapshot", "document", "look", "flight", "generation", "cooldown", "backoff", "lease"),
    *("fence", "quiet", "issuer", "authorized party", "key id", "key set", "claim", "caller"),
    *("verdict", "observe", "sink", "reason", "fleet"),
}
OPTIONS_OF_OTHERS = {
    *("--deploy", "--fail-level", "--fail-on-warn", "--help", "--lf", "--preload", "--tag"),
    *("--validate", "--workers", *make_parser()._option_string_actions),
}
# Programs whose options are their own business.
_OTHERS = re.compile(r"\b(?:curl|docker|kubectl|aws|exec gunicorn) (?:.*\\\n)*.*")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(text: str, language: str = "") -> list[str]:
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def tables(text: str) -> Iterator[list[list[str]]]:
    """Yield tables as rows of cells, the header first."""
    for table in re.findall(r"(?:^\|.*\|\n)+", prose(text) + "\n", re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        yield [rows[0], *rows[2:]]


def rows(page: str, first: str) -> dict[str, dict[str, str]]:
    """Return the rows of all tables of a page whose first column is called ``first``, by name."""
    found: dict[str, dict[str, str]] = {}
    for header, *body in tables(read(page)):
        if header[0] == first:
            for cells in body:
                for name in names(cells[0]):
                    assert name not in found, f"{page}: {name} has two rows"
                    found[name] = dict(zip(header, cells, strict=True))
    assert found, f"{page} has no table of {first}"
    return found


def rows_of(text: str, first: str) -> list[dict[str, str]]:
    """Return the rows of all tables of a text whose first column is called ``first``."""
    found = [
        dict(zip(header, cells, strict=True))
        for header, *body in tables(text)
        if header[0] == first
        for cells in body
    ]
    assert found, f"there is no table of {first}"
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a Markdown viewer makes of the headings."""
    headings = _HEADING.findall(prose(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def options(command: str) -> set[str]:
    parser = load_command_class(COMMANDS[command], command).create_parser("manage.py", command)
    return set(parser._option_string_actions)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
class TestEveryPage:
    def test_links_lead_somewhere(self, page):
        for link in _LINK.findall(prose(page.read_text(encoding="utf-8"))):
            if link.startswith("https://"):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link

    def test_python_compiles(self, page):
        for block in blocks(page.read_text(encoding="utf-8"), "python"):
            compile(block, page.name, "exec")

    def test_fences_are_closed(self, page):
        assert "```" not in prose(page.read_text(encoding="utf-8"))

    def test_options_exist(self, page):
        text = page.read_text(encoding="utf-8")
        known = set.union(OPTIONS_OF_OTHERS, *map(options, COMMANDS))
        assert set(_OPTION.findall(_OTHERS.sub("", text))) <= known
        for command, rest in re.findall(rf"\b({'|'.join(COMMANDS)})\b((?: --?[^`|)\n]*)?)", text):
            assert set(_OPTION.findall(rest)) <= options(command) | {"--help"}, command

    def test_bad_kinds_exist(self, page):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"--bad ([a-z][\w-]*)\)", text)) <= BAD_TOKENS.keys()


def test_every_option_is_named():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    common = set(BaseCommand().create_parser("manage.py", "x")._option_string_actions)
    assert set.union(*map(options, COMMANDS)) - common <= set(_OPTION.findall(text))


class TestReadme:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_starts_with_one_sentence_and_two_commands(self):
        before, commands, *_ = re.split(r"^```\n", self.text, flags=re.MULTILINE)
        assert commands.splitlines() == [
            "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt"
            " && .venv/bin/python manage.py demo",
            "python3 -m venv .venv && .venv/bin/pip install -q tox && .venv/bin/tox",
        ]
        _title, sentence = before.strip().split("\n\n")
        assert sentence.count(".") == 1

    def test_shows_what_the_demo_shows(self):
        output = blocks(self.text)[1]
        for name in steps.REFUSED:
            bad = BAD_TOKENS[name]
            assert re.search(rf"✓  token: {re.escape(bad.title)} +401 {bad.code} ", output)
        assert output.count("✓") == len(steps.REFUSED) + 10
        assert steps.FETCHES_EXPLAINED in output


class TestSettings:
    table = rows("settings.md", "key")
    declared = declared(Config)

    def test_every_setting_has_its_row_in_the_order_of_the_declarations(self):
        assert list(self.table) == list(self.declared)

    @pytest.mark.parametrize("key", declared)
    def test_row_says_what_is_declared(self, key):
        row, (_, setting) = self.table[key], self.declared[key]
        assert row["type"] == setting.read.type
        assert row["range"] == (setting.range or setting.read.range)
        column = "meaning, and when to change it"
        assert row[column].startswith(setting.help.removesuffix("."))

    @pytest.mark.parametrize("key", declared)
    def test_default_is_the_one_in_force(self, key):
        default = self.declared[key][1].default
        cell = self.table[key]["default"]
        written = None if cell == "-" else ast.literal_eval(cell.strip("`"))
        assert written == (list(default) if isinstance(default, tuple) else default)

    @pytest.mark.parametrize(
        "key",
        [
            key
            for key, row in table.items()
            if row["range"][:1].isdigit() and "keys" not in row["range"]
        ],
    )
    def test_range_is_the_one_in_force(self, key):
        read = self.declared[key][1].read
        low, high = re.match(r"(\d+) (?:to|up) ?(\d+)?", self.table[key]["range"]).groups()
        read(int(low))
        with pytest.raises(readers.Refused):
            read(int(low) - 1)
        if high:
            read(int(high))
            with pytest.raises(readers.Refused):
                read(int(high) + 1)

    @pytest.mark.parametrize("key", ["AZP_POLICY", "MODE"])
    def test_choices_are_accepted(self, key):
        for choice in names(self.table[key]["range"]):
            self.declared[key][1].read(ast.literal_eval(choice))


def test_origins_are_corrected_as_the_page_says():
    for written, row in rows("settings.md", "written").items():
        sent = names(row["a browser sends"])
        assert write_origin(written) in (sent or [None]) or "," in written
        assert write_origin(written) != written


class TestChecks:
    table = rows("settings.md", "id")

    def test_every_check_has_its_row(self):
        used = re.findall(r"clerk_auth\.[EW]\d{3}", "".join(p.read_text() for p in SOURCES))
        assert self.table.keys() == set(used)

    def test_gate_is_the_one_command_wherever_it_is_named(self):
        pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
        gates = set(re.findall(r"manage\.py (check [^\n`]*--tag[^\n`]*)", pages))
        assert gates == {
            f"check --tag {TAG} --deploy --fail-level WARNING",
            f"check --tag {TAG} --deploy",  # where an old class is still there
        }

    def test_deployment_checks_are_marked(self):
        deployment = [
            f"clerk_auth.{number}"
            for check in load_checks(deploy=True)
            for number in re.findall(r"[EW]\d{3}", check.__doc__)
        ]
        marked = [name for name, row in self.table.items() if "*deploy.*" in row["cause"]]
        assert sorted(marked) == sorted(deployment)


class TestErrors:
    answers = rows("errors.md", "code")

    def test_every_code_has_its_row(self):
        assert self.answers.keys() == set(errors.CODES)

    def test_every_code_says_what_to_do(self):
        assert rows("errors.md", "meaning").keys() == set(errors.CODES)

    def test_every_code_of_a_permission_has_its_row(self):
        table = rows("errors.md", "code of a 403")
        assert tuple(table) == authorization.REFUSAL_CODES
        for code, sentence in authorization.REFUSALS.items():
            assert table[code]["detail"].rstrip(".") == sentence.replace("{}", "...").rstrip(".")

    @pytest.mark.parametrize("error", [*errors.REJECTIONS, *errors.OUTAGES])
    def test_answer_is_the_one_given(self, error):
        is_ours = issubclass(error, errors.KeysUnavailable)
        answer = AuthenticationUnavailable(error()) if is_ours else InvalidToken(error())
        row = self.answers[error.code]
        assert row["HTTP"] == str(answer.status_code)
        assert row["detail"] == answer.detail["detail"]

    def test_every_reason_has_its_row_and_is_given_somewhere(self):
        assert rows("errors.md", "reason").keys() == given_reasons() == errors.REASONS

    def test_every_fact_of_a_reason_is_a_field(self):
        said = {fact for row in rows("errors.md", "reason").values() for fact in names(row["with"])}
        assert said == {"claim", *errors.Facts.__annotations__}

    def test_quoted_reasons_are_those_logged(self):
        pages = [page.read_text(encoding="utf-8") for page in PAGES]
        quoted = {
            reason
            for page in pages
            for reason in re.findall(r"token_rejected code=\S+ (?:claim=\S+ )?reason=(\S+)", page)
        }
        quoted |= set(re.findall(r"`[^`\n]*reason=(\w+)", "".join(pages)))
        quoted |= set(rows("troubleshooting.md", "reason in the log"))
        assert len(quoted) > 6
        assert quoted <= errors.REASONS


def given_reasons() -> set[str]:
    """Return the reason of every error of a token or of the keys that the package raises."""
    raised = {error.__name__ for error in (*errors.REJECTIONS, *errors.OUTAGES)}
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[reason]) if (
                    name in raised
                ):
                    found.add(reason.value if isinstance(reason, ast.Constant) else "")
    # What is not written there is one of two.
    assert "" in found
    return found - {""} | {"missing", "malformed"}


def logged_events() -> dict[str, tuple[str, set[str]]]:
    """Return level and facts of every event that the package logs."""
    found: dict[str, tuple[str, set[str]]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="log"),
                    args=[ast.Attribute(attr=level), ast.Constant(value=str(event))],
                ):
                    facts = {keyword.arg for keyword in node.keywords}
                    if None in facts:  # those of an error
                        facts = facts - {None} | errors.Facts.__annotations__.keys()
                    found[event] = level, facts
    return found


def test_rules_are_numbered_as_in_the_table_and_name_what_they_read():
    text = read("security.md")
    text = text[text.index("## The rules, in order") : text.index("## What an attacker controls")]
    items = dict(re.findall(r"(?ms)^(\d+)\. (.*?)(?=^\d+\. |^A process)", text))
    assert list(map(int, items)) == list(range(1, 12))
    looks_at = rows("inspect.md", "rule")
    for rule in filter(lambda rule: rule.number, RULES):
        for claim in rule.claims:
            assert f"`{claim}`" in items[str(rule.number)]
            assert f"`{claim}`" in looks_at[rule.name]["looks at"]


def test_every_rule_of_an_inspection_has_its_row():
    assert tuple(rows("inspect.md", "rule")) == NAMES


def json_formatter() -> logging.Formatter:
    """Make the formatter of the page."""
    (source,) = [b for b in blocks(read("logs.md"), "python") if "JSONFormatter" in b]
    namespace: dict[str, type] = {}
    exec(source, namespace)
    return namespace["JSONFormatter"]()


class TestOperation:
    def test_every_log_event_has_its_row(self):
        table = rows("logs.md", "event")
        assert {
            event: (row["level"], set(names(row["facts"]))) for event, row in table.items()
        } == logged_events()

    def test_json_formatter_writes_the_line_shown(self, local_issuer, caplog):
        caplog.set_level("INFO", "clerk_auth")
        verifier = Verifier(
            StaticKeySource((local_issuer.verifying_key,)),
            Policy(frozenset({local_issuer.issuer}), frozenset({"https://app.example.com"})),
        )
        for is_over in (False,) * 42 + (True,):
            if is_over:
                (kind,) = logs.refusals._kinds.values()
                kind.quiet_until = 0
            with pytest.raises(errors.PartyNotAllowed):
                verifier.verify(local_issuer.token())
        formatter = json_formatter()
        lines = [json.loads(formatter.format(record)) for record in caplog.records]
        shown = json.loads(next(b for b in blocks(read("logs.md")) if b.startswith("{")))
        assert "suppressed" not in lines[0]
        assert {**lines[1], "time": shown["time"]} == shown
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", lines[1]["time"])

    def test_json_formatter_writes_exceptions_and_no_request(self):
        record = logging.makeLogRecord(
            {"msg": "a\nb", "exc_info": (ValueError, ValueError("x"), None), "request": object()}
        )
        (line,) = json_formatter().format(record).splitlines()
        assert json.loads(line)["exception"] == "ValueError: x"
        assert "request" not in json.loads(line)

    def test_every_fetch_error_has_a_remedy(self):
        assert set(FETCH_REASONS) <= set(names(prose(read("troubleshooting.md"))))

    def test_variables_of_the_demo_are_those_it_reads(self):
        table = rows("deployment.md", "variable")
        for key, (variable, _reader) in VARIABLES.items():
            assert names(table[variable]["setting"]) == [key]
        read_by_settings = re.findall(
            r'os\.environ, "(\w+)"', (ROOT / "project" / "settings.py").read_text()
        )
        others = set(read_by_settings) - {"JWT_SIGNATURE_VERIFICATION_ENABLED"} | {"REDIS_URL"}
        assert table.keys() == others | {variable for variable, _ in VARIABLES.values()}


class OldAuthentication(BaseAuthentication):
    """What the page's project has in place of ours."""

    def authenticate_header(self, request):
        return "Bearer"


class TestRollout:
    text = read("rollout.md")

    @pytest.mark.parametrize(
        ("mode", "ids"),
        [("observe", []), ("enforce", ["W005"]), (None, ["W005"]), ("Observe", ["E003", "W005"])],
    )
    def test_settings_of_each_phase_have_the_checks_that_the_page_names(
        self, mode, ids, settings, monkeypatch
    ):
        monkeypatch.delenv("CLERK_AUTH_MODE", raising=False)
        if mode:
            monkeypatch.setenv("CLERK_AUTH_MODE", mode)
        source = blocks(self.text, "python")[0]
        namespace: dict[str, Any] = {"SILENCED_SYSTEM_CHECKS": []}
        exec(source.replace("api.authentication", __name__), namespace)
        for name in ("REST_FRAMEWORK", "CLERK_AUTH", "SILENCED_SYSTEM_CHECKS"):
            setattr(settings, name, namespace[name])
        (caches,) = [b for b in blocks(read("deployment.md"), "python") if "CACHES" in b]
        shared: dict[str, Any] = {}
        exec(caches, shared)
        settings.CACHES = {"default": shared["CACHES"]["clerk"]}
        found = run_checks(tags=[Tags.security], include_deployment_checks=True)
        assert ids == sorted(
            message.id.removeprefix("clerk_auth.")
            for message in found
            if message.id.startswith("clerk_auth.") and not message.is_silenced()
        )

    def test_queries_ask_for_what_is_counted(self):
        queries = blocks(self.text, "promql")
        asked = set(re.findall(r"\b(?:jwt|jwks|clerk_auth)_\w+", "".join(queries)))
        exported = {f"{name}_total" for name in metrics.COUNTERS} | set(metrics.GAUGES)
        assert len(queries) > 5
        assert asked <= exported
        values = set(chain.from_iterable(v for c in metrics.COUNTERS.values() for v in c.values()))
        assert set(re.findall(r'"([^"]+)"', "".join(queries))) <= values

    def test_log_commands_count_what_was_logged_and_left_out(self, tmp_path):
        refused = "2026-11-26 04:49:07,642 INFO clerk_auth clerk_auth.token_rejected code="
        (tmp_path / "api.log").write_text(
            f"{refused}party_not_allowed claim=azp reason=missing mode=observe\n"
            f"{refused}party_not_allowed claim=azp reason=x mode=observe suppressed=41\n"
            f"{refused}token_malformed reason=not_ascii mode=observe\n"
            f"{refused}token_malformed reason=not_ascii mode=enforce suppressed=9\n"
            "2026-11-26 04:49:07,643 INFO clerk_auth JWT signature verified for user user_dev\n"
        )
        printed = [
            subprocess.run(
                ["sh", "-c", block], cwd=tmp_path, capture_output=True, check=True, text=True
            ).stdout
            for block in blocks(self.text, "sh")
            if "api.log" in block
        ]
        assert [sorted(text.splitlines()) for text in printed] == [
            ["1"],
            ["1 token_malformed", "43 party_not_allowed"],
        ]


class TestMetrics:
    def test_every_metric_has_its_row(self):
        table = rows("metrics.md", "metric")
        expected = {
            name: ("counter", list(labels)) for name, labels in metrics.COUNTERS.items()
        } | {name: ("gauge", []) for name in metrics.GAUGES}
        assert {name: (row["kind"], names(row["label"])) for name, row in table.items()} == expected

    def test_every_label_value_has_its_row(self):
        expected: dict[str, set[str]] = {}
        for metric, values in (
            (metrics.FETCH_ERRORS, FETCH_REASONS),
            (metrics.KEYS_SKIPPED, SKIP_REASONS),
            (metrics.DOCUMENTS_REFUSED, metrics.DOCUMENT_REFUSALS),
        ):
            for value in values:
                expected.setdefault(value, set()).add(metric)
        table = rows("metrics.md", "reason")
        assert {reason: set(names(row["of"])) for reason, row in table.items()} == expected

    def test_sink_of_the_page_is_one(self):
        namespace: dict[str, type] = {}
        (block,) = (block for block in blocks(read("metrics.md"), "python") if "StatsD" in block)
        exec(block, namespace)
        for name in ("increment", "set"):
            ours, theirs = (getattr(cls, name) for cls in (sinks.Sink, namespace["StatsD"]))
            assert signature(theirs).parameters.keys() == signature(ours).parameters.keys()

    def test_sink_of_the_page_that_reads_the_totals_is_one(self, monkeypatch, capsys):
        namespace: dict[str, Any] = {}
        (block,) = (b for b in blocks(read("metrics.md"), "python") if "reads_totals" in b)
        exec(block, namespace)
        monkeypatch.setattr(sinks, "_factories", (namespace["WriteAtEnd"],))
        sinks.make_anew()
        assert sinks.connected == ()
        metrics.increment(metrics.REFUSED, "token_expired", "enforce")
        sinks.connect([])
        written = {"jwt_verifications_failure token_expired enforce": 1}
        assert json.loads(capsys.readouterr().err) == written

    def test_every_signal_has_its_row(self):
        sent = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
        assert rows("metrics.md", "signal").keys() == sent


class TestOpenApi:
    text = read("openapi.md")

    def test_hooks_of_the_page_exist(self):
        namespace: dict[str, Any] = {}
        exec(blocks(self.text, "python")[0], namespace)
        hooks = namespace["SPECTACULAR_SETTINGS"]["POSTPROCESSING_HOOKS"]
        assert [import_string(hook).__name__ for hook in hooks][1:] == ["document_refusals"]

    def test_every_status_has_its_row(self):
        table = [table for table in tables(self.text) if table[0][0] == "status"]
        assert {cells[0] for cells in table[0][1:]} == responses.RESPONSES.keys()


# A line of the tree: names, then what they are.
_NAMES = re.compile(r"^( +)([a-z_]+/?(?:  [a-z_]+)*)(?:   .*)?$")


def modules_of_the_tree(tree: str) -> set[str]:
    """Return the dotted names of the modules that the tree of the page draws."""
    found, package = set(), ""
    for line in tree[: tree.index("\nproject/")].splitlines()[1:]:
        if "commands/" in line:
            found |= {f"management.commands.{name}" for name in re.findall(r"clerk_\w+", line)}
        elif match := _NAMES.match(line):
            indent, named = match.groups()
            if named.endswith("/"):
                package = f"{named[:-1]}."
            else:
                found |= {(package if len(indent) > 2 else "") + name for name in named.split()}
    return found


class TestArchitecture:
    text = read("architecture.md")

    def test_tree_is_that_of_the_package(self):
        modules = {name for name, path in architecture.FILES.items() if path.stem != "__init__"}
        assert modules_of_the_tree(blocks(self.text)[0]) == modules

    def test_picture_of_the_packages_has_each_on_its_line(self):
        drawn = [
            (title, set(re.findall(r"[a-z_]{2,}", body)))
            for title, body in re.findall(
                r"^\+- (.+?) [-:]+\+\n((?:\|.*\n)+)", blocks(self.text)[1], re.M
            )
        ]
        core = {name.partition(".")[2] for name in architecture.FILES if name.startswith("core.")}
        expected = [(title, names) for title, names in reversed(architecture.LAYERS)]
        for (title, names_drawn), (expected_title, modules) in zip(
            drawn[:-1], expected[:-1], strict=True
        ):
            assert title == expected_title
            assert names_drawn == modules
        assert drawn[-1][0] == expected[-1][0]
        assert drawn[-1][1] == core

    def test_picture_of_a_request_names_every_code(self):
        hops = {"read_token", "keys_for", "find_signing_key", "check_claims"}
        drawn = set(re.findall(r"\b[a-z]+_[a-z_]+\b", blocks(self.text)[2]))
        assert drawn == hops | set(errors.CODES)

    def test_every_place_to_change_exists(self):
        for row in rows_of(self.text, "what"):
            for name in names(row["where"]):
                if name.endswith((".py", "/")):
                    places = ROOT / "clerk_auth" / name, ROOT / name
                    assert any(map(Path.exists, places)), name

    def test_states_are_those_of_the_key_source(self):
        lines = cached.__doc__.splitlines()
        rules = [i for i, line in enumerate(lines) if line.startswith("====")]
        starts = [match.start() for match in re.finditer("=+", lines[rules[0]])]
        table = [
            [line[slice(*ends)].strip().replace("``", "`") for ends in pairwise([*starts, 200])]
            for line in lines[rules[0] + 1 : rules[-1]]
            if not line.startswith("====")
        ]
        assert table in list(tables(self.text))

    @pytest.mark.parametrize("subject", SUBJECTS)
    def test_every_subject_has_its_place(self, subject):
        assert any(subject in row["what"] for row in rows_of(self.text, "what"))


class TestDecisions:
    text = read("decisions.md")

    def test_every_dependency_has_its_reason(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        required = [
            *project["dependencies"],
            *chain.from_iterable(project["optional-dependencies"].values()),
            *re.findall(r"^\w.*", (ROOT / "requirements.txt").read_text(), re.MULTILINE),
        ]
        named = {re.match(r"[\w-]+", requirement)[0] for requirement in required}
        assert rows("decisions.md", "distribution").keys() == named

    def test_every_decision_says_what_was_rejected(self):
        decisions = re.findall(r"^\*\*.+?(?=\n\n)", self.text, re.MULTILINE | re.DOTALL)
        assert len(decisions) > 50
        assert not [text.splitlines()[0] for text in decisions if "*Rejected:*" not in text]


class TestConcepts:
    def test_every_claim_has_its_row(self):
        public = {name for name in vars(Claims) if not name.startswith("_")}
        assert rows("concepts.md", "member of `Claims`").keys() == public

    def test_words_are_explained_once(self):
        words = [
            cells[0]
            for header, *body in tables(read("concepts.md"))
            for cells in body
            if header[0] == "word"
        ]
        each = [word for cell in words for word in cell.split(", ")]
        assert len(each) == len(set(each))
        assert set(each) >= WORDS


class TestPermissions:
    def test_every_permission_has_its_row(self):
        named = {re.match(r"\w+", name)[0] for name in rows("permissions.md", "permission")}
        # The base of a project's own has a section.
        assert named | {"ClerkPermission"} == set(permissions.__all__)


def public_names() -> dict[str, dict[str, str]]:
    """Return the names of the page by module, each with what is promised."""
    found = {}
    for part in re.split(r"^### ", read("public.md"), flags=re.MULTILINE)[1:]:
        if module := re.match(r"`([\w.]+)`\n", part):
            table = rows_of(part.partition("\n## ")[0], "name")
            found[module[1]] = {n: row["promise"] for row in table for n in names(row["name"])}
    return found


class TestPublicNames:
    page = public_names()

    def test_page_has_every_module_of_contrib(self):
        contrib = {name for name in architecture.FILES if name.startswith("contrib.")}
        assert {f"clerk_auth.{name}" for name in contrib} <= self.page.keys()

    def test_promises_are_those_explained(self):
        promises = {cells[0] for cells in next(tables(read("public.md")))[1:]}
        assert promises == set(chain.from_iterable(map(dict.values, self.page.values())))

    @pytest.mark.parametrize("module", sorted(page))
    def test_names_are_those_of_the_module(self, module):
        imported, named = import_module(module), self.page[module].keys()
        assert not [name for name in named if not hasattr(imported, name)]
        assert named <= set(imported.__all__)
        # Of core only types are public.
        assert module.startswith("clerk_auth.core.") or named == set(imported.__all__)

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_pages_import_what_is_promised(self, page):
        code = "".join(blocks(page.read_text(encoding="utf-8"), "python"))
        imports = re.findall(r"^ *from (clerk_auth[\w.]*) import ([\w, ]+)", code, re.MULTILINE)
        for module, listed in imports:
            for name in listed.split(", "):
                if module != "clerk_auth":
                    assert self.page[module][name] != "package", f"{module}.{name}"

    def test_every_command_has_its_row(self):
        ours = {command for command, app in COMMANDS.items() if app == "clerk_auth"}
        assert (
            rows("public.md", "command").keys()
            == ours
            == set(find_commands(str(ROOT / "clerk_auth" / "management")))
        )


_ASK = """
import io, json, sys
import django
django.setup()
from django.core.management import call_command
from django.test import Client

for arguments in json.load(sys.stdin):
    headers = {}
    if arguments is not None:
        token = io.StringIO()
        call_command("clerk_token", *arguments, stdout=token)
        headers["Authorization"] = "Bearer " + token.getvalue().strip()
    print(Client(SERVER_NAME="localhost").get("/api/me", headers=headers).content.decode())
"""


# A refused token is exit status 1.
_INSPECT = """
import django
django.setup()
from django.core.management import call_command

try:
    call_command("clerk_inspect")
except SystemExit:
    pass
"""


def make_project(directory: Path, *pages: str) -> Callable[..., str]:
    """Make a project of the files of these pages; return what runs Python in it."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "CLERK_", "PYTEST_"))
    } | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}",
        "DJANGO_SETTINGS_MODULE": "api.settings",
    }

    def run(*arguments: str, given: str = "") -> str:
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=directory,
            env=environment,
            input=given,
            capture_output=True,
            encoding="utf-8",
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout + process.stderr

    run("-m", "django", "startproject", "api", ".")
    for _language, block in _FENCE.findall("".join(map(read, pages))):
        if found := re.match(r"# ((?:(?:api|tests)/)?\w+\.(?:py|toml))\n", block):
            path = directory / found[1]
            path.parent.mkdir(exist_ok=True)
            before = path.read_text() if found[1] == "api/settings.py" else ""
            path.write_text(before + block)
    return run


@pytest.fixture(scope="module")
def run_in_project(tmp_path_factory) -> Callable[..., str]:
    return make_project(tmp_path_factory.mktemp("quickstart"), "quickstart.md")


@pytest.fixture(scope="module")
def run_in_tested_project(tmp_path_factory) -> Callable[..., str]:
    return make_project(tmp_path_factory.mktemp("testing"), "quickstart.md", "testing.md")


class TestQuickstart:
    text = read("quickstart.md")

    def test_check_finds_nothing(self, run_in_project):
        assert "no issues (0 silenced)" in run_in_project("manage.py", "check")

    def test_answers_are_those_shown(self, run_in_project):
        shown = re.findall(r"^\$ curl (.*/api/me)\n(\{.*\})$", self.text, re.MULTILINE)
        asked = [re.search(r"clerk_token(.*?)\)", command) for command, _ in shown]
        arguments = [found and found[1].split() for found in asked]
        assert len(shown) == 6
        got = run_in_project("-c", _ASK, given=json.dumps(arguments)).splitlines()
        assert [line for line in got if line.startswith("{")] == [answer for _, answer in shown]

    def test_refusal_is_explained_as_shown(self, run_in_project):
        (log,) = re.findall(r"^clerk_auth\.token_rejected .*$", self.text, re.MULTILINE)
        assert log in run_in_project("-c", _ASK, given='[["--expires-in", "-10"]]').splitlines()
        ((arguments, shown),) = re.findall(
            r"^\$ \S+ manage\.py clerk_token (.*) \| \S+ manage\.py clerk_inspect\n((?:.+\n)+?)```",
            self.text,
            re.MULTILINE,
        )
        token = run_in_project("manage.py", "clerk_token", *arguments.split())
        printed = run_in_project("-c", _INSPECT, given=token).splitlines()
        assert [line for line in shown.splitlines() if line not in printed] == ["...", "..."]

    def test_tests_pass(self, run_in_project):
        assert "Ran 2 tests" in run_in_project("manage.py", "test")


class TestTesting:
    page = read("testing.md")

    def test_its_tests_pass_under_pytest(self, run_in_tested_project):
        plugins = ("-p", "clerk_auth.pytest_plugin", "-p", "no:cacheprovider")
        output = run_in_tested_project("-W", "error", "-m", "pytest", "-q", *plugins)
        written = sum(len(re.findall(r"def test_", block)) for block in blocks(self.page, "python"))
        # Three tests stand for twelve, by their parameters.
        assert f"{written - 3 + 6 + 4 + 2} passed" in output

    def test_its_test_cases_pass_under_django(self, run_in_tested_project):
        assert "Ran 6 tests" in run_in_tested_project("-W", "error", "manage.py", "test")

    def test_every_kind_of_bad_token_has_its_row(self):
        written = {
            (name, names(row["code"])[0], row["how it is bad"])
            for name, row in rows("testing.md", "kind").items()
        }
        assert written == {
            (bad.name.replace("-", "_"), bad.code, bad.title) for bad in BAD_TOKENS.values()
        }

    def test_every_fixture_has_its_row(self):
        fixtures = {name for name in vars(pytest_plugin) if name.startswith("clerk_")}
        assert rows("testing.md", "fixture").keys() == fixtures

    def test_every_argument_has_its_row_and_its_default(self):
        table = rows("testing.md", "argument")
        parameters = signature(clerk_token).parameters
        assert [*table, "claims"] == list(parameters)
        for name, row in table.items():
            default = parameters[name].default
            written = None if row["default"] == "-" else ast.literal_eval(row["default"].strip("`"))
            assert written == (default or None)

    def test_every_name_is_explained(self):
        assert set(testing.__all__) <= set(re.findall(r"\w+", self.page))


def test_operations_name_every_fault_test_and_no_other():
    page = (ROOT / "docs" / "operations.md").read_text()
    faults = "\n".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py"))
    assert set(re.findall(r"`(test_\w+)`", page)) == set(
        re.findall(r"^def (test_\w+)", faults, re.M)
    )
