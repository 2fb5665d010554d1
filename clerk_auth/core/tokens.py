"""Session tokens: compact JWS (RFC 7515) that carry Clerk's claims.

``read_token`` checks what needs no key, ``find_signing_key`` the signature, and only then
``check_claims`` parses the payload. The rules are in order, a function each; the numbers in the
comments are those of ``docs/security.md`` and of ``clerk_auth.diagnostics.rules``. What holds a
credential is named ``token``, which error trackers hide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeGuard, TypeVar

from clerk_auth.core import errors
from clerk_auth.core.claims import DEFAULT_INSTANCE, Verified, is_identifier
from clerk_auth.core.encoding import decode_base64url, is_number, parse_json_object, show
from clerk_auth.core.keys import VerifyingKey, is_kid

__all__ = [
    "ALGORITHM", "IGNORED_CATEGORY", "OPAQUE_PREFIXES", "SESSION_CATEGORY", "Checked", "Policy",
    "Segments", "Times", "UnverifiedToken", "check_audience", "check_claims", "check_class",
    "check_header", "check_identity", "check_issuer", "check_party", "check_session", "check_times",
    "decode_segment", "find_signing_key", "may_be_ours", "parse_part", "read_kid", "read_times",
    "read_token", "read_unverified_issuer", "split_token",
]  # fmt: skip

ALGORITHM = "RS256"
# Clerk signs every class of token with one key; only the category in the header tells them apart.
SESSION_CATEGORY = "cl_B7d4PD111AAA"
IGNORED_CATEGORY = "cl_I7d4PD111III"
# API keys, and machine and OAuth tokens that are not a JWT: their class is told by how they start.
OPAQUE_PREFIXES = ("ak_", "mt_", "oat_")
_MACHINE_SUBJECT_PREFIX = "mch_"
Segments = tuple[bytes, str, bytes, bytes]  # what is signed, header's text, payload, signature
Checked = tuple[Verified, dict[str, Any]]  # what was checked, and the payload
Times = tuple[float, float | None, float | None]  # exp, nbf and iat in Unix seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a token must satisfy beside its signature.

    An empty ``authorized_parties`` or ``audiences`` leaves ``azp`` or ``aud`` unchecked;
    ``party_required`` refuses a token without ``azp`` when parties are set. ``kid_required`` is
    off only where one configured key verifies everything. ``uncategorized_token_max_seconds`` is
    how far ahead ``exp`` may be where the header does not say that it is a session's; 0: any.
    ``instance`` is the alias of the Clerk instance; where it is one of several, a colon separates
    it from a user's id, which may have none.
    """

    issuers: frozenset[str]
    authorized_parties: frozenset[str] = frozenset()
    party_required: bool = True
    audiences: frozenset[str] = frozenset()
    leeway_seconds: float = 5.0
    accept_pending: bool = False
    max_token_bytes: int = 16384
    kid_required: bool = True
    uncategorized_token_max_seconds: float = 3600.0
    instance: str = DEFAULT_INSTANCE
    is_one_of_several: bool = False


class UnverifiedToken(NamedTuple):
    """A token whose text and header are in order, and whose signature is not checked yet.

    ``payload`` is decoded, and not parsed. ``kid`` is empty where the policy requires none.
    ``has_category``: the header says that it is a session's.
    """

    signing_input: bytes
    payload: bytes
    signature: bytes
    kid: str
    has_category: bool

    def __repr__(self) -> str:
        return "UnverifiedToken()"


def read_token(token: str, policy: Policy) -> UnverifiedToken:
    """Check text, header and class of a token, and split it.

    Raises:
        TokenMalformed: not a compact JWS in strict base64url, or a header that is not allowed.
        AlgorithmNotAllowed: ``alg`` is not ``RS256``.
        TokenClassNotAccepted: an API key, or a JWT template, machine or OAuth token.
    """
    signing_input, header, payload, signature = split_token(token, policy)
    kid, has_category = _judge_header(header, policy.kid_required)
    return UnverifiedToken(signing_input, payload, signature, kid, has_category)


def split_token(token: str, policy: Policy) -> Segments:
    """Return the segments of a token, decoded but for the header: most tokens share theirs."""
    # 2: text
    if len(token) > policy.max_token_bytes:
        raise errors.TokenMalformed("too_long", part="token", limit=policy.max_token_bytes)
    # 4: class, of what has no header
    if token.startswith(OPAQUE_PREFIXES):
        raise errors.TokenClassNotAccepted("other_class", part="token")
    if not token.isascii():
        raise errors.TokenMalformed("not_ascii", part="token")
    # What has more than two dots leaves one in the payload, where none may be.
    signing_input, _, signature = token.rpartition(".")
    header, _, payload = signing_input.partition(".")
    return signing_input.encode(), header, decode_segment(payload), decode_segment(signature)


