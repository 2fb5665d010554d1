"""What the demo shows: requests over HTTP, and what must come of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.standin import StandInClerk
from project.demo.environment import AUTHORIZED_PARTY

ALICE, BOB = "user_2demoAlice", "user_2demoBob"
# What Clerk's claims say of an organization and of step-up: minutes since each factor.
ORGANIZATION = {"id": "org_2demo", "slg": "demo"}
MEMBER = {"o": ORGANIZATION | {"rol": "member"}}
ADMIN = {"o": ORGANIZATION | {"rol": "admin"}}
LONG_AGO, JUST_NOW = {"fva": [600, -1]}, {"fva": [0, -1]}
SAMPLE = Path(__file__).resolve().with_name("sample.csv")
REFUSED = ("forged", "expired", "alg-none-unsigned", "alg-none", "wrong-issuer", "machine")
_SAMPLE_ROWS = 20
_AT_ONCE = 8
_FETCHES = 2
FETCHES_EXPLAINED = (
    "Fetched for the first token, and for the forged one: its key could have been a new one."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the table."""

    title: str
    expected: str
    got: str

    @property
    def is_expected(self) -> bool:
        return self.got == self.expected


class Client:
    """The API as a front end calls it."""

    def __init__(self, api_url: str) -> None:
        self._api_url = api_url

    def call(
        self, path: str, token: str | None = None, *, method: str = "GET", **options: Any
    ) -> requests.Response:
        """Send one request, on a connection of its own so that any worker may get it."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy on loopback
            if token is not None:
                session.headers["Authorization"] = f"Bearer {token}"
            return session.request(method, self._api_url + path, timeout=10, **options)


def run_steps(api_url: str, clerk: StandInClerk) -> Iterator[Outcome]:
    """Send the requests, in order.

    Raises:
        requests.RequestException: the API does not answer.
    """
    client = Client(api_url)
    yield from _accept(client, lambda user, **claims: make_token(clerk, user, **claims))
    for name in REFUSED:
        bad = BAD_TOKENS[name]
        payload = clerk.signer.session_payload(user_id=ALICE, azp=AUTHORIZED_PARTY)
        answer = client.call("/api/me", bad.make(clerk.signer, payload))
        yield Outcome(
            f"token: {bad.title}",
            f"401 {bad.code}",
            f"{answer.status_code} {_read(answer, 'code')}",
        )
    yield Outcome("fetches of the key set, all workers", str(_FETCHES), str(clerk.fetches))


def make_token(clerk: StandInClerk, user_id: str, **claims: Any) -> str:
    """Sign a token that the API accepts."""
    return clerk.signer.token(user_id=user_id, azp=AUTHORIZED_PARTY, **claims)


def _accept(client: Client, token_of: Callable[..., str]) -> Iterator[Outcome]:
    alice = token_of(ALICE, **MEMBER)
    answer = client.call("/api/me")
    yield Outcome("no token", "401", f"{answer.status_code}")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(client.call, ["/api/me"] * _AT_ONCE, [alice] * _AT_ONCE))
    users = {(answer.status_code, _read(answer, "user_id")) for answer in answers}
    got = " and ".join(sorted(f"{status} {user}" for status, user in users))
    yield Outcome(f"Alice's first {_AT_ONCE} requests, at once", f"200 {ALICE}", got)

    with SAMPLE.open("rb") as file:
        answer = client.call("/api/uploads", alice, method="POST", files={"file": file})
    path = f"/api/uploads/{_read(answer, 'id')}"
    got = f"{answer.status_code} {_read(answer, 'row_count')} rows"
    yield Outcome(f"Alice uploads {SAMPLE.name}", f"201 {_SAMPLE_ROWS} rows", got)

    answer = client.call("/api/uploads", alice)
    yield Outcome(
        "Alice lists her uploads",
        "200 1 upload",
        f"{answer.status_code} {_read(answer, 'count')} upload",
    )

    yield from _authorize(client, path, token_of)


def _authorize(client: Client, path: str, token_of: Callable[..., str]) -> Iterator[Outcome]:
    for title, expected, method, token in (
        ("Bob asks for Alice's upload", "404", "GET", token_of(BOB)),
        ("Bob, a member of her organization", "403", "GET", token_of(BOB, **MEMBER)),
        ("Bob, its admin", "200", "GET", token_of(BOB, **ADMIN)),
        (
            "Alice deletes it, 10 h after sign-in",
            "403 step-up: strict",
            "DELETE",
            token_of(ALICE, **LONG_AGO),
        ),
        ("Alice deletes it, signed in again", "204", "DELETE", token_of(ALICE, **JUST_NOW)),
    ):
        answer = client.call(path, token, method=method)
        yield Outcome(title, expected, f"{answer.status_code}{_read_step_up(answer)}")


def _read_step_up(answer: requests.Response) -> str:
    """Return which proof of identity Clerk's front end is told to ask for."""
    try:
        return f" step-up: {answer.json()['clerk_error']['metadata']['reverification']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _read(answer: requests.Response, name: str) -> object:
    """Return a member of a JSON answer; something else may come when things go wrong."""
    try:
        return answer.json()[name]
    except (ValueError, KeyError, TypeError):
        return "?"
