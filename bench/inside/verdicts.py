"""Judge cases by the package that is found first: ``python -m bench.inside.verdicts``.

The first line in is the document of the keys, the first line out says where the package lies. Then
each line in is cases, each line out the two verdicts on each, and what the package has counted.
"""

from __future__ import annotations

import json
import logging
import pickle
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings

import clerk_auth
from bench.inside.cases import ACCEPTED, KEYS, RAISED
from bench.inside.cases.sessions import ALIAS, ISSUER, POLICIES
from clerk_auth import metrics
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import ClerkAuthError
from clerk_auth.core.keys import parse_jwks
from clerk_auth.core.tokens import Policy
from clerk_auth.jwks.source import Keys, StaticKeySource
from clerk_auth.verifier import Verifier

# Few, so that tokens are pushed out of the cache too.
CACHE_SIZE = 256
ATTRIBUTES = (
    *("user_id", "session_id", "issuer", "authorized_party", "issued_at", "expires_at", "status"),
    *("payload", "version", "organization", "features", "plans", "factor_ages", "actor"),
)
QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    *({"role": role} for role in ("admin", "org:admin", None)),
    *({"permission": name} for name in ("org:reports:read", "billing:manage", 1)),
    *({"feature": name} for name in ("reports", "org:reports", "user:beta")),
    *({"plan": name} for name in ("org:pro", "x:y")),
    *({"reverification": name} for name in ("strict", "strict_mfa")),
    {"role": "admin", "permission": "reports:read", "feature": "reports", "plan": "pro"},
)
NAMES = ("sub", "v", "o", "fea", "org_permissions", "metadata", "missing")
Reading = Callable[[Claims], Any]


def _read_attribute(name: str) -> Reading:
    return lambda claims: getattr(claims, name)


READINGS: dict[str, Reading] = {
    **{name: _read_attribute(name) for name in ATTRIBUTES},
    "has": lambda claims: [claims.has(**question) for question in QUESTIONS],
    "get": lambda claims: [claims.get(name, ...) for name in NAMES],
    "repr": repr,
    "copied": lambda claims: pickle.loads(pickle.dumps(claims)).payload,
}


class Source:
    """A source whose keys change: one static source takes the place of another."""

    def __init__(self, jwks: str, *, ignore_kid: bool) -> None:
        both, renewed = (parse_jwks(jwks.encode()).keys for _ in range(2))
        held = dict(zip(KEYS, (both, renewed, both[:1], both[1:], ()), strict=True))
        self._sources = {
            name: StaticKeySource(keys, ignore_kid=ignore_kid) for name, keys in held.items()
        }

    def hold(self, name: str) -> None:
        self._held = self._sources[name]

    # What they return differs from commit to commit.

    def keys_for(self, kid: str) -> Any:
        return self._held.keys_for(kid)

    def load(self, kid: str) -> Any:
        return self._held.load(kid)

    def search(self, kid: str) -> Any:
        return self._held.search(kid)

    def keys_after(self, kid: str, tried: Keys) -> Any:
        return self._held.keys_after(kid, tried)

    def unwaiting(self) -> Source:
        return self


class Judge:
    """Verifiers of every policy, with a token cache and without, which share a clock."""

    def __init__(self, jwks: str) -> None:
        self._now = 0.0
        self._verifiers = {
            (name, is_kept): Verifier(
                Source(jwks, ignore_kid=not options.get("kid_required", True)),
                _make_policy(options),
                cache_size=CACHE_SIZE if is_kept else 0,
                now=lambda: self._now,
            )
            for name, options in POLICIES.items()
            for is_kept in (True, False)
        }

    def judge(self, case: dict[str, Any]) -> list[list[str]]:
        """Return two verdicts: the second reads the other way round, and counts."""
        verifier, token = self._verifiers[case["policy"], case["is_kept"]], case["token"]
        self._now = case["now"]
        verifier.source.hold("both")
        readings = [*READINGS] if case["is_read"] else []
        first = _look(verifier.check, token, readings)
        self._now = case["later"]
        verifier.source.hold(case["later_keys"])
        # Another object, as each request's is.
        return [first, _look(verifier.verify, token[:1] + token[1:], [*reversed(READINGS)])]


def _make_policy(options: dict[str, Any]) -> Policy:
    sets = {name: frozenset(value) for name, value in options.items() if isinstance(value, list)}
    return Policy(issuers=frozenset({ISSUER, ALIAS}), **{**options, **sets})


def _look(verify: Callable[[str], Claims], token: str, readings: list[str]) -> list[str]:
    """Return a verdict: what it is called, the claim and the reason, and everything there is."""
    try:
        claims = verify(token)
        values = {name: READINGS[name](claims) for name in readings}
    except ClerkAuthError as error:
        facts = {name: fact for name, fact in error.facts.items() if fact is not None}
        said = type(error).__name__, error.claim, error.reason, facts, str(error), error.detail
        return [error.code, f"{error.subject} {error.reason}", ascii(said)]
    except Exception as error:
        return [RAISED, type(error).__name__, ascii(error)]
    # As text, in which 1, 1.0 and True differ, and a dict and a read-only view of it.
    return [ACCEPTED, "", "\n".join(f"{name}={values[name]!a}" for name in sorted(values))]


def main() -> None:
    logging.disable()
    settings.configure()  # one instance: metrics ask how many there are
    judge = Judge(sys.stdin.readline())
    print(json.dumps(clerk_auth.__file__), flush=True)
    for line in sys.stdin:
        verdicts = [judge.judge(case) for case in json.loads(line)]
        counted = ascii(sorted((name, total) for name, total in metrics.totals().items() if total))
        metrics.reset()
        print(json.dumps([verdicts, counted]), flush=True)


if __name__ == "__main__":
    main()
