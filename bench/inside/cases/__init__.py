"""Cases for a comparison of two states of the package, which nothing here imports.

Each is a token, the policy that judges it, and when. They follow from a seed: the same number of
the same seed is the same cases. A third are texts, a third bytes of JSON under a signature, a third
claims under a signature; in each some are in order, so that what is accepted is compared too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.inside.cases.claims import sign_claims
from bench.inside.cases.documents import sign_document
from bench.inside.cases.sessions import NOW, POLICIES
from bench.inside.cases.signing import Signer
from bench.inside.cases.texts import Texts

FAMILIES = ("texts", "payloads", "claims")
# A verdict that is none of the codes.
ACCEPTED, RAISED = "accepted", "raised"
# What a source holds: both keys, the same but read anew, one of them, or none.
KEYS = ("both", "renewed", "first", "second", "none")


@dataclass(frozen=True, slots=True)
class Case:
    """A token that is judged at ``now``, and again at ``later``, both Unix seconds.

    The keys of the second look are ``later_keys``, one of :data:`KEYS`.
    ``is_kept``: the verifier has a token cache. ``is_read``: the claims are read before the second
    look, so that what is built when it is asked for has been built.
    """

    family: str
    token: str
    policy: str
    now: float
    later: float
    later_keys: str
    is_kept: bool
    is_read: bool

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Cases:
    """Cases of a seed; ``jwks`` is the document of the keys that a verifier is given."""

    def __init__(self, seed: int) -> None:
        self._order = random.Random(seed)
        self._signer = Signer(self._order)
        self._texts = Texts(self._order, self._signer)
        self.jwks = self._signer.jwks

    def take(self, number: int) -> Iterator[Case]:
        """Make so many more."""
        for i in range(number):
            yield self._make(FAMILIES[i % len(FAMILIES)])

    def _make(self, family: str) -> Case:
        order = self._order
        # The one that checks most is where two faults meet.
        policy = order.choice([*POLICIES, "everything", "everything"])
        now = order.choice([NOW, NOW, NOW, NOW + 0.5])
        later = now + order.choice([0, 0, 0, 1, 49, 3000])
        later_keys = order.choice([*KEYS, *KEYS[:1] * 20])
        match family:
            case "texts":
                token = self._texts.make()
            case "payloads":
                token = sign_document(order, self._signer, now)
            case _:
                token, later = sign_claims(order, self._signer, policy, now)
        is_kept, is_read = order.random() < 0.85, order.random() < 0.5
        return Case(family, token, policy, now, later, later_keys, is_kept, is_read)
