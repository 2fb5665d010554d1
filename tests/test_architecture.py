"""Imports point down, and each door to the outside is in one place."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

import clerk_auth
from clerk_auth.core import errors

PACKAGE = Path(clerk_auth.__file__).parent

# From the bottom up, as drawn in docs/architecture.md; a package stands for what is in it.
LAYERS = (
    ("core: no Django, no I/O, no clock", {"core"}),
    (
        "Django side",
        {
            *("conf", "error_reports", "jwks", "logs", "metrics", "signals", "token_cache"),
            *("transport", "users", "verifier"),
        },
    ),
    (
        "DRF and Django surface",
        {"authentication", "exceptions", "health", "middleware", "permissions"},
    ),
    ("wiring", {"apps", "checks", "pytest_plugin"}),
    ("edge, each optional", {"contrib", "diagnostics", "issuer", "management", "testing"}),
)
# Arrows upward: inside a function, by a name in a string, or for types only. Another one needs a
# reason in docs/decisions.md.
UPWARD = {
    ("apps", "contrib"),  # registers the OpenAPI extension where its library is installed
    ("apps", "issuer"),  # says in which directory the development key is
    ("jwks.wiring", "issuer"),  # the development key
    ("pytest_plugin", "issuer"),  # types of the fixtures
    ("pytest_plugin", "testing"),  # pytest loads it before the settings are chosen
}

NETWORK = {
    *("aiohttp", "asyncio", "ftplib", "http", "httpx", "imaplib", "poplib", "requests", "smtplib"),
    *("socket", "socketserver", "ssl", "urllib.request", "urllib3", "xmlrpc"),
}
JOSE = {"authlib", "cryptography", "jose", "joserfc", "jwcrypto", "jwt"}
# The bars, in lines and numbers.
TRUST_PATH, KEY_SOURCE, MODULE, FUNCTION = 2100, 1400, 350, 50
KEY_SOURCE_MODULES = {"jwks", "transport"}
TOP_MODULES, TOP_PACKAGES = 13, 17
IO_AND_CLOCK = {
    *("asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib"),
    *("queue", "random", "secrets", "shutil", "subprocess", "tempfile", "threading", "time"),
}


def module_name(path: Path) -> str:
    """Return the name of a module inside the package, ``core.keys``; the package's own is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


TREES = {name: parse(path) for name, path in FILES.items()}


