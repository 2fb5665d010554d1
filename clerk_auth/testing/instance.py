"""The Clerk instances that tests trust: throw-away issuers, or a stand-in that serves its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from django.conf import settings
from django.test import override_settings

from clerk_auth.conf import DEFAULT_INSTANCE, get_config
from clerk_auth.conf.aliases import INSTANCES, read_instances
from clerk_auth.conf.problems import no_instance
from clerk_auth.issuer.local import LocalIssuer, throw_away_issuer
from clerk_auth.issuer.standin import StandInClerk

__all__ = ["clerk_auth_settings", "override_clerk_auth", "signer_in_force"]

# The settings that say whose tokens are accepted.
_INSTANCE_KEYS = frozenset(
    {"DEV_MODE", "FRONTEND_API", "ISSUER", "JWKS_URL", "JWT_KEY", "PUBLISHABLE_KEY"}
)
_ORIGIN = "https://clerk-auth-testing.invalid"
_servers: WeakValueDictionary[str, StandInClerk] = WeakValueDictionary()


def _own_issuer(alias: str) -> LocalIssuer:
    """Return the throw-away issuer of an instance: each has a name and a key of its own."""
    # In the path: the case of an alias counts, and that of a host does not.
    is_default = alias == DEFAULT_INSTANCE
    return throw_away_issuer(_ORIGIN if is_default else f"{_ORIGIN}/{alias}", kid="ins_testing")


def signer_in_force(alias: str = DEFAULT_INSTANCE) -> LocalIssuer:
    """Return the issuer that an instance trusts: a stand-in's, or else its throw-away issuer.

    Raises:
        ImproperlyConfigured: the settings in force are wrong, or have no such instance.
    """
    server = _servers.get(get_config(alias).issuers[0])
    return _own_issuer(alias) if server is None else server.signer


def clerk_auth_settings(
    server: StandInClerk | None = None, *, instance: str = DEFAULT_INSTANCE, **changes: Any
) -> dict[str, Any]:
    """Return ``CLERK_AUTH`` as it is in force, with each instance's keys of a throw-away issuer.

    With ``server`` those of ``instance`` are fetched from it, on the production path. ``changes``
    are settings of that instance to go with it, such as ``AUDIENCE="api"``. The others stay as they
    are where they have the keys of a test already.

    Raises:
        ImproperlyConfigured: there is no such instance.
    """
    if fixed := sorted(_INSTANCE_KEYS & changes.keys()):
        raise TypeError(f"{', '.join(fixed)} cannot be given: the issuer of the tests sets it")
    top: dict[str, Any] = {**getattr(settings, "CLERK_AUTH", {})}
    if instance == DEFAULT_INSTANCE:
        top |= changes
    others = {a: own for a, own in read_instances(top).items() if isinstance(own, Mapping)}
    if instance not in (DEFAULT_INSTANCE, *others):
        raise no_instance(instance, (DEFAULT_INSTANCE, *others))

    for alias, own in others.items():
        if alias == instance:
            others[alias] = _trust(alias, {**own, **changes}, server)
        elif not _is_of_a_test(own):
            others[alias] = _trust(alias, own)
    if instance == DEFAULT_INSTANCE or not _is_of_a_test(top):
        top = _trust(DEFAULT_INSTANCE, top, server if instance == DEFAULT_INSTANCE else None)
    return {**top, INSTANCES: {**top[INSTANCES], **others}} if others else top


def override_clerk_auth(
    server: StandInClerk | None = None, *, instance: str = DEFAULT_INSTANCE, **changes: Any
) -> override_settings:
    """Put :func:`clerk_auth_settings` in force: a decorator or context manager.

    It is Django's ``override_settings``, and decorates what that does.
    """
    return override_settings(CLERK_AUTH=clerk_auth_settings(server, instance=instance, **changes))


def _trust(
    alias: str, values: Mapping[str, Any], server: StandInClerk | None = None
) -> dict[str, Any]:
    """Return an instance's settings with the keys of ``server``, or of its throw-away issuer."""
    # Another instance has no DEV_MODE, and the error that says so stays.
    fixed = _INSTANCE_KEYS if alias == DEFAULT_INSTANCE else _INSTANCE_KEYS - {"DEV_MODE"}
    kept = {key: value for key, value in values.items() if key not in fixed}
    if server is None:
        issuer = _own_issuer(alias)
        return {**kept, "ISSUER": issuer.issuer, "JWT_KEY": issuer.public_pem}
    _servers[server.issuer] = server
    return {**kept, "ISSUER": server.issuer, "JWKS_URL": server.jwks_url}


def _is_of_a_test(values: Mapping[str, Any]) -> bool:
    issuer = str(values.get("ISSUER"))
    return issuer in _servers or issuer.startswith(_ORIGIN)
