"""The claims that Clerk writes about a token's recipient, organization, features and plans.

Used by ``clerk_token``, the self-test and ``clerk_auth.testing``; ``core.claims`` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clerk_auth.conf import Config
from clerk_auth.core.authorization import SCOPES
from clerk_auth.core.claims import is_simple_name

__all__ = ["Names", "authorization_claims", "recipient_claims"]

Names = str | Iterable[str]

# A question names one scope; Clerk also writes both.
_SCOPES = {**SCOPES, "ou": "uo", "uo": "uo"}


def recipient_claims(config: Config) -> dict[str, Any]:
    """Return ``azp`` and ``aud``: the first party and audience of the settings, if any."""
    allowed = {"azp": config.authorized_parties, "aud": config.audience}
    return {claim: values[0] for claim, values in allowed.items() if values}


def authorization_claims(
    *,
    org: str | None = None,
    org_slug: str | None = None,
    role: str | None = None,
    permissions: Names = (),
    features: Names = (),
    plans: Names = (),
    version: int = 2,
) -> dict[str, Any]:
    """Return the claims of an organization, of features and of plans, as Clerk writes them.

    ``permissions`` look like ``reports:read``, with or without ``org:``. Features and plans take a
    scope, as in ``o:reports`` or ``u:beta``; without one they are the organization's, or the
    user's where there is none. A string stands for a list of one.

    Raises:
        ValueError: Clerk makes no such token.
    """
    granted = [_split_permission(text) for text in _listed(permissions)]
    scoped_features = [_scoped(text, org) for text in _listed(features)]
    scoped_plans = [_scoped(text, org) for text in _listed(plans)]
    if org is None and (granted or role is not None or org_slug is not None):
        raise ValueError("a role, a permission or a slug needs an organization")
    role = role and role.removeprefix("org:")
    for value in (org, org_slug, role):
        if value is not None and not is_simple_name(value):
            raise ValueError(f"{value!r} is not a valid id, slug or role of an organization")
    if version == 2:
        return _version_2(org, org_slug, role, granted, scoped_features, scoped_plans)
    if version != 1:
        raise ValueError(f"{version!r} is not a version of Clerk's claims: use 1 or 2")
    if scoped_features or scoped_plans:
        raise ValueError("features and plans are in tokens of version 2 only")
    return _without_empty(
        org_id=org,
        org_slug=org_slug,
        org_role=role and f"org:{role}",
        org_permissions=[f"org:{feature}:{name}" for feature, name in granted],
    )


def _version_2(
    org: str | None,
    slug: str | None,
    role: str | None,
    granted: list[tuple[str, str]],
    features: list[str],
    plans: list[str],
) -> dict[str, Any]:
    """Write permissions as a bit mask of names for each of all features, in their order."""
    features = _distinct([*features, *(f"o:{feature}" for feature, _ in granted)])
    names = _distinct(name for _, name in granted)
    masks = [
        sum(1 << bit for bit, name in enumerate(names) if (entry[2:], name) in granted)
        if entry.startswith("o:")
        else 0
        for entry in features
    ]
    organization = _without_empty(id=org, slg=slug, rol=role, per=",".join(names))
    if names:
        organization["fpm"] = ",".join(map(str, masks))
    return _without_empty(o=organization, fea=",".join(features), pla=",".join(_distinct(plans)))


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _without_empty(**claims: Any) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value}


def _split_permission(text: str) -> tuple[str, str]:
    feature, _, name = text.removeprefix("org:").partition(":")
    if not (is_simple_name(feature) and is_simple_name(name)):
        raise ValueError(f"{text!r} is not a valid permission: write it as in reports:read")
    if feature.startswith("sys_"):
        raise ValueError(f"{text!r} is a system permission, which Clerk does not put into tokens")
    return feature, name


def _scoped(text: str, org: str | None) -> str:
    scope, colon, name = text.rpartition(":")
    scope = _SCOPES.get(scope, "") if colon else "u" if org is None else "o"
    if not (scope and is_simple_name(name)):
        raise ValueError(f"{text!r} is not a valid feature or plan: write reports or u:beta")
    if scope == "o" and org is None:
        raise ValueError(f"{text!r} belongs to an organization: name one")
    return f"{scope}:{name}"
