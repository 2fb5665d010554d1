"""Imports point down, and each door to the outside is in one place."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import clerk_auth
from clerk_auth.core import errors

PACKAGE = Path(clerk_auth.__file__).parent

# From the bottom up, as in docs/architecture.md; a package stands for what is in it.
LAYERS = (
    ("core", {"core"}),
    (
        "Django side",
        {
            *("conf", "issuer", "jwks", "logs", "metrics", "signals", "token_cache"),
            *("transport", "users", "verifier"),
        },
    ),
    ("DRF surface", {"authentication", "exceptions", "permissions"}),
    (
        "edge",
        {
            *("apps", "checks", "contrib", "diagnostics", "health", "management", "middleware"),
            *("pytest_plugin", "testing"),
        },
    ),
)

NETWORK = {
    *("aiohttp", "asyncio", "ftplib", "http", "httpx", "imaplib", "poplib", "requests", "smtplib"),
    *("socket", "socketserver", "ssl", "urllib.request", "urllib3", "xmlrpc"),
}
JOSE = {"authlib", "cryptography", "jose", "joserfc", "jwcrypto", "jwt"}
IO_AND_CLOCK = {
    *("asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib"),
    *("queue", "random", "secrets", "shutil", "subprocess", "tempfile", "threading", "time"),
}


def module_name(path: Path) -> str:
    """Return the name of a module inside the package, ``core.keys``; the package's own is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def read_imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of all that a module imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


IMPORTS = {name: set(read_imports(path)) for name, path in FILES.items()}


def own_imports(module: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for dotted in IMPORTS[module]:
        package, _, name = dotted.partition(".")
        if package == "clerk_auth":
            # What is imported is a module, or a name in one.
            found.add(name if name in FILES else name.rpartition(".")[0])
    return found - {module}


def importers_of(libraries: set[str]) -> set[str]:
    """Return the modules that import one of ``libraries``, or anything of one."""

    def belongs(dotted: str) -> bool:
        return any(f"{dotted}.".startswith(f"{library}.") for library in libraries)

    return {module for module, imports in IMPORTS.items() if any(map(belongs, imports))}


def layer_of(module: str) -> int:
    top = module.partition(".")[0]
    return next(height for height, (_, modules) in enumerate(LAYERS) if top in modules)


GRAPH = {module: own_imports(module) for module in FILES}
EDGES = [
    (module, imported) for module in GRAPH for imported in GRAPH[module] if module and imported
]


def test_every_module_has_its_layer():
    tops = {name.partition(".")[0] for name in FILES} - {""}
    assert tops == set.union(*(modules for _, modules in LAYERS))


def test_imports_point_down():
    assert not [edge for edge in EDGES if layer_of(edge[1]) > layer_of(edge[0])]


def test_no_two_modules_import_each_other():
    TopologicalSorter(GRAPH).prepare()


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
    assert not [edge for edge in EDGES if "contrib" in edge[1] and "contrib" not in edge[0]]


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

token, public_pem, issuer = json.load(sys.stdin)
settings.configure(
    SECRET_KEY="x" * 50,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "clerk_auth"],
    CLERK_AUTH={"ISSUER": issuer, "JWT_KEY": public_pem, "AUTHORIZED_PARTIES": ["https://a.test"]},
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
MAX_WORKER_LINES = 7_100
NOT_OF_A_WORKER = {
    *("contrib", "diagnostics", "health", "management", "middleware", "permissions", "testing"),
    *("machines", "pages", "sync", "webhooks"),
}


@pytest.mark.integration
def test_worker_that_authenticates_by_header_loads_little(local_issuer):
    token = local_issuer.token(azp="https://a.test")
    run = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=PACKAGE.parent,
        input=json.dumps([token, local_issuer.public_pem, local_issuer.issuer]),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.stderr == ""
    loaded = {name.partition(".")[2] for name in run.stdout.split()}
    assert {"authentication", "verifier", "users.stateless"} <= loaded
    assert not {name for name in loaded if name.partition(".")[0] in NOT_OF_A_WORKER}
    lines = {name: len(FILES[name].read_text(encoding="utf-8").splitlines()) for name in loaded}
    assert sum(lines.values()) <= MAX_WORKER_LINES, sorted(lines, key=lines.get)
