"""A project of its own, and a key in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from clerk_auth.issuer.development import DEV_DIRECTORY, load_local_issuer
from clerk_auth.issuer.key_file import KEY_NAME
from clerk_auth.issuer.local import make_private_pem
from tests.conftest import ISSUER


@pytest.fixture
def directory(settings, tmp_path) -> Path:
    """A project of its own, where it keeps its key."""
    settings.BASE_DIR = tmp_path
    return tmp_path / DEV_DIRECTORY


@cache
def good_key() -> bytes:
    return make_private_pem()


def write_key(directory: Path, mode: int = 0o600) -> Path:
    """Write a good key, as a checkout, a copy or another user might have."""
    directory.mkdir(exist_ok=True)
    path = directory / KEY_NAME
    path.write_bytes(good_key())
    path.chmod(mode)
    return path


def thumbprint() -> str:
    return load_local_issuer(ISSUER).verifying_key.thumbprint


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