def decode_segment(text: str) -> bytes:
    """Decode a segment of a token, which must be strict base64url."""
    try:
        return decode_base64url(text)
    except ValueError:
        raise errors.TokenMalformed("not_compact", part="token") from None


def find_signing_key(token: UnverifiedToken, keys: Iterable[VerifyingKey]) -> VerifyingKey:
    """Return the key that made the signature; ``SignatureInvalid`` if none of ``keys`` did."""
    # 6: signature
    for key in keys:
        if key.verifies(token.signing_input, token.signature):
            return key
    raise errors.SignatureInvalid("mismatch", part="signature")


def check_claims(token: UnverifiedToken, policy: Policy, *, now: float) -> Checked:
    """Check the payload of a token whose signature holds; ``Claims`` are made of what is returned.

    ``now`` is Unix time in seconds. Expiry is inclusive: a token whose ``exp`` equals ``now`` has
    expired (RFC 7519 section 4.1.4), leeway aside.

    Raises:
        TokenMalformed: the payload is not a JSON object without duplicate members.
        TokenExpired, TokenNotYetValid: outside the validity window.
        TokenClassNotAccepted: the subject is a machine.
        IssuerNotAllowed, PartyNotAllowed, AudienceNotAllowed, SessionPending, ClaimInvalid: a claim
            is missing, malformed or not allowed; ``claim`` names it.
    """
    # 7: payload and time
    payload = parse_part("payload", token.payload)
    exp, nbf, iat = times = read_times(payload)
    check_times(times, policy, has_category=token.has_category, now=now)
    iss = check_issuer(payload, policy)
    sub, sid = check_identity(payload, policy)
    azp = check_party(payload, policy)
    check_audience(payload, policy)
    sts = check_session(payload, policy)
    alias, has_category = policy.instance, token.has_category
    user_key = sub if alias == DEFAULT_INSTANCE else f"{alias}:{sub}"
    verified = Verified(sub, sid, iss, exp, iat, nbf, azp, sts, has_category, alias, user_key)
    return verified, payload


def read_times(payload: dict[str, Any]) -> Times:
    """Return ``exp``, ``nbf`` and ``iat``; ``ClaimInvalid`` unless they are numbers."""
    return (
        _read(payload, "exp", is_number),
        _read(payload, "nbf", is_number) if "nbf" in payload else None,
        _read(payload, "iat", is_number) if "iat" in payload else None,
    )


def check_times(times: Times, policy: Policy, *, has_category: bool, now: float) -> None:
    """Check the window of validity: ``TokenExpired`` or ``TokenNotYetValid`` outside it.

    ``ClaimInvalid``: it is too long for a token that does not say that it is a session's.
    """
    expires_at, not_before, issued_at = times
    if not has_category:
        # Without leeway, which is for clocks that differ: this limit was chosen.
        limit = policy.uncategorized_token_max_seconds
        if limit > 0 and expires_at > now + limit:
            raise errors.ClaimInvalid("too_far_ahead", claim="exp", limit=limit)
    if expires_at <= now - policy.leeway_seconds:
        raise errors.TokenExpired("past", claim="exp")
    latest = now + policy.leeway_seconds
    if not_before is not None and not_before > latest:
        raise errors.TokenNotYetValid("future", claim="nbf")
    if issued_at is not None and issued_at > latest:
        raise errors.TokenNotYetValid("future", claim="iat")


def check_issuer(payload: dict[str, Any], policy: Policy) -> str:
    """Return ``iss``."""
    # 8: issuer
    issuer = payload.get("iss")
    if not isinstance(issuer, str):
        raise errors.IssuerNotAllowed(_lack(payload, "iss"), claim="iss")
    if issuer not in policy.issuers:
        raise errors.IssuerNotAllowed("mismatch", claim="iss")
    return intern(issuer)  # one object for all the tokens that are kept


def check_identity(payload: dict[str, Any], policy: Policy) -> tuple[str, str]:
    """Return ``sub`` and ``sid``."""
    # 9: identity
    user_id = _read(payload, "sub", is_identifier)
    if user_id.startswith(_MACHINE_SUBJECT_PREFIX):
        raise errors.TokenClassNotAccepted("other_class", claim="sub")
    if policy.is_one_of_several and ":" in user_id:
        raise errors.ClaimInvalid("malformed", claim="sub")
    return user_id, _read(payload, "sid", is_identifier)


def check_party(payload: dict[str, Any], policy: Policy) -> str | None:
    """Return ``azp``, or ``None`` if there is none and none is required."""
    # 10: for whom
    party = payload.get("azp")
    if not policy.authorized_parties:
        return party if isinstance(party, str) else None
    if "azp" not in payload:
        if policy.party_required:
            raise errors.PartyNotAllowed("missing", claim="azp")
        return None
    if not isinstance(party, str) or party not in policy.authorized_parties:
        raise errors.PartyNotAllowed("mismatch", claim="azp", found=show(party))
    return intern(party)


