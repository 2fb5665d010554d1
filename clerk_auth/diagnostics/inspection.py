"""An inspection: what each rule says of one token, and what the verifier says of it.

The rules are judged one by one, the verdict is that of ``Verifier.check`` on the same policy and
keys. Nothing is counted, logged, stored or forced: keys come from a snapshot, so that an unknown or
wrong key spends no cooldown of the fleet.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clerk_auth.conf import Config, get_aliases, get_config
from clerk_auth.core.claims import (
    read_actor,
    read_factor_ages,
    read_organization,
    read_scoped_names,
    read_version,
)
from clerk_auth.core.errors import ClerkAuthError, KeySetInvalid, KeysUnavailable
from clerk_auth.core.keys import VerifyingKey, describe_key, hash_kid, parse_jwks
from clerk_auth.core.tokens import Policy, read_unverified_issuer
from clerk_auth.diagnostics.report import (
    ACCEPTED,
    FAILED,
    NOT_CHECKED,
    PASSED,
    REFUSED,
    SCHEMA_VERSION,
    UNKNOWN,
)
from clerk_auth.diagnostics.rules import (
    RULES,
    Evidence,
    Rule,
    Unchecked,
    read_credential,
    remedy_for,
)
from clerk_auth.diagnostics.shared_keys import load_shared
from clerk_auth.error_reports import hide_locals
from clerk_auth.issuer.development import find_dev_directory
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.document import fetch_document
from clerk_auth.jwks.source import Keys, StaticKeySource
from clerk_auth.jwks.wiring import make_source
from clerk_auth.transport import FetchFailed
from clerk_auth.verifier import Verifier, choose_instance

__all__ = [
    "BY_DEFAULT", "BY_ISSUER", "BY_OPTION", "Finding", "Inspection", "choose_config", "inspect",
    "inspect_now", "load_keys",
]  # fmt: skip

# Why one of several instances judges a token: its issuer is the token's ``iss``, no instance has
# that issuer, or an option of the command names it.
BY_ISSUER, BY_DEFAULT, BY_OPTION = "issuer", "default", "option"


@dataclass(slots=True)
class Finding:
    """What one rule says: ``found`` is there, ``reason`` is why it failed or is not checked.

    ``subject`` is what the reason is said of: a claim, a member of the header, a rule, a setting.
    """

    rule: str
    status: str
    found: str = ""
    expected: str = ""
    subject: str | None = None
    reason: str = ""
    code: str | None = None
    remedy: str = ""


@dataclass(slots=True)
class Inspection:
    """All that is known of one token; instants are Unix seconds.

    ``error`` is the verifier's. ``header`` and ``payload`` are as the token has them, ``None``
    where they cannot be read. Anyone may have written the payload unless ``key``, which made the
    signature, is there. ``instance`` is the one whose settings judge, and ``chosen_by`` says why;
    both are ``None`` where there is only one.
    """

    checked_at: float
    findings: list[Finding]
    error: ClerkAuthError | None = None
    header: dict[str, Any] | None = None
    payload: dict[str, Any] | None = None
    key: VerifyingKey | None = None
    instance: str | None = None
    chosen_by: str | None = None

    @property
    def verdict(self) -> str:
        """``unknown`` where the keys cannot be had."""
        if self.error is None:
            return ACCEPTED
        return UNKNOWN if isinstance(self.error, KeysUnavailable) else REFUSED

    @property
    def code(self) -> str | None:
        """The code that a client gets; ``None`` where the token is accepted."""
        return self.error.code if self.error else None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; its shape changes only with ``schema_version``."""
        kid = (self.header or {}).get("kid")
        chosen = {"instance": self.instance, "chosen_by": self.chosen_by} if self.instance else {}
        return {
            "schema_version": SCHEMA_VERSION,
            **chosen,
            "verdict": self.verdict,
            "code": self.code,
            "subject": self.error.subject if self.error else None,
            "reason": self.error.reason if self.error else "",
            "checked_at": self.checked_at,
            "rules": [asdict(finding) for finding in self.findings],
            "kid": kid if isinstance(kid, str) else None,
            "kid_sha256": hash_kid(kid) if isinstance(kid, str) else None,
            "key": describe_key(self.key) if self.key else None,
            "is_signed": self.key is not None,
            "claims": self.payload,
            "session": self.session,
        }

    @property
    def session(self) -> dict[str, Any] | None:
        """What views read from ``request.auth`` beside the checked claims, JSON-ready."""
        if self.payload is None:
            return None
        organization = read_organization(self.payload)
        seen = {
            "version": read_version(self.payload),
            "organization": asdict(organization) if organization else None,
            "features": read_scoped_names(self.payload, "fea"),
            "plans": read_scoped_names(self.payload, "pla"),
            "factor_ages": read_factor_ages(self.payload),
            "actor": read_actor(self.payload),
        }
        document: dict[str, Any] = json.loads(json.dumps(seen, default=dict))
        return document