def read_imports(tree: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the dotted names of all that a module imports, and whether later than at its import.

    Later is inside a function, or only for types.
    """
    for node in ast.iter_child_nodes(tree):
        is_inside = (
            inside
            or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        )
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, inside) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((f"{module}.{alias.name}", inside) for alias in names)
            case ast.ImportFrom():
                raise AssertionError("a relative import")
            case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(name))]):
                yield name, inside
        yield from read_imports(node, inside=is_inside)


def resolve(dotted: str) -> str | None:
    """Return the module of the package that an import names, itself or by what is in it."""
    package, _, name = dotted.partition(".")
    if package != "clerk_auth":
        return None
    return name if name in FILES else name.rpartition(".")[0]


IMPORTS = {name: {dotted for dotted, _ in read_imports(tree)} for name, tree in TREES.items()}


def importers_of(libraries: set[str]) -> set[str]:
    """Return the modules that import one of ``libraries``, or anything of one."""

    def belongs(dotted: str) -> bool:
        return any(f"{dotted}.".startswith(f"{library}.") for library in libraries)

    return {module for module, imports in IMPORTS.items() if any(map(belongs, imports))}


def layer_of(module: str) -> int:
    top = module.partition(".")[0]
    (height,) = (height for height, (_, modules) in enumerate(LAYERS) if top in modules)
    return height


# Which module imports which, and whether at its own import.
ARROWS = {
    (module, imported, is_later)
    for module, tree in TREES.items()
    for dotted, is_later in read_imports(tree)
    if module and (imported := resolve(dotted)) and imported != module
}
EDGES = {(module, imported) for module, imported, _ in ARROWS}


def upward(arrows: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(a, b.partition(".")[0]) for a, b in arrows if layer_of(b) > layer_of(a)}


def test_every_module_has_one_layer():
    tops = [name for name in FILES if name and "." not in name]
    assert sorted(tops) == sorted(chain.from_iterable(modules for _, modules in LAYERS))


def test_imports_point_down():
    assert not upward((a, b) for a, b, is_later in ARROWS if not is_later)


def test_imports_upward_are_those_listed():
    assert upward(EDGES) == UPWARD


def test_no_two_modules_import_each_other():
    graph: dict[str, set[str]] = {module: set() for module in FILES}
    for module, imported in EDGES:
        graph[module].add(imported)
    TopologicalSorter(graph).prepare()


def test_no_two_packages_import_each_other():
    graph: dict[str, set[str]] = {}
    for module, imported in EDGES:
        top, below = module.partition(".")[0], imported.partition(".")[0]
        if top != below and (module, below) not in UPWARD:
            graph.setdefault(top, set()).add(below)
    TopologicalSorter(graph).prepare()


def test_package_itself_imports_nothing():
    assert IMPORTS[""] <= {"__future__.annotations"}


def test_core_imports_no_framework_no_io_and_no_clock():
    core = {module for module in FILES if module.partition(".")[0] == "core"}
    assert len(core) > 5
    assert not core & importers_of({"django", "rest_framework", *NETWORK, *IO_AND_CLOCK})


def test_only_transport_opens_sockets_and_only_the_stand_in_listens():
    assert importers_of(NETWORK) == {"transport", "issuer.standin"}


def test_nothing_that_serves_loads_what_is_for_tests():
    for_tests = {name for name in FILES if name.partition(".")[0] in {"pytest_plugin", "testing"}}
    assert len(for_tests) > 4
    importers = {
        module
        for module, imported in EDGES
        if imported in for_tests or imported == "issuer.standin"
    }
    assert importers <= for_tests


def test_only_keys_tokens_and_the_local_issuer_meet_the_jose_library():
    assert (
        {"core.keys", "issuer.local"}
        <= importers_of(JOSE)
        <= {"core.keys", "core.tokens", "issuer.local"}
    )


def test_nothing_of_the_package_needs_contrib():
    assert not [
        module
        for module, imported, is_later in ARROWS
        if imported.startswith("contrib") and not (module.startswith("contrib") or is_later)
    ]


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def is_on_the_trust_path(module: str) -> bool:
    """Tell whether an auditor of "who gets in" reads it: a token's path to a user without a row."""
    package, _, name = module.partition(".")
    if package == "core":
        return name not in {"cookies", "machines", "signatures"}
    return module in {"authentication", "exceptions", "token_cache", "users.stateless", "verifier"}


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each function with its lines, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                assert docstring.end_lineno
                lines -= docstring.end_lineno - docstring.lineno + 1
            yield node.name, lines


class TestBars:
    """What one can still read; a bar is raised by a decision, not by the change that needs it."""

    def test_trust_path_is_read_in_one_sitting(self):
        lines = sum(count_lines(path) for name, path in FILES.items() if is_on_the_trust_path(name))
        assert lines <= TRUST_PATH, f"the trust path has {lines} lines"

    def test_key_source_is_read_in_one_sitting(self):
        own = [path for name, path in FILES.items() if name.partition(".")[0] in KEY_SOURCE_MODULES]
        lines = sum(map(count_lines, own))
        assert lines <= KEY_SOURCE, f"the key source has {lines} lines"

    def test_no_module_is_too_long(self):
        lines = {name: count_lines(path) for name, path in FILES.items()}
        longest = max(lines, key=lambda name: lines[name])
        assert lines[longest] <= MODULE, f"{longest} has {lines[longest]} lines"

    def test_no_function_is_too_long(self):
        found = [(n, f"{m}.{f}") for m, tree in TREES.items() for f, n in functions(tree)]
        lines, longest = max(found)
        assert lines <= FUNCTION, f"{longest} has {lines} lines"

    def test_top_of_the_package_is_one_screen(self):
        tops = [path for name, path in FILES.items() if name and "." not in name]
        packages = sum(path.stem == "__init__" for path in tops)
        modules = len(tops) - packages
        assert modules <= TOP_MODULES, f"{modules} modules at the top"
        assert packages <= TOP_PACKAGES, f"{packages} packages at the top"


def public_names(tree: ast.Module) -> set[str]:
    """Return the functions and classes of a module that have no underscore.

    A constant or a type is public when another module imports it.
    """
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {n.name for n in tree.body if isinstance(n, defined) and not n.name.startswith("_")}


def imported_names(module: str) -> set[str]:
    """Return what other modules of the package import from a module."""
    prefix = f"clerk_auth.{module}."
    names = {
        dotted.removeprefix(prefix)
        for imports in IMPORTS.values()
        for dotted in imports
        if dotted.startswith(prefix)
    }
    return {name for name in names if name.isidentifier() and f"{module}.{name}" not in FILES}


def all_of(module: str) -> list[str] | None:
    """Return ``__all__``, with that of a module which it adds to its own."""
    found = None
    for node in TREES[module].body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                found = list(eval(compile(ast.Expression(value), module, "eval"), {}))
            case ast.AugAssign(
                target=ast.Name(id="__all__"), value=ast.Attribute(value=ast.Name(id=name))
            ):
                (other,) = {
                    resolve(dotted) for dotted in IMPORTS[module] if dotted.endswith(f".{name}")
                }
                assert found is not None
                assert other is not None
                found += all_of(other) or []
    return found


# Django finds them by a fixed name.
BY_NAME = {name for name in FILES if name.startswith("management.commands.")}
PUBLIC = {
    name: public_names(tree) | imported_names(name)
    for name, tree in TREES.items()
    if name and name not in BY_NAME
}


class TestPublicNames:
    def test_every_module_says_what_is_public(self):
        silent = [name for name, public in PUBLIC.items() if public and all_of(name) is None]
        assert not silent

    @pytest.mark.parametrize("module", [name for name in PUBLIC if all_of(name) is not None])
    def test_all_is_what_is_public(self, module):
        """A class or function without an underscore is in it, and so is what others import."""
        names = all_of(module) or []
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith("_")]
        assert PUBLIC[module] <= set(names)


