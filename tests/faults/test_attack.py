"""Whoever has no key can send what he likes: it costs a fetch per cooldown, and nobody else."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import NamedTuple

import pytest
import redis as redis_py

from tests.faults.processes import (
    Answers,
    attack,
    tell,
    verify,
    verify_steadily,
    verify_until_accepted,
)
from tests.processes import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.redis]

ATTACK_SECONDS, COOLDOWN_SECONDS = 10.0, 3
FORCED_WAIT_SECONDS = 1.5
# Two processes are attacked, each by so many threads.
THREADS = 8
RIGHT_KID, RANDOM_KID = "ins_server", None
REFUSALS = {
    RANDOM_KID: {"key_not_found", "keys_busy"},
    RIGHT_KID: {"signature_invalid"},
}


@pytest.fixture
def fork(nursery, issuer_server):
    clerk_auth = {
        "ISSUER": issuer_server.issuer,
        "JWKS_URL": issuer_server.jwks_url,
        # Every request pays in full.
        "VERIFIED_TOKEN_CACHE_SIZE": 0,
    }
    yield lambda count, **changes: nursery.fork(count, clerk_auth | changes)
    nursery.end_workers()


@pytest.fixture
def report(capsys):
    def write(line):
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return write


@pytest.fixture
def fleet(fork, issuer_server):
    """Two processes to attack, and two that have valid requests only; all of them warm."""
    workers = fork(4, JWKS_COOLDOWN_SECONDS=COOLDOWN_SECONDS, JWKS_LOCAL_SECONDS=1)
    answers = tell(workers, verify, issuer_server.signer.token(expires_in=600))
    assert [answer.code for answer in answers] == ["ok"] * 4
    assert issuer_server.fetches == 1
    return workers[:2], workers[2:]


class Siege(NamedTuple):
    """``attacked`` and ``valid`` have an ``Answers`` per process; ``quiet`` is from before."""

    attacked: list[Answers]
    valid: list[Answers]
    quiet: Answers


def besiege(fleet, issuer_server, kids, in_the_middle=lambda: None):
    """Attack two processes, and ask all of them for what they should go on to accept."""
    targets, bystanders = fleet
    token = issuer_server.signer.token(expires_in=600)
    payload = issuer_server.signer.session_payload(expires_in=600)
    quiet = bystanders[0].ask(verify_steadily, token, 1.0)
    attacks = [worker.start(attack, kids, payload, THREADS, ATTACK_SECONDS) for worker in targets]
    valid = [
        worker.start(verify_steadily, token, ATTACK_SECONDS) for worker in [*bystanders, *targets]
    ]
    time.sleep(ATTACK_SECONDS / 2)
    in_the_middle()
    return Siege([wait() for wait in attacks], [wait() for wait in valid], quiet)


def check_siege(siege, fetches, kids, report):
    count = sum((answers.count for answers in siege.attacked), start=Counter())
    longest = max(answers.longest for answers in siege.attacked)
    began_at = min(answers.began_at for answers in siege.attacked)
    seconds = max(answers.ended_at for answers in siege.attacked) - began_at
    report(f"{count.total()} refused in {seconds:.1f} s, {fetches} fetches, wait {longest:.2f} s")
    elsewhere, quiet = siege.valid[0], siege.quiet
    report(
        f"valid requests elsewhere: median {1e6 * elsewhere.median:.0f} us, quiet "
        f"{1e6 * quiet.median:.0f}; longest {1e3 * elsewhere.longest:.0f} ms, quiet "
        f"{1e3 * quiet.longest:.0f}"
    )
    assert count.keys() <= set().union(*(REFUSALS[kid] for kid in kids))
    assert longest < 2 * FORCED_WAIT_SECONDS
    assert {code for answers in siege.valid for code in answers.count} == {"ok"}
    # At least two: a cooldown has passed, and the attack has found that out.
    assert 2 <= fetches <= len(kids) * (1 + math.floor(seconds / COOLDOWN_SECONDS))


@pytest.mark.parametrize(
    "kid", [pytest.param(RANDOM_KID, id="random-kids"), pytest.param(RIGHT_KID, id="right-kid")]
)
def test_forged_tokens_cost_one_fetch_per_cooldown(fleet, issuer_server, kid, report):
    siege = besiege(fleet, issuer_server, [kid])
    check_siege(siege, issuer_server.fetches - 1, [kid], report)


def test_rotated_key_is_accepted_within_a_cooldown_of_an_attack(fleet, issuer_server, report):
    targets, bystanders = fleet
    accepted = []

    def rotate():
        token = issuer_server.rotate("ins_rotated", keep=True).token(expires_in=600)
        rotated_at = time.monotonic()
        for asked in tell([*bystanders, *targets], verify_until_accepted, token):
            assert asked[-1].code == "ok"
            assert {answer.code for answer in asked[:-1]} <= REFUSALS[RANDOM_KID]
            assert max(answer.seconds for answer in asked) < 2 * FORCED_WAIT_SECONDS
            accepted.append(asked[-1].at - rotated_at)

    kids = [RANDOM_KID, RIGHT_KID]
    siege = besiege(fleet, issuer_server, kids, in_the_middle=rotate)
    report(f"key rotated under attack: accepted by all after {max(accepted):.2f} s")
    check_siege(siege, issuer_server.fetches - 1, kids, report)
    assert max(accepted) < 2 * COOLDOWN_SECONDS


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"now": time.time() - 3600}, id="long-expired"),
        pytest.param({"iss": "https://clerk.example.org"}, id="foreign-issuer"),
    ],
)
@pytest.mark.parametrize(
    ("kid", "code"),
    [
        pytest.param(RANDOM_KID, "key_not_found", id="random-kids"),
        pytest.param(RIGHT_KID, "signature_invalid", id="right-kid"),
    ],
)
def test_token_that_could_never_pass_costs_no_look(fork, redis, issuer_server, claims, kid, code):
    (worker,) = fork(1, JWKS_LOCAL_SECONDS=300)
    signer = issuer_server.signer
    assert worker.ask(verify, signer.token(expires_in=600)).code == "ok"
    with redis_py.Redis.from_url(redis.url) as client:
        # The process gives the lock back after it has answered.
        wait_until(lambda: not client.keys("*clerk_auth:*:lock"))
        before = count_commands(client)
        answers = worker.ask(attack, [kid], signer.session_payload(**claims), THREADS, 0.5)
        assert set(answers.count) == {code}
        assert (count_commands(client), issuer_server.fetches) == (before, 1)
        # The same, if only it could pass, is looked for.
        worker.ask(attack, [kid], signer.session_payload(), 1, 0.0)
        assert count_commands(client) > before
        assert issuer_server.fetches == 2


def count_commands(client):
    """Commands that the server has run for others."""
    return sum(
        statistics["calls"]
        for command, statistics in client.info("commandstats").items()
        if command.startswith(("cmdstat_get", "cmdstat_set", "cmdstat_del"))
    )
