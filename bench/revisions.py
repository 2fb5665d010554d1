"""The package as it stands in a commit."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from bench.environment import ROOT


def export_package(revision: str, directory: Path) -> str:
    """Write the package of a commit below ``directory``; return the commit's short name.

    ``subprocess.CalledProcessError`` if there is no such commit; Git says why on standard error.
    """
    commit = _git("rev-parse", "--short", "--verify", f"{revision}^{{commit}}").decode().strip()
    with ZipFile(BytesIO(_git("archive", "--format=zip", commit, "clerk_auth"))) as archive:
        archive.extractall(directory)
    return commit


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