def load_keys(config: Config) -> Keys:
    """Return the keys in force: those the fleet shares, fetched where it holds none.

    Nothing is stored, and no failure is counted. Empty when the keys cannot be had.
    """
    source = make_source(config)
    if not isinstance(source, CachedKeySource) or config.jwks_url is None:
        return source.status().keys
    shared = load_shared(source)
    if shared.state != "cold":
        return shared.keys
    try:
        return parse_jwks(fetch_document(config.jwks_url, config.jwks_timeout_seconds).body).keys
    except (FetchFailed, KeySetInvalid):
        return ()


@hide_locals
def choose_config(token: str) -> Config:
    """Return the settings of the instance that judges a token, by its unverified issuer."""
    return get_config(choose_instance(token, get_aliases()))


@hide_locals
def inspect_now(token: str, config: Config, keys: Keys) -> Inspection:
    """Judge a token as :func:`inspect` does, by these settings and at this moment."""
    directory = find_dev_directory() if config.dev_mode else None
    inspection = inspect(token, config.policy, keys, now=time.time(), key_directory=directory)
    if config.is_one_of_several:
        inspection.instance, inspection.chosen_by = config.instance, _explain_choice(token, config)
    return inspection


@hide_locals
def _explain_choice(token: str, config: Config) -> str:
    if read_unverified_issuer(token, max_bytes=len(token)) in config.issuers:
        return BY_ISSUER
    return BY_DEFAULT if choose_config(token) is config else BY_OPTION


@hide_locals
def inspect(
    token: str, policy: Policy, keys: Keys, *, now: float, key_directory: Path | None = None
) -> Inspection:
    """Judge a token, or an ``Authorization`` header's value, by every rule and as a whole."""
    source = StaticKeySource(keys, ignore_kid=not policy.kid_required)
    evidence = Evidence(token, policy, source, now)
    findings = [_judge(rule, evidence, key_directory) for rule in RULES]
    inspection = Inspection(now, findings)
    inspection.header, inspection.payload = evidence.read_header, evidence.known.get("payload")
    inspection.key = evidence.known.get("signature")
    try:
        Verifier(source, policy, now=lambda: now).check(read_credential(token))
    except ClerkAuthError as error:
        inspection.error = error.with_traceback(None)  # whose frames hold the token
    return inspection


def _judge(rule: Rule, evidence: Evidence, key_directory: Path | None) -> Finding:
    found = Finding(rule.name, PASSED, expected=rule.expects(evidence.policy))
    try:
        rule.judge(evidence)
    except Unchecked as unchecked:
        found.status, found.subject, found.reason = NOT_CHECKED, unchecked.subject, unchecked.reason
    except ClerkAuthError as error:
        found.status, found.subject, found.reason = FAILED, error.subject, error.reason
        found.code = error.code
        found.remedy = remedy_for(rule, error, key_directory=key_directory)
    found.found = rule.describe(evidence)
    return found
