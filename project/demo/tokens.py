"""A stand-in Clerk that hands out tokens, for trying the API by hand. Only the demo has it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from clerk_auth.issuer.standin import Answer, StandInClerk
from project.demo.environment import AUTHORIZED_PARTY

TOKEN_PATH = "/token"


class TokenClerk(StandInClerk):
    """Any user of this machine may have a token of any user: the key lives as long as the demo."""

    def answer(self, path: str) -> Answer:
        url = urlsplit(path)
        if url.path != TOKEN_PATH:
            return super().answer(path)
        user_id = parse_qs(url.query).get("user", [""])[-1]
        if not user_id:
            return Answer(b"Say whose: ?user=user_...", status=400)
        return Answer(self.signer.token(user_id=user_id, azp=AUTHORIZED_PARTY).encode())
