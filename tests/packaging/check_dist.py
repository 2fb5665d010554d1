"""Check a built wheel and sdist, then use the wheel as a stranger would: outside the repository.

``python -m tests.packaging.check_dist DIRECTORY``. Tests and the demo run on the checkout; only
this notices a file that is missing from the wheel or a dependency that is not declared.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import clerk_auth

ROOT = Path(__file__).resolve().parents[2]
STEM = f"django_clerk_auth-{clerk_auth.__version__}"
PRIVATE_ENDINGS = (".env", ".key", ".pem", ".sqlite3")

# The least a host project can be: no database, no cache of its own, no network.
HOST_SETTINGS = """
from pathlib import Path

SECRET_KEY = "only-for-this-check"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "clerk_auth",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["clerk_auth.authentication.ClerkAuthentication"],
}
ROOT_URLCONF = "test_host"
USE_TZ = True
CLERK_AUTH = {"ISSUER": "https://clerk.example.com", "JWT_KEY": Path("public.pem").read_text()}
"""

WRITE_PUBLIC_KEY = """
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
with open("public.pem", "wb") as file:
    file.write(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
"""

# A host's own tests: the fixtures are there because the wheel's entry point says so.
HOST_TESTS = """
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response

@api_view(["GET"])
def me(request):
    return Response({"user": request.user.pk})

urlpatterns = [path("me", me)]

def test_user_is_let_in(clerk_client):
    clerk_client.sign_in("user_alice")
    assert clerk_client.get("/me").json() == {"user": "user_alice"}

def test_bad_tokens_are_not(client, clerk_bad_tokens):
    for bad in clerk_bad_tokens:
        assert client.get("/me", headers=bad.headers).json()["code"] == bad.code

def test_keys_are_fetched(clerk_client, clerk_jwks_server):
    test_user_is_let_in(clerk_client)
    assert clerk_jwks_server.fetches == 1
"""

# `contrib` is left out: each of its modules needs a library that the wheel does not ask for. So are
# the pytest plugin, which needs pytest, and `testing`, which must refuse.
IMPORT_ALL = """
import importlib, pkgutil, sys
import django

django.setup()
import clerk_auth

names = [
    module.name
    for module in pkgutil.walk_packages(clerk_auth.__path__, "clerk_auth.")
    if not module.name.startswith(
        ("clerk_auth.contrib.", "clerk_auth.pytest_plugin", "clerk_auth.testing")
    )
]
for name in names:
    importlib.import_module(name)
try:
    import clerk_auth.testing
except ImportError:
    pass
else:
    raise SystemExit("clerk_auth.testing can be imported outside a test run")
assert clerk_auth.__file__.startswith(sys.prefix), clerk_auth.__file__
print(f"imported {len(names)} modules from {clerk_auth.__path__[0]}")
"""


def check_names(kind: str, names: list[str], *, required: list[str], allowed: list[str]) -> None:
    missing = [name for name in required if name not in names]
    foreign = [name for name in names if not name.startswith(tuple(allowed))]
    private = [name for name in names if PurePosixPath(name).name.endswith(PRIVATE_ENDINGS)]
    if missing or foreign or private:
        raise SystemExit(f"{kind}: {missing=} {foreign=} {private=}")
    print(f"{kind}: {len(names)} files")


def check_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    check_names(
        "wheel",
        names,
        required=["clerk_auth/py.typed", f"{STEM}.dist-info/licenses/LICENSE"]
        + [source.relative_to(ROOT).as_posix() for source in (ROOT / "clerk_auth").rglob("*.py")],
        allowed=["clerk_auth/", f"{STEM}.dist-info/"],
    )


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as sdist:
        names = [member.name.removeprefix(f"{STEM}/") for member in sdist if member.isfile()]
    check_names(
        "sdist",
        names,
        required=["LICENSE", "README.md", "pyproject.toml", "clerk_auth/py.typed", "manage.py"],
        allowed=[
            ".github/", "bench/", "clerk_auth/", "deploy/", "docs/", "project/", "tests/",
            ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PKG-INFO",
            "README.md", "SECURITY.md", "manage.py", "pyproject.toml", "requirements.txt",
            "tox.ini",
        ],
    )  # fmt: skip


def use_installed(wheel: Path, directory: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST_", "VIRTUAL_ENV", "DJANGO_", "CLERK_"))
    } | {"DJANGO_SETTINGS_MODULE": "host_settings", "PYTHONPATH": str(directory)}
    venv.create(directory / "venv", with_pip=True)
    python = str(directory / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")

    def run(*arguments: str) -> None:
        print("$ python", *(text for text in arguments if "\n" not in text), flush=True)
        if subprocess.run([python, *arguments], cwd=directory, env=environment).returncode:
            raise SystemExit("dist: failed")

    pip_install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip_install, str(wheel))
    (directory / "host_settings.py").write_text(HOST_SETTINGS)
    (directory / "test_host.py").write_text(HOST_TESTS)
    run("-c", WRITE_PUBLIC_KEY)
    run("-W", "error", "-c", IMPORT_ALL)
    run("-W", "error", "-m", "django", "clerk_selftest", "--offline")
    run(*pip_install, "pytest-django")
    run("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_host.py")


def main(directory: str) -> None:
    (wheel,) = Path(directory).resolve().glob("*.whl")
    (sdist,) = Path(directory).resolve().glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    with tempfile.TemporaryDirectory() as outside:
        use_installed(wheel, Path(outside))
    print(f"dist: {STEM} installs, imports, passes its self-test and a host's tests elsewhere")


if __name__ == "__main__":
    main(sys.argv[1])