@pytest.mark.integration
def test_core_works_where_nothing_but_the_jose_library_is_installed():
    modules = sorted(name for name in FILES if name.startswith("core"))
    blocked = ["django", "rest_framework", "requests", "urllib3", "django_redis", "redis"]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked}))
for name in {modules}:
    __import__("clerk_auth." + name)
from clerk_auth.core.errors import TokenMalformed
from clerk_auth.core.tokens import Policy, read_token
try:
    read_token("no.token.at-all", Policy(issuers=frozenset()))
except TokenMalformed as error:
    print(error.code)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (run.stdout, run.stderr) == (f"{errors.TokenMalformed.code}\n", "")


# What a worker loads that authenticates by header, from Django's start to its first token.
WORKER = """
import json, sys
import django
from django.conf import settings

token, clerk_auth = json.load(sys.stdin)
settings.configure(
    SECRET_KEY="x" * 50,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "clerk_auth"],
    CLERK_AUTH=clerk_auth,
)
django.setup()
from rest_framework.request import Request
from django.test import RequestFactory
from clerk_auth.authentication import ClerkAuthentication

request = Request(RequestFactory().get("/", headers={"Authorization": "Bearer " + token}))
user, claims = ClerkAuthentication().authenticate(request)
assert user.is_authenticated and claims.user_id == user.pk
print(*(name for name in sys.modules if name.partition(".")[0] == "clerk_auth"))
"""
MAX_WORKER_LINES = 5_750
NOT_OF_A_WORKER = {
    *("contrib", "diagnostics", "health", "issuer", "management", "middleware", "permissions"),
    *("testing", "machines", "pages", "sync", "webhooks"),
    # Only Django's checks, or wrong settings, need them.
    *(f"checks.{name.partition('.')[2]}" for name in FILES if name.startswith("checks.")),
    *("conf.corrections", "conf.origins", "conf.redaction"),
}


@pytest.mark.integration
@pytest.mark.parametrize("source", ["JWT_KEY", "JWKS_URL"])
def test_worker_that_authenticates_by_header_loads_little(source, local_issuer, issuer_server):
    signer, domain = issuer_server.signer, local_issuer.issuer.removeprefix("https://")
    where = {"JWT_KEY": signer.public_pem, "JWKS_URL": issuer_server.jwks_url}[source]
    settings = {"FRONTEND_API": domain, "AUTHORIZED_PARTIES": ["https://a.test"], source: where}
    token = signer.acting_as(local_issuer.issuer).token(azp="https://a.test")
    run = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=PACKAGE.parent,
        input=json.dumps([token, settings]),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.stderr == ""
    loaded = {name.partition(".")[2] for name in run.stdout.split()}
    assert {"authentication", "verifier", "users.stateless"} <= loaded
    assert issuer_server.fetches == (source == "JWKS_URL")
    assert not {name for name in loaded if {name, name.partition(".")[0]} & NOT_OF_A_WORKER}
    lines = {name: len(FILES[name].read_text(encoding="utf-8").splitlines()) for name in loaded}
    assert sum(lines.values()) <= MAX_WORKER_LINES, sorted(lines, key=lines.get)
