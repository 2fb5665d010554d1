"""The verdict on each row of ``tests/vectors/oracle.json.gz``, with a key set and with ``JWT_KEY``.

``meta`` in the file says what its fields mean, and where the verdicts in it come from.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from clerk_auth.core.credential import read_bearer_token
from clerk_auth.core.errors import ClerkAuthError
from clerk_auth.core.keys import load_public_key, parse_jwks
from clerk_auth.core.tokens import Policy
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier

pytestmark = pytest.mark.integration

ORACLE: dict[str, Any] = json.loads(
    gzip.decompress(Path(__file__).parents[1].joinpath("vectors", "oracle.json.gz").read_bytes())
)
META, ROWS = ORACLE["meta"], ORACLE["rows"]
SOURCES = {
    "jwks": StaticKeySource(parse_jwks(json.dumps(ORACLE["keys"]["jwks"]).encode()).keys),
    "pem": StaticKeySource((load_public_key(ORACLE["keys"]["pem"]),), ignore_kid=True),
}


def judge(row: dict[str, Any], mode: str) -> tuple[str, dict[str, Any] | None]:
    """Return ``accepted``, ``no_credential`` or a code; and the organization that was accepted."""
    options = row.get("options", {})
    audience = options.get("audience", [])
    policy = Policy(
        issuers=frozenset({META["issuer"]}),
        authorized_parties=frozenset(options.get("authorized_parties", [])),
        party_required=options.get("azp_policy", "required") == "required",
        audiences=frozenset([audience] if isinstance(audience, str) else audience),
        leeway_seconds=options.get("clock_skew_ms", 5000) / 1000,
        accept_pending=options.get("accept_pending", False),
        kid_required=mode == "jwks",
    )
    try:
        token = read_bearer_token(row["authorization"]) if "authorization" in row else row["token"]
        if token is None:
            return "no_credential", None
        claims = Verifier(SOURCES[mode], policy, now=lambda: META["now"]).check(token)
    except ClerkAuthError as error:
        return error.code, None
    organization = claims.organization and asdict(claims.organization)
    # As JSON has it: the tuple of permissions is a list.
    return "accepted", json.loads(json.dumps(organization))


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_verdict(row):
    for at, mode in enumerate(META["modes"]):
        verdict, organization = judge(row, mode)
        assert verdict in {row["ours"][at], *row.get("ours_also", [])[at : at + 1]}, mode
        if verdict == "accepted" and "organization" in row:
            assert organization == row["organization"]["ours"], mode