def check_audience(payload: dict[str, Any], policy: Policy) -> None:
    """Check ``aud``, if audiences are set."""
    if not policy.audiences:
        return
    audience = payload.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(entry, str) for entry in audiences):
        raise errors.AudienceNotAllowed(_lack(payload, "aud"), claim="aud")
    if policy.audiences.isdisjoint(audiences):
        raise errors.AudienceNotAllowed("mismatch", claim="aud")


def check_session(payload: dict[str, Any], policy: Policy) -> str:
    """Return ``sts``, ``active`` where there is none."""
    # 11: session
    status = payload.get("sts", "active")
    if status == "pending" and not policy.accept_pending:
        raise errors.SessionPending("pending", claim="sts")
    if status not in ("active", "pending"):
        raise errors.ClaimInvalid("unknown", claim="sts", found=show(status))
    return intern(status)


def may_be_ours(token: UnverifiedToken, policy: Policy, *, now: float) -> bool:
    """Tell whether an unverified token could pass at all, if only its key were known.

    It can only turn a token away, before it costs a look at the shared keys: one that has expired
    or lives too long, or that another issuer made. Nothing else of the payload is looked at.
    """
    try:
        payload = parse_part("payload", token.payload)
        check_issuer(payload, policy)
        times = _read(payload, "exp", is_number), None, None
        check_times(times, policy, has_category=token.has_category, now=now)
    except errors.TokenRejected:
        return False
    return True


def read_unverified_issuer(token: str, *, max_bytes: int) -> str | None:
    """Return what a token says of its issuer; ``None`` where that cannot be read.

    It may only choose the policy that the token is judged by.
    """
    if len(token) > max_bytes:
        return None
    try:
        payload = parse_part("payload", decode_segment(token.rpartition(".")[0].partition(".")[2]))
    except errors.TokenMalformed:
        return None
    issuer = payload.get("iss")
    return issuer if isinstance(issuer, str) else None


# All tokens of a key share one header. A caller's own headers can push ours out, which costs a
# parse; each is bounded by MAX_TOKEN_BYTES, and a refusal is not kept.
@lru_cache(maxsize=32)
def _judge_header(text: str, kid_required: bool) -> tuple[str, bool]:
    header = parse_part("header", decode_segment(text))
    check_header(header)
    has_category = check_class(header)
    return read_kid(header) if kid_required else "", has_category


def check_header(header: dict[str, Any]) -> None:
    """Check what a header says of the signature, and that it is one of a JWT."""
    # 3: header
    if header.get("alg") != ALGORITHM:
        raise errors.AlgorithmNotAllowed("mismatch", part="alg")
    if "crit" in header:
        raise errors.TokenMalformed("mismatch", part="crit")
    if header.get("b64", True) is not True:
        raise errors.TokenMalformed("mismatch", part="b64")
    if header.get("typ", "JWT") != "JWT" and not _names_another_class(header["typ"]):
        raise errors.TokenMalformed("mismatch", part="typ")


def check_class(header: dict[str, Any]) -> bool:
    """Tell whether a header says that its token is a session's, or says nothing.

    ``TokenClassNotAccepted``: it says that it is another one.
    """
    # 4: class
    if _names_another_class(header.get("typ")):
        raise errors.TokenClassNotAccepted("other_class", part="typ")
    category = header.get("cat", IGNORED_CATEGORY)
    if category not in (SESSION_CATEGORY, IGNORED_CATEGORY):
        raise errors.TokenClassNotAccepted("other_class", part="cat")
    return bool(category == SESSION_CATEGORY)


def read_kid(header: dict[str, Any]) -> str:
    """Return the key id, of 1 to 512 characters; after the class, which explains a lack of it."""
    kid = header.get("kid")
    if not is_kid(kid):
        raise errors.TokenMalformed(_lack(header, "kid"), part="kid")
    return kid


def _names_another_class(token_type: object) -> bool:
    return isinstance(token_type, str) and token_type.lower().endswith("+jwt")


def parse_part(part: str, text: bytes) -> dict[str, Any]:
    """Parse a decoded header or payload, which ``part`` names."""
    try:
        return parse_json_object(text)
    except UnicodeDecodeError:
        raise errors.TokenMalformed("not_utf8", part=part) from None
    except ValueError:
        # Without the parser's message, which may quote the token.
        raise errors.TokenMalformed("not_json", part=part) from None


def _lack(members: dict[str, Any], name: str) -> str:
    return "malformed" if name in members else "missing"


def _read(payload: dict[str, Any], claim: str, is_valid: Callable[[object], TypeGuard[T]]) -> T:
    value = payload.get(claim)
    if not is_valid(value):
        raise errors.ClaimInvalid(_lack(payload, claim), claim=claim)
    return value
