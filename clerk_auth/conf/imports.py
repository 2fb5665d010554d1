"""Importing what a setting names by its dotted path, with errors that do not quote the path."""

from __future__ import annotations

import sys
from itertools import accumulate
from typing import Any

from django.utils.module_loading import import_string

__all__ = ["import_named"]


def import_named(key: str, path: str) -> Any:
    """Return what ``path``, a value of the setting ``key``, names.

    Raises:
        ImportError: there is nothing of that name; says how far the path leads.
        Exception: whatever its module raises when it is imported.
    """
    try:
        return import_string(path)
    except ImportError as error:
        if not _is_missing_of(error, path):
            raise
        kind = ModuleNotFoundError if isinstance(error, ModuleNotFoundError) else ImportError
        # Its own message, and that of its cause, quote the path.
        raise kind(f"CLERK_AUTH[{key!r}] names what is not there: {_describe_path(path)}") from None


def _is_missing_of(error: ImportError, path: str) -> bool:
    """Tell whether a part of the path is missing, and not something that its module needs."""
    if error.name is None:
        return isinstance(error.__cause__, AttributeError)
    return f"{path}.".startswith(f"{error.name}.")


def _describe_path(path: str) -> str:
    """Name what is there of the path: names of modules are no secrets."""
    parts = accumulate(path.split(".")[:-1], "{}.{}".format)
    loaded = [part for part in parts if part in sys.modules]
    if not loaded:
        return "there is no module of its first name."
    return f"{loaded[-1]} is there, and the next name is not in it."
