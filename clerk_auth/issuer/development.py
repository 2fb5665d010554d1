"""The issuer of development mode: its private key lies in a directory of the project.

Development mode swaps the key source for this issuer's key; every rule still runs.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.issuer import key_file
from clerk_auth.issuer.local import LocalIssuer, make_private_pem

__all__ = ["DEV_DIRECTORY", "find_dev_directory", "load_local_issuer"]

DEV_DIRECTORY = Path(".clerk-dev")


def find_dev_directory() -> Path:
    """Return where the development key lies: ``.clerk-dev`` of the project.

    That is in ``BASE_DIR`` if the settings have one, so that every process of a project finds the
    same key, and otherwise in the working directory.
    """
    try:
        base = getattr(settings, "BASE_DIR", None)
    except ImproperlyConfigured:  # there are no settings at all
        base = None
    here = Path(base) if isinstance(base, str | Path) and str(base) else Path()
    return Path(os.path.abspath(here)) / DEV_DIRECTORY


def load_local_issuer(issuer: str) -> LocalIssuer:
    """Return the development issuer; its key is made on first use, in :func:`find_dev_directory`.

    Raises:
        KeyFileRefused: the key cannot be read or made, or others than its owner may read it.
    """
    directory = find_dev_directory()
    pem = key_file.load_or_make(directory, make_private_pem)
    try:
        return LocalIssuer.from_pem(pem, issuer)
    except ValueError:
        raise key_file.refuse(directory, "does not hold a PEM private key of RSA") from None
