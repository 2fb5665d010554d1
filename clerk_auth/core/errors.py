"""What can go wrong with a token, and whose fault it is.

ClerkAuthError
    TokenRejected      401: the caller's fault
        TokenMalformed  AlgorithmNotAllowed  TokenClassNotAccepted  KeyNotFound  SignatureInvalid
        TokenExpired  TokenNotYetValid  IssuerNotAllowed  PartyNotAllowed  AudienceNotAllowed
        ClaimInvalid  SessionPending  UserInactive  UserUnknown
    KeysUnavailable    503: ours
        KeysBusy
    KeySetInvalid      of a key document, and never answered to a client

The two kinds never mix. Every class has a stable ``code`` and a fixed ``detail`` sentence that may
be shown to a client. What went wrong in particular is for the log: a ``reason``, and facts.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypedDict, Unpack

__all__ = [
    "CODES", "FETCH_REASONS", "OUTAGES", "REASONS", "REJECTIONS", "AlgorithmNotAllowed",
    "AudienceNotAllowed", "ClaimInvalid", "ClerkAuthError", "Facts", "IssuerNotAllowed",
    "KeyNotFound", "KeySetInvalid", "KeysBusy", "KeysUnavailable", "PartyNotAllowed",
    "SessionPending", "SignatureInvalid", "TokenClassNotAccepted", "TokenExpired", "TokenMalformed",
    "TokenNotYetValid", "TokenRejected", "UserInactive", "UserUnknown",
]  # fmt: skip

# Every reason that this package gives; a project's own resolver may write what it likes.
REASONS = frozenset(
    {
        *("missing", "malformed", "mismatch"),  # a claim, or a member of the header
        *("too_long", "not_ascii", "not_compact", "not_utf8", "not_json", "other_class"),
        *("not_in_key_set", "not_configured", "not_looked_for"),
        *("past", "future", "too_far_ahead", "pending", "unknown"),
        *("inactive", "has_password", "other_id", "hidden", "not_authenticated"),
        *("no_row", "not_created", "unfit"),
        *("no_keys", "fetch_failed", "busy"),
    }
)


class Facts(TypedDict, total=False):
    """What is known beside a reason and a claim; nothing that a caller wrote but ``found``.

    ``found`` is the beginning of the claim's JSON in printable ASCII. It is set where an operator
    needs it, and only of a claim that is checked once the signature holds.
    """

    part: str  # what is at fault, where no claim is: the header, one of its members, the whole
    found: str
    limit: float
    kid_sha256: str  # 8 digits that stand for the key id
    cause: str  # why keys cannot be had, or what for others wait


class ClerkAuthError(Exception):
    """Base of every error that verification raises; ``claim`` names the claim at fault, if any."""

    code: ClassVar[str]
    detail: ClassVar[str]

    def __init__(
        self, reason: str = "", *, claim: str | None = None, **facts: Unpack[Facts]
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.claim = claim
        self.subject = claim or facts.get("part")
        self.found = facts.get("found")
        self.facts: dict[str, Any] = {**dict.fromkeys(Facts.__annotations__), **facts}

    def __str__(self) -> str:
        why = f"{self.subject or ''} {self.reason}".strip()
        return f"{self.code} ({why})" if self.reason else self.detail


class TokenRejected(ClerkAuthError):
    """The caller is not authenticated."""


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
    """The user has no row here: not linked yet, or not imported."""

    code = "user_unknown"
    detail = "The user has no account here."


class KeysUnavailable(ClerkAuthError):
    """No key set that may be used. ``retry_after`` is in seconds."""

    code = "keys_unavailable"
    detail = "Authentication is temporarily unavailable."

    retry_after = 5.0

    def __init__(
        self, reason: str = "", *, retry_after: float | None = None, **facts: Unpack[Facts]
    ) -> None:
        super().__init__(reason, **facts)
        self.retry_after = self.retry_after if retry_after is None else retry_after


class KeysBusy(KeysUnavailable):
    """Too many requests wait for an unknown key id already."""

    code = "keys_busy"
    retry_after = 1.0


class KeySetInvalid(ClerkAuthError):
    """A key document that must not replace anything; ``code`` is never shown to a client."""

    code = "key_set_invalid"
    detail = "The key document cannot be used."


# In the order of the rules; a project's own subclass is none of them.
REJECTIONS: tuple[type[TokenRejected], ...] = tuple(TokenRejected.__subclasses__())
OUTAGES: tuple[type[KeysUnavailable], ...] = (KeysUnavailable, KeysBusy)
CODES: tuple[str, ...] = tuple(error.code for error in (*REJECTIONS, *OUTAGES))
# Why the key document was not had: by the exchange itself, and by what came.
FETCH_REASONS: tuple[str, ...] = (
    *("timeout", "connection", "tls", "redirect", "status", "body", "too_large"),
    *("not_json", "not_a_key_set", "too_many_keys", "no_usable_key"),
)
