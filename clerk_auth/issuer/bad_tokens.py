"""Tokens that must be refused, and the code of each refusal.

The self-test, ``clerk_token --bad``, ``clerk_auth.testing`` and the demo share this list. Each
token is made from the claims of a good one by one change.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from clerk_auth.core import errors
from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.local import ABSENT, LocalIssuer, encode_segment, merge, throw_away_issuer

__all__ = ["BAD_TOKENS", "BadToken"]

Payload = Mapping[str, Any]
Make = Callable[[LocalIssuer, Payload, VerifyingKey], str]

_FOREIGN_ORIGIN = "https://foreign.invalid"
_M2M_CATEGORY = "cl_B7d4PD333AAA"
_TEMPLATE_CATEGORY = "cl_B7d4PD222AAA"
# Further ahead than UNCATEGORIZED_TOKEN_MAX_SECONDS can be.
_FAR_SECONDS = 10**10


@dataclass(frozen=True, slots=True)
class BadToken:
    """One way to be refused: ``title`` for reports, ``error`` is what a verifier must raise.

    A token ``by_claims`` has other claims and the issuer's own signature; the others can be made
    by an attacker who knows only the public key.
    """

    name: str
    title: str
    error: type[TokenRejected]
    by_claims: bool
    _make: Make
    _applies: Callable[[Policy], bool] = lambda policy: True

    @property
    def code(self) -> str:
        return self.error.code

    def applies(self, policy: Policy) -> bool:
        """Tell whether ``policy`` refuses it."""
        return self._applies(policy)

    def make(
        self, issuer: LocalIssuer, payload: Payload, genuine_key: VerifyingKey | None = None
    ) -> str:
        """Make it from the claims of a good token.

        The token pretends to be signed with the private half of ``genuine_key``, by default the
        issuer's own key.
        """
        return self._make(issuer, payload, genuine_key or issuer.verifying_key)


def _changed(**changes: Any) -> Make:
    return lambda issuer, payload, key: issuer.sign(merge(payload, changes))


def _under(**header: Any) -> Make:
    return lambda issuer, payload, key: issuer.sign(payload, {"kid": key.kid, **header})


def _shifted(seconds: int) -> Make:
    def make(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
        times = {claim: payload[claim] + seconds for claim in ("iat", "nbf", "exp")}
        return issuer.sign({**payload, **times})

    return make


def _long_lived(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    return issuer.sign({**payload, "exp": payload["iat"] + _FAR_SECONDS}, {"cat": ABSENT})


def _machine(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    return issuer.sign({**payload, "sub": "mch_local"}, {"cat": _M2M_CATEGORY})


def _forger(kid: str) -> LocalIssuer:
    return throw_away_issuer(_FOREIGN_ORIGIN).acting_as(_FOREIGN_ORIGIN, kid=kid)


def _forged(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    return _forger(key.kid).sign(payload)


def _tampered(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    header, _, signature = issuer.sign(payload, {"kid": key.kid}).split(".")
    return f"{header}.{encode_segment({**payload, 'sub': 'user_somebody_else'})}.{signature}"


def _unsigned(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    return f"{encode_segment({'alg': 'none', 'kid': key.kid})}.{encode_segment(payload)}."


def _none_with_signature(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    return _unsigned(issuer, payload, key) + issuer.sign(payload).rpartition(".")[2]


def _hs256(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    header = encode_segment({"alg": "HS256", "kid": key.kid, "typ": "JWT"})
    signing_input = f"{header}.{encode_segment(payload)}"
    mac = hmac.digest(key.to_pem(), signing_input.encode("ascii"), "sha256")
    return f"{signing_input}.{encode_base64url(mac)}"


def _embedded_key(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    forger = _forger(key.kid)
    return forger.sign(payload, {"jwk": forger.jwk})


def _malformed(issuer: LocalIssuer, payload: Payload, key: VerifyingKey) -> str:
    return encode_base64url(json.dumps(dict(payload)).encode("utf-8"))


def _checks_party(policy: Policy) -> bool:
    return bool(policy.authorized_parties)


def _requires_party(policy: Policy) -> bool:
    return _checks_party(policy) and policy.party_required


def _checks_audience(policy: Policy) -> bool:
    return bool(policy.audiences)


_ALL = (
    BadToken("expired", "expired", errors.TokenExpired, True, _shifted(-7200)),
    BadToken("not-yet-valid", "not valid yet", errors.TokenNotYetValid, True, _shifted(7200)),
    BadToken(
        "wrong-issuer",
        "of another issuer",
        errors.IssuerNotAllowed,
        True,
        _changed(iss=_FOREIGN_ORIGIN),
    ),
    BadToken(
        "wrong-party",
        "for another party",
        errors.PartyNotAllowed,
        True,
        _changed(azp=_FOREIGN_ORIGIN),
        _checks_party,
    ),
    BadToken(
        "no-party",
        "without a party",
        errors.PartyNotAllowed,
        True,
        _changed(azp=ABSENT),
        _requires_party,
    ),
    BadToken(
        "wrong-audience",
        "for another audience",
        errors.AudienceNotAllowed,
        True,
        _changed(aud=_FOREIGN_ORIGIN),
        _checks_audience,
    ),
    BadToken("no-expiry", "without expiry", errors.ClaimInvalid, True, _changed(exp=ABSENT)),
    BadToken(
        "long-lived",
        "long-lived, without session category",
        errors.ClaimInvalid,
        True,
        _long_lived,
        lambda policy: 0 < policy.uncategorized_token_max_seconds < _FAR_SECONDS,
    ),
    BadToken("no-subject", "without subject", errors.ClaimInvalid, True, _changed(sub=ABSENT)),
    BadToken("no-session", "without session", errors.ClaimInvalid, True, _changed(sid=ABSENT)),
    BadToken(
        "pending",
        "of a pending session",
        errors.SessionPending,
        True,
        _changed(sts="pending"),
        lambda policy: not policy.accept_pending,
    ),
    BadToken("machine", "of a machine (M2M)", errors.TokenClassNotAccepted, True, _machine),
    BadToken(
        "template",
        "made with a JWT template",
        errors.TokenClassNotAccepted,
        True,
        _under(cat=_TEMPLATE_CATEGORY),
    ),
    BadToken(
        "oauth", "of an OAuth client", errors.TokenClassNotAccepted, True, _under(typ="at+jwt")
    ),
    BadToken("forged", "signed with another key", errors.SignatureInvalid, False, _forged),
    BadToken("tampered", "changed after signing", errors.SignatureInvalid, False, _tampered),
    BadToken(
        "embedded-key", "that brings its own key", errors.SignatureInvalid, False, _embedded_key
    ),
    BadToken("alg-none-unsigned", "alg none, unsigned", errors.TokenMalformed, False, _unsigned),
    BadToken(
        "alg-none",
        "alg none, with a signature",
        errors.AlgorithmNotAllowed,
        False,
        _none_with_signature,
    ),
    BadToken("hs256", "HS256 with the public key", errors.AlgorithmNotAllowed, False, _hs256),
    BadToken(
        "unknown-kid",
        "under an unknown key id",
        errors.KeyNotFound,
        False,
        _under(kid="ins_of_nobody"),
        lambda policy: policy.kid_required,
    ),
    BadToken("malformed", "that is not a JWT", errors.TokenMalformed, False, _malformed),
)

BAD_TOKENS: Mapping[str, BadToken] = MappingProxyType({bad.name: bad for bad in _ALL})
