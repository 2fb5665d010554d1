"""The file of a private key: made once, readable by its owner only, and refused otherwise.

A user who can read the file, or who wrote it, can sign in as any user. So a link, a file of another
user and a file that others can read are refused. Nothing is lost: a new key can be made.

Several processes may need it for the first time at once. The file is created exclusively and
written in one call; the second process reads what the first one wrote.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

__all__ = ["KEY_NAME", "KeyFileRefused", "load_or_make", "refuse"]

KEY_NAME = "signing-key.pem"
MAX_BYTES = 64 * 1024
# How long another process may take between creating the file and writing it.
PATIENCE_SECONDS = 2.0

# A flag that the platform lacks has no effect.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)
_PUBLIC = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


class KeyFileRefused(ImproperlyConfigured, ValueError):
    """The key cannot be read or must not be trusted; the message names the file."""


def refuse(directory: Path, why: str, remedy: str = "remove it to get a new one") -> KeyFileRefused:
    """Make the error that says what is wrong with the key of ``directory``."""
    return KeyFileRefused(f"The development key {directory / KEY_NAME} {why}: {remedy}.")


def load_or_make(directory: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content of ``directory``'s key file, which ``make`` provides if there is none.

    Raises:
        KeyFileRefused: it is a link, belongs to another user, is open to others or is unreadable.
    """
    try:
        key = _read(directory)
        if key is None:
            _create(directory, make())
            key = _read(directory)
    except OSError as error:
        why = f"cannot be read or made ({type(error).__name__}: {error.strerror})"
        raise refuse(directory, why, f"let this user write to {directory}") from error
    if key is None:
        raise refuse(directory, "was removed while it was being made", "try again")
    return key


def _read(directory: Path) -> bytes | None:
    """Return the key; ``None`` if there is no file."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            _check_directory(directory)
            # Once by name, for a platform that cannot refuse to follow a link.
            _check_file(directory, os.lstat(directory / KEY_NAME))
            descriptor = os.open(directory / KEY_NAME, os.O_RDONLY | _SAFELY | _NO_WAITING)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            _check_file(directory, os.fstat(descriptor))
            key = file.read(MAX_BYTES)
        if not _is_partial(key) or time.monotonic() > deadline:
            return key
        time.sleep(0.01)


def _is_partial(key: bytes) -> bool:
    """Tell whether ``key`` is the start of a PEM file that another process is still writing."""
    is_pem = b"-----BEGIN".startswith(key[:10])
    return is_pem and not (b"-----END" in key and key.rstrip().endswith(b"-----"))


def _create(directory: Path, key: bytes) -> None:
    """Write the key unless another process has."""
    is_new = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
        is_new = True
    try:
        _check_directory(directory)
    except KeyFileRefused:
        if is_new:
            os.rmdir(directory)
        raise
    # Keeps the directory out of git; an existing file or link is left as it is.
    with contextlib.suppress(FileExistsError):
        _write(directory / ".gitignore", b"*\n")
    with contextlib.suppress(FileExistsError):
        _write(directory / KEY_NAME, key, lambda found: _check_file(directory, found))


def _write(
    path: Path, data: bytes, check: Callable[[os.stat_result], None] = lambda found: None
) -> None:
    """Write a new file, whole or not at all; ``check`` sees it while it is still empty."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            check(os.fstat(descriptor))
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _check_directory(directory: Path) -> None:
    """Refuse a directory in which another user could put a key."""
    found = os.lstat(directory)
    why = _find_fault(found, _WRITABLE) or ("" if stat.S_ISDIR(found.st_mode) else "is a file")
    if why:
        remedy = f"remove {directory} to get a new one; the file system must keep owners and modes"
        raise refuse(directory, f"lies in a directory that {why}", remedy)


def _check_file(directory: Path, found: os.stat_result) -> None:
    """Refuse a file that another user can read or has written."""
    why = _find_fault(found, _PUBLIC) or ("" if stat.S_ISREG(found.st_mode) else "is not a file")
    if why:
        remedy = "remove it to get a new one; the file system must keep owners and modes"
        raise refuse(directory, why, remedy)


def _find_fault(found: os.stat_result, forbidden: int) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if not hasattr(os, "getuid"):  # Windows has neither these owners nor these modes
        return ""
    if found.st_uid != os.getuid():
        return f"belongs to another user (uid {found.st_uid})"
    if found.st_mode & forbidden:
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""
