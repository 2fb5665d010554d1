"""System checks of what else is installed, and of what runs us."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from django.core.checks import CheckMessage, Error, Warning

from clerk_auth.checks.registration import check

__all__ = ["check_environment"]

_FOREIGN_DISTRIBUTION = "clerk-auth-django"


@check()
def check_environment() -> Iterator[CheckMessage]:
    """E009, W010: what else is installed, and what runs us."""
    try:
        version = metadata.version(_FOREIGN_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pass
    else:
        yield Error(
            f"{_FOREIGN_DISTRIBUTION} {version} is installed: it writes into the same package, "
            "clerk_auth, and whichever came last has overwritten the other.",
            hint=f"pip uninstall {_FOREIGN_DISTRIBUTION}, then reinstall django-clerk-auth.",
            id="clerk_auth.E009",
        )
    try:
        import uwsgi  # type: ignore[import-untyped]
    except ImportError:
        return
    if not {"enable-threads", "threads"} & {_text(name) for name in uwsgi.opt}:
        yield Warning(
            "uWSGI runs without threads of the application: keys cannot be fetched.",
            hint="Add enable-threads = true to its configuration.",
            id="clerk_auth.W010",
        )


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
