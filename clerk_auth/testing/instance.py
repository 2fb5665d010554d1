"""The Clerk instance that tests trust: a throw-away issuer, or a stand-in that serves its keys."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from django.conf import settings
from django.test import override_settings

from clerk_auth.conf import get_config
from clerk_auth.issuer.local import LocalIssuer, throw_away_issuer
from clerk_auth.issuer.standin import StandInClerk

__all__ = ["clerk_auth_settings", "override_clerk_auth", "signer_in_force"]

# The settings that say whose tokens are accepted.
_INSTANCE_KEYS = frozenset(
    {"DEV_MODE", "FRONTEND_API", "ISSUER", "JWKS_URL", "JWT_KEY", "PUBLISHABLE_KEY"}
)
_servers: WeakValueDictionary[str, StandInClerk] = WeakValueDictionary()


def _own_issuer() -> LocalIssuer:
    return throw_away_issuer("https://clerk-auth-testing.invalid", kid="ins_testing")


def signer_in_force() -> LocalIssuer:
    """Return the issuer that the settings trust: a stand-in's, or else the throw-away issuer.

    Raises:
        ImproperlyConfigured: the settings in force are wrong.
    """
    server = _servers.get(get_config().issuers[0])
    return _own_issuer() if server is None else server.signer


def clerk_auth_settings(server: StandInClerk | None = None, **changes: Any) -> dict[str, Any]:
    """Return ``CLERK_AUTH`` as it is in force, with the keys of the throw-away issuer.

    With ``server`` the keys are fetched from it, on the production path. ``changes`` are settings
    to go with it, such as ``AUDIENCE="api"``.
    """
    if fixed := sorted(_INSTANCE_KEYS & changes.keys()):
        raise TypeError(f"{', '.join(fixed)} cannot be given: the issuer of the tests sets it")
    host = getattr(settings, "CLERK_AUTH", {})
    kept = {key: value for key, value in host.items() if key not in _INSTANCE_KEYS}
    if server is None:
        issuer = _own_issuer()
        instance = {"ISSUER": issuer.issuer, "JWT_KEY": issuer.public_pem}
    else:
        _servers[server.issuer] = server
        instance = {"ISSUER": server.issuer, "JWKS_URL": server.jwks_url}
    return {**kept, **changes, **instance}


def override_clerk_auth(server: StandInClerk | None = None, **changes: Any) -> override_settings:
    """Put :func:`clerk_auth_settings` in force: a decorator or context manager.

    It is Django's ``override_settings``, and decorates what that does.
    """
    return override_settings(CLERK_AUTH=clerk_auth_settings(server, **changes))
