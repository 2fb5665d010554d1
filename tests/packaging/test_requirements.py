"""What is written in two places for good reason is the same in both."""

import ast
import re
import sys
import tomllib
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import clerk_auth

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_lines(path):
    lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def by_name(requirements):
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


RUNTIME = by_name(map(Requirement, PROJECT["dependencies"]))
EXTRAS = by_name(
    Requirement(text) for texts in PROJECT["optional-dependencies"].values() for text in texts
)
DECLARED = RUNTIME | EXTRAS
CHECKOUT = by_name(read_lines("requirements.txt"))
LOWEST = by_name(read_lines("tests/packaging/lowest.txt"))


def test_every_python_that_is_declared_is_tested():
    declared = {
        match[1].replace(".", "")
        for text in PROJECT["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text))
    }
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    tested: dict[str, set[str]] = {}
    for python, django in re.findall(r"\bpy(3\d+)-dj(\d\d)\b", tox["tox"]["labels"]):
        tested.setdefault(python, set()).add(django)
    assert declared == tested.keys()
    promised = {}
    rows = re.findall(r"^\| (3\.\d+.*) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    for pythons, djangos in rows:
        for python in pythons.replace(".", "").split(", "):
            promised[python] = set(djangos.replace(".", "").split(", "))
    assert promised == tested


@pytest.mark.parametrize("name", RUNTIME)
def test_checkout_installs_what_the_package_needs(name):
    assert CHECKOUT[name].extras == RUNTIME[name].extras


@pytest.mark.parametrize("name", sorted(DECLARED.keys() & CHECKOUT.keys()))
def test_floors_agree(name):
    assert CHECKOUT[name].specifier == DECLARED[name].specifier


@pytest.mark.parametrize("name", DECLARED)
def test_dependencies_have_a_floor_and_no_cap(name):
    assert [part.operator for part in DECLARED[name].specifier] == [">="]


def imported_names():
    """Top-level names that the package imports.

    ``contrib`` aside, which is optional by design, and the plugin, which only pytest imports.
    """
    for path in (ROOT / "clerk_auth").rglob("*.py"):
        if "contrib" in path.parts or path.name == "pytest_plugin.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module.partition(".")[0]


def test_what_is_imported_is_declared():
    foreign = set(imported_names()) - sys.stdlib_module_names - {"clerk_auth"}
    providers = packages_distributions()
    # A module that nobody here provides can only be a guarded import.
    needed = {canonicalize_name(name) for module in foreign for name in providers.get(module, [])}
    assert RUNTIME.keys() <= needed <= DECLARED.keys()


def test_lowest_pins_the_floors_that_a_checkout_installs():
    floors = {
        name: str(DECLARED[name].specifier).removeprefix(">=")
        for name in DECLARED.keys() & CHECKOUT.keys()
    }
    assert {name: str(pin.specifier).removeprefix("==") for name, pin in LOWEST.items()} == floors


def test_version_is_written_in_the_package_alone():
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    version = re.compile(r"(?<![\d.])" + re.escape(clerk_auth.__version__) + r"(?![\d.])")
    sources = [ROOT / "pyproject.toml", *(ROOT / "clerk_auth").rglob("*.py")]
    found = [path.relative_to(ROOT) for path in sources if version.search(path.read_text())]
    assert found == [Path("clerk_auth/__init__.py")]


def test_changelog_begins_with_this_version():
    heading = re.search(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1] in {clerk_auth.__version__, "Unreleased"}
