"""System checks of which Clerk instances a view accepts, and what it asks of their users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from rest_framework.settings import api_settings

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.checks.registration import check
from clerk_auth.checks.views import View, find_leaves, find_views
from clerk_auth.conf import get_aliases, is_observing
from clerk_auth.permissions import ClerkPermission

__all__ = ["Ours", "check_aliases", "check_lists", "check_roles", "find_ours", "read_observed"]

Ours = type[ClerkAuthentication]

_OF_INSTANCE = "instance_required"
# What an instance says of its own users. That an organization is active is not among them: it
# grants nothing before the view looks at which one it is.
_GRANTS = frozenset({"role_required", "permission_required", "feature_required", "plan_required"})


@check()
def check_aliases() -> Iterator[CheckMessage]:
    """E017: classes that name an instance which is not in the settings."""
    views = [*_read_defaults(), *find_views()]
    for cls in dict.fromkeys(cls for view in views for cls in find_ours(view.authenticators)):
        if fault := _find_fault(cls):
            yield _misnaming(_name(cls), fault)
    asked = dict.fromkeys((view.name, alias) for view in views for alias in _asked_instances(view))
    for name, alias in asked:
        if not _is_instance(alias):
            yield _misnaming(name, f"asks for IsOfInstance({alias!r}), which is not an instance.")


@check()
def check_lists() -> Iterator[CheckMessage]:
    """W005: two classes of ours in one list, of which the first refuses the other's tokens."""
    views = [*_read_defaults(), *find_views()]
    pairs = dict.fromkeys(pair for view in views for pair in _find_refused(view.authenticators))
    for first, other in pairs:
        aliases = tuple(dict.fromkeys([*_read_enforced(first), *_read_enforced(other)]))
        yield Warning(
            f"{_name(other)} comes after {_name(first)}, which refuses its tokens: the first class "
            "that reads a bearer token decides.",
            hint=f"Use one class with instances = {aliases}.",
            obj=_name(other),
            id="clerk_auth.W005",
        )


@check()
def check_roles() -> Iterator[CheckMessage]:
    """W020: what one instance grants is asked for, and another instance's users come in too."""
    for view in dict.fromkeys(find_views()):
        aliases = {a for cls in find_ours(view.authenticators) for a in _read_enforced(cls)}
        leaves = _find_our_leaves(view)
        asked = [leaf.__name__ for leaf in leaves if leaf.code in _GRANTS]
        says_whose = any(leaf.code == _OF_INSTANCE for leaf in leaves)
        if len(aliases) > 1 and asked and not says_whose:
            yield Warning(
                f"{view.name} accepts users of {', '.join(sorted(aliases))}, and {asked[0]} does "
                "not tell whose it is: each instance grants it to its own users.",
                hint='Add IsOfInstance("...") to its permissions. Silence this where the instances '
                "are one organization's, as in a move from one to another.",
                obj=view.name,
                id="clerk_auth.W020",
            )


def find_ours(authenticators: Sequence[Any]) -> list[Ours]:
    """Return the classes of ours in a list of authentication classes."""
    return [c for c in authenticators if isinstance(c, type) and issubclass(c, ClerkAuthentication)]


def read_observed(cls: Ours) -> list[str]:
    """Return the instances of a class where it observes all of them; otherwise none."""
    aliases = [alias for alias in _named(cls) if _is_instance(alias) and is_observing(alias)]
    return aliases if len(aliases) == len(_named(cls)) else []


def _read_enforced(cls: Ours) -> list[str]:
    """Return the instances whose tokens a class accepts, without what E017 reports."""
    return [alias for alias in _named(cls) if _is_instance(alias) and not is_observing(alias)]


def _is_instance(alias: object) -> bool:
    return alias in get_aliases()


def _named(cls: Ours) -> tuple[Any, ...]:
    named: Any = cls.instances or (cls.instance,)
    return tuple(named) if isinstance(named, list | tuple) else ()


def _find_fault(cls: Ours) -> str | None:
    """Return what is wrong with the instances that a class names."""
    named = _named(cls)
    if not named:
        return "has `instances` that are not a tuple."
    if unknown := [alias for alias in named if not _is_instance(alias)]:
        return f"names {unknown[0]!r}, which is not an instance."
    return "names an instance twice." if len({*named}) < len(named) else None


def _find_refused(authenticators: Sequence[Any]) -> Iterator[tuple[Ours, Ours]]:
    """Yield the class that judges first, with each later one whose tokens it refuses."""
    enforcing = [cls for cls in find_ours(authenticators) if _read_enforced(cls)]
    for other in enforcing[1:]:
        if not {*_read_enforced(other)} <= {*_read_enforced(enforcing[0])}:
            yield enforcing[0], other


def _find_our_leaves(view: View) -> list[type[ClerkPermission]]:
    leaves = [leaf for permission in view.permissions for leaf in find_leaves(permission)]
    return [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, ClerkPermission)]


def _asked_instances(view: View) -> list[str]:
    """Return the aliases for which a view asks with ``IsOfInstance``."""
    leaves = [leaf for leaf in _find_our_leaves(view) if leaf.code == _OF_INSTANCE]
    # A project's own permission may have that code too.
    return [leaf.alias for leaf in leaves if hasattr(leaf, "alias")]


def _read_defaults() -> Iterator[View]:
    """Yield the default classes, as a view without any of its own has them."""
    try:
        authenticators = tuple(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
        permissions = tuple(api_settings.DEFAULT_PERMISSION_CLASSES)
    except Exception:  # REST framework's own error is clearer
        return
    yield View("REST_FRAMEWORK['DEFAULT_PERMISSION_CLASSES']", authenticators, permissions)


def _misnaming(name: str, message: str) -> CheckMessage:
    hint = f"CLERK_AUTH has these: {', '.join(get_aliases())}."
    return Error(f"{name} {message}", hint=hint, obj=name, id="clerk_auth.E017")


def _name(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__name__}"
