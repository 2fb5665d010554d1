"""The package as it stands in a commit."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from bench.environment import ROOT


def export_package(revision: str, directory: Path) -> str:
    """Write the package of a commit below ``directory``; return the commit's short name.

    ``subprocess.CalledProcessError`` if there is no such commit; Git says why on standard error.
    """
    commit = _git("rev-parse", "--short", "--verify", f"{revision}^{{commit}}").decode().strip()
    with tarfile.open(fileobj=BytesIO(_git("archive", commit, "clerk_auth"))) as archive:
        archive.extractall(directory, filter="data")
    return commit


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
