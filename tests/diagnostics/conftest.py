"""What tests of an inspection share: tokens, and a judge who asks the verifier too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.tokens import Policy
from clerk_auth.diagnostics.inspection import FAILED, Inspection, inspect
from clerk_auth.diagnostics.rules import NAMES, read_credential
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier
from tests.conftest import ISSUER, NOW, PARTY

STRICT = Policy(
    issuers=frozenset({ISSUER}),
    authorized_parties=frozenset({PARTY}),
    audiences=frozenset({"api"}),
)


@pytest.fixture(scope="session")
def judge(local_issuer: LocalIssuer) -> Callable[..., Inspection]:
    """Inspect a text, and hold the verdict against a verifier of its own."""
    keys = (local_issuer.verifying_key,)

    def judge(text: str, policy: Policy = STRICT, *, now: float = NOW) -> Inspection:
        found = inspect(text, policy, keys, now=now)
        failed = [finding.code for finding in found.findings if finding.status == FAILED]
        assert tuple(finding.rule for finding in found.findings) == NAMES
        assert failed[:1] == ([found.code] if found.code else [])
        source = StaticKeySource(keys, ignore_kid=not policy.kid_required)
        code = None
        try:
            Verifier(source, policy, now=lambda: now).check(read_credential(text))
        except TokenRejected as refused:
            code = refused.code
        assert (found.code, found.verdict) == (code, "refused" if code else "accepted")
        return found

    return judge


@pytest.fixture(scope="session")
def make(local_issuer: LocalIssuer) -> Callable[..., str]:
    """Make a token that is accepted, but for what a test changes."""

    def make(header: dict | None = None, **claims: object) -> str:
        payload = local_issuer.session_payload(now=NOW, **{"azp": PARTY, "aud": "api", **claims})
        return local_issuer.sign(payload, header)

    return make
