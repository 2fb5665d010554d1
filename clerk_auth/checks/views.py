"""Which views of REST framework the project's URLs lead to, and what each asks of its callers.

Nothing is called. What a view's own ``get_authenticators`` or ``get_permissions`` would return, and
what its methods ask, is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLResolver, get_resolver

__all__ = ["View", "find_leaves", "find_views"]


@dataclass(frozen=True, slots=True)
class View:
    """One view, by the name of its class or function, with the classes that it lists."""

    name: str
    authenticators: tuple[Any, ...]
    permissions: tuple[Any, ...]


def find_views() -> Iterator[View]:
    """Yield each view, once for each path that leads to it."""
    for callback in _find_callbacks():
        cls = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        # Not by its base, whose module imports all that REST framework's settings name.
        if not isinstance(cls, type) or not hasattr(cls, "authentication_classes"):
            continue
        # What a router, `@action` or `as_view(...)` puts in place of the class's own.
        given = getattr(callback, "initkwargs", None) or {}
        authenticators, permissions = (
            given.get(name, getattr(cls, name, ()))
            for name in ("authentication_classes", "permission_classes")
        )
        # Not the qualified name: the class that `@api_view` makes has only the function's.
        yield View(
            f"{cls.__module__}.{cls.__name__}", _listed(authenticators), _listed(permissions)
        )


def find_leaves(permission: Any) -> Iterator[Any]:
    """Yield the permission classes of which a combination, ours or REST framework's, is made."""
    parts = [
        *getattr(permission, "operands", ()),
        *(getattr(permission, name, None) for name in ("operand", "op1_class", "op2_class")),
    ]
    if not any(parts):
        yield permission
    for part in filter(None, parts):
        yield from find_leaves(part)


def _find_callbacks(resolver: URLResolver | None = None) -> Iterator[Any]:
    try:
        patterns = list((resolver or get_resolver()).url_patterns)
    except Exception:  # the project's own module or setting, of which Django says so
        return
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _find_callbacks(pattern)
        else:
            yield getattr(pattern, "callback", None)


def _listed(classes: Any) -> tuple[Any, ...]:
    return tuple(classes) if isinstance(classes, list | tuple) else ()
