"""What can go wrong with a token, and whose fault it is.

Two kinds never mix: ``TokenRejected`` is the caller's (HTTP 401), ``KeysUnavailable`` is ours
(HTTP 503). Every class has a stable ``code`` and a fixed ``detail`` sentence that may be shown to
a client. What went wrong in particular is ``reason``, which is for the log: neither holds any part
of a token. What Clerk wrote into a claim may be ``found``, for the log as well.
"""

from __future__ import annotations

from typing import ClassVar


class ClerkAuthError(Exception):
    """Base of every error that verification raises."""

    code: ClassVar[str]
    detail: ClassVar[str]

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or self.detail)
        self.reason = reason


class TokenRejected(ClerkAuthError):
    """The token does not authenticate anybody. ``claim`` names the claim at fault, if one is.

    ``found`` is what that claim says, as the beginning of its JSON in printable ASCII. It is set
    where an operator needs it, and only of a claim that is checked once the signature holds.
    """

    def __init__(
        self, reason: str = "", *, claim: str | None = None, found: str | None = None
    ) -> None:
        super().__init__(reason)
        self.claim = claim
        self.found = found


class TokenMalformed(TokenRejected):
    code = "token_malformed"
    detail = "The credential is not a well-formed session token."


class AlgorithmNotAllowed(TokenRejected):
    code = "algorithm_not_allowed"
    detail = "The token is signed with an algorithm that is not allowed."


class TokenClassNotAccepted(TokenRejected):
    code = "token_class_not_accepted"
    detail = "This class of token is not accepted here: send a session token."


class KeyNotFound(TokenRejected):
    code = "key_not_found"
    detail = "The token is signed with an unknown key."


class SignatureInvalid(TokenRejected):
    code = "signature_invalid"
    detail = "The token's signature is not valid."


class TokenExpired(TokenRejected):
    code = "token_expired"
    detail = "The token has expired."


class TokenNotYetValid(TokenRejected):
    code = "token_not_yet_valid"
    detail = "The token is not valid yet."


class IssuerNotAllowed(TokenRejected):
    code = "issuer_not_allowed"
    detail = "The token's issuer is not allowed."


class PartyNotAllowed(TokenRejected):
    code = "party_not_allowed"
    detail = "The token was issued to a party that is not allowed."


class AudienceNotAllowed(TokenRejected):
    code = "audience_not_allowed"
    detail = "The token is meant for another audience."


class ClaimInvalid(TokenRejected):
    code = "claim_invalid"
    detail = "The token lacks a required claim, or carries a malformed one."


class SessionPending(TokenRejected):
    code = "session_pending"
    detail = "The session has pending tasks."


class UserInactive(TokenRejected):
    code = "user_inactive"
    detail = "The user account is inactive."


class UserUnknown(TokenRejected):
    """The person has no row here: not linked yet, or not imported."""

    code = "user_unknown"
    detail = "The user has no account here."


class KeysUnavailable(ClerkAuthError):
    """No key set that may be used. ``retry_after`` is in seconds."""

    code = "keys_unavailable"
    detail = "Authentication is temporarily unavailable."

    def __init__(self, reason: str = "", *, retry_after: float = 5.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class KeysBusy(KeysUnavailable):
    """Too many requests wait for an unknown key id already."""

    code = "keys_busy"

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason, retry_after=1.0)


class KeySetInvalid(ClerkAuthError):
    """A key document that must not replace anything; ``code`` is never shown to a client."""

    code = "key_set_invalid"
    detail = "The key document cannot be used."


REJECTIONS: tuple[type[TokenRejected], ...] = (
    TokenMalformed,
    AlgorithmNotAllowed,
    TokenClassNotAccepted,
    KeyNotFound,
    SignatureInvalid,
    TokenExpired,
    TokenNotYetValid,
    IssuerNotAllowed,
    PartyNotAllowed,
    AudienceNotAllowed,
    ClaimInvalid,
    SessionPending,
    UserInactive,
    UserUnknown,
)
OUTAGES: tuple[type[KeysUnavailable], ...] = (KeysUnavailable, KeysBusy)
CODES: tuple[str, ...] = tuple(error.code for error in (*REJECTIONS, *OUTAGES))
# Why the key document was not had: by the exchange itself, and by what came.
FETCH_REASONS: tuple[str, ...] = (
    *("timeout", "connection", "tls", "redirect", "status", "body", "too_large"),
    *("not_json", "not_a_key_set", "too_many_keys", "no_usable_key"),
)
