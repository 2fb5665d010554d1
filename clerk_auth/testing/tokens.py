"""Tokens for tests: good ones, and each kind of bad one with the code that it must get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clerk_auth.conf import DEFAULT_INSTANCE, get_config
from clerk_auth.core.claims import Claims, is_factor_age
from clerk_auth.core.encoding import decode_base64url, parse_json_object
from clerk_auth.error_reports import hide_locals
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import ABSENT, TOKEN_SECONDS
from clerk_auth.issuer.payloads import Names, authorization_claims, recipient_claims
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.testing.instance import signer_in_force
from clerk_auth.verifier import Verifier

__all__ = ["TEST_USER", "BadCredential", "BadTokens", "clerk_claims", "clerk_token"]

TEST_USER = "user_test"

# Misspelled arguments, which would become customised claims and grant nothing.
_SLIPS = {"permission": "permissions", "feature": "features", "plans": "plan"}


@hide_locals
def clerk_token(
    user_id: str = TEST_USER,
    *,
    org: str | None = None,
    org_slug: str | None = None,
    role: str | None = None,
    permissions: Names = (),
    plan: Names = (),
    features: Names = (),
    fva: tuple[float, float] | None = None,
    expires_in: float = TOKEN_SECONDS,
    version: int = 2,
    instance: str = DEFAULT_INSTANCE,
    **claims: Any,
) -> str:
    """Sign a session token that the settings of :func:`override_clerk_auth` accept.

    It is a token of ``instance``, an alias in ``INSTANCES``; ``azp`` and ``aud`` are the first that
    its settings allow. ``permissions`` look like
    ``reports:read``; ``plan`` and ``features`` take a scope, ``o:`` or ``u:``, the organization's
    by default where there is one. ``fva`` is the age of both factors in minutes, -1 where one is
    not enrolled. ``expires_in`` is in seconds. ``claims`` go over all of it as they are: a
    customised claim, ``act={"sub": "user_support"}``, or ``azp=ABSENT`` to leave one out.

    Raises:
        ValueError: Clerk makes no such token.
        ImproperlyConfigured: the settings in force are wrong, or have no such instance.
    """
    if unmeant := sorted(_SLIPS.keys() & claims.keys()):
        raise ValueError(f"{unmeant[0]} is not an argument: write {_SLIPS[unmeant[0]]}")
    written = authorization_claims(
        org=org,
        org_slug=org_slug,
        role=role,
        permissions=permissions,
        features=features,
        plans=plan,
        version=version,
    )
    if fva is not None:
        written["fva"] = _factor_ages(fva)
    if twice := sorted(written.keys() & claims.keys()):
        raise ValueError(f"{twice[0]} is set by other arguments too: remove one of them")
    if version == 1:
        written["v"] = ABSENT
    issuer = signer_in_force(instance)
    defaults = recipient_claims(get_config(instance))
    return issuer.token(user_id, expires_in=expires_in, **(defaults | written | claims))


@hide_locals
def clerk_claims(
    user_id: str = TEST_USER, *, instance: str = DEFAULT_INSTANCE, **arguments: Any
) -> Claims:
    """Return what ``request.auth`` holds for ``clerk_token(user_id, **arguments)``.

    For tests that bring no token, with ``force_authenticate(request, ClerkUser(claims), claims)``:
    permissions ask the claims. Your own settings do, :func:`override_clerk_auth` is not needed.

    Raises:
        TokenRejected: the settings in force refuse such a token, no matter which issuer signs it.
        ValueError, ImproperlyConfigured: as :func:`clerk_token`.
    """
    signer = signer_in_force(instance)
    policy = replace(get_config(instance).policy, issuers=frozenset({signer.issuer}))
    source = StaticKeySource((signer.verifying_key,), ignore_kid=True)
    token = clerk_token(user_id, instance=instance, **arguments)
    return Verifier(source, policy).check(token)


def _factor_ages(ages: Sequence[float]) -> list[float]:
    if len(ages) != 2 or not all(map(is_factor_age, ages)):
        raise ValueError(f"fva={ages!r}: write the minutes since each of two factors, or -1")
    return list(ages)


@dataclass(frozen=True, slots=True)
class BadCredential:
    """A token that must be refused with 401 and ``code``; ``name`` is its kind."""

    name: str
    code: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What Django's and REST framework's test clients take as ``headers``."""
        return {"Authorization": f"Bearer {self.token}"}


class BadTokens:
    """Tokens that must be refused, an attribute for each kind: ``expired``, ``wrong_party``, ...

    Each is made when it is asked for, by one change from ``clerk_token(**arguments)``. Iteration
    yields those that the settings in force refuse; to ask for another one is a ``ValueError``
    that says what would have to be set.
    """

    @hide_locals
    def __init__(self, *, instance: str = DEFAULT_INSTANCE, **arguments: Any) -> None:
        clerk_token(instance=instance, **arguments)  # raises here if they are wrong
        self._instance, self._arguments = instance, arguments

    @hide_locals
    def __getattr__(self, name: str) -> BadCredential:
        bad = _KINDS.get(name)
        if bad is None:
            raise AttributeError(
                f"{name!r} is not a kind of bad token; use one of: {', '.join(_KINDS)}"
            )
        if not bad.applies(get_config(self._instance).policy):
            raise ValueError(
                f"the settings in force do not refuse {name!r}: that takes {_TAKES[name]}"
            )
        _, payload, _ = clerk_token(instance=self._instance, **self._arguments).split(".")
        claims = parse_json_object(decode_base64url(payload))
        return BadCredential(name, bad.code, bad.make(signer_in_force(self._instance), claims))

    def __iter__(self) -> Iterator[BadCredential]:
        policy = get_config(self._instance).policy
        return (getattr(self, name) for name, bad in _KINDS.items() if bad.applies(policy))

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *_KINDS]


_KINDS = {name.replace("-", "_"): bad for name, bad in BAD_TOKENS.items()}
# If the settings accept a kind, what would make them refuse it.
_TAKES = {
    "wrong_party": "AUTHORIZED_PARTIES",
    "no_party": 'AUTHORIZED_PARTIES, and AZP_POLICY "required"',
    "wrong_audience": "AUDIENCE",
    "long_lived": "UNCATEGORIZED_TOKEN_MAX_SECONDS above 0",
    "pending": "ACCEPT_PENDING off",
    "unknown_kid": "keys that are fetched, as from a StandInClerk",
}
