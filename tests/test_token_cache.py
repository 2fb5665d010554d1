"""The cache of verified tokens: it spares a signature check, and never a rule."""

from __future__ import annotations

import pickle
import threading
from dataclasses import FrozenInstanceError
from sys import getsizeof

import pytest

from clerk_auth.core.claims import Organization, Verified
from clerk_auth.core.errors import (
    ClaimInvalid,
    KeyNotFound,
    KeysUnavailable,
    SignatureInvalid,
    TokenExpired,
    TokenNotYetValid,
    TokenRejected,
)
from clerk_auth.core.tokens import Policy
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import ABSENT
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.token_cache import ENTRY_BYTES, Entry, TokenCache
from clerk_auth.verifier import Verifier, get_verifier
from tests.conftest import NOW, PARTY
from tests.fleet import Fleet, ScriptedIssuer, keys_for
from tests.operations import count_operations


@pytest.fixture
def issuer(local_issuer) -> ScriptedIssuer:
    return ScriptedIssuer(local_issuer)


@pytest.fixture
def fleet(issuer, clock) -> Fleet:
    return Fleet(issuer, clock)


@pytest.fixture
def verifier(fleet, policy, clock) -> Verifier:
    return Verifier(fleet.source(), policy, cache_size=8, now=clock.now)


@pytest.fixture
def token(local_issuer) -> str:
    return local_issuer.token("user_1", now=NOW, expires_in=60, azp=PARTY)


def signatures_checked(verifier: Verifier, token: str) -> int:
    return count_operations(lambda: verifier.check(token)).get("rsa", 0)


def test_repeated_token_is_verified_once(verifier, token):
    assert [signatures_checked(verifier, token) for _ in range(3)] == [1, 0, 0]


def test_cache_of_size_zero_is_off(fleet, policy, clock, token):
    verifier = Verifier(fleet.source(), policy, cache_size=0, now=clock.now)
    assert [signatures_checked(verifier, token) for _ in range(2)] == [1, 1]


def test_setting_turns_it_off(configured, settings):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "VERIFIED_TOKEN_CACHE_SIZE": 0}
    token = configured.signer.token(azp=PARTY)
    assert [signatures_checked(get_verifier(), token) for _ in range(2)] == [1, 1]


def test_changed_settings_void_every_entry(configured, settings):
    token = configured.signer.token(azp=PARTY)
    assert get_verifier().verify(token)
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "AUTHORIZED_PARTIES": ["https://b.example"]}
    with pytest.raises(TokenRejected) as caught:
        get_verifier().verify(token)
    assert caught.value.code == "party_not_allowed"


@pytest.mark.parametrize(
    ("seconds", "accepted"), [(64, True), (65, False), (66, False)], ids=["inside", "on", "past"]
)
def test_token_expires_in_the_cache_with_the_leeway(verifier, clock, token, seconds, accepted):
    verifier.check(token)
    clock.time += seconds
    if accepted:
        assert signatures_checked(verifier, token) == 0
    else:
        with pytest.raises(TokenExpired):
            verifier.check(token)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(("back", "accepted"), [(4, True), (5, True), (6, False)])
def test_cached_token_becomes_early_when_the_clock_is_set_back(
    verifier, clock, local_issuer, claim, back, accepted
):
    times = {"iat": NOW - 100, "nbf": NOW - 100, claim: NOW}
    token = local_issuer.token(now=NOW, azp=PARTY, **times)
    verifier.check(token)
    clock.time -= back
    if accepted:
        assert verifier.check(token)
    else:
        with pytest.raises(TokenNotYetValid):
            verifier.check(token)


@pytest.mark.parametrize("header", [{"cat": ABSENT}, {"cat": "cl_I7d4PD111III"}, {}])
@pytest.mark.parametrize("back", [0, 1, 2])
def test_cached_token_lives_too_long_when_the_clock_is_set_back(
    verifier, clock, local_issuer, header, back
):
    payload = local_issuer.session_payload(
        now=NOW, expires_in=3599, azp=PARTY, nbf=NOW - 100, iat=NOW - 100
    )
    token = local_issuer.sign(payload, header)
    verifier.check(token)
    clock.time -= back
    if back < 2 or not header:
        assert signatures_checked(verifier, token) == 0
    else:
        with pytest.raises(ClaimInvalid):
            verifier.check(token)


def test_rotation_voids_an_entry(verifier, issuer, clock, other_issuer, token):
    verifier.check(token)
    issuer.signers[:] = [other_issuer]
    verifier.source.refresh()
    with pytest.raises(SignatureInvalid):
        verifier.check(token)


def test_removal_of_the_key_voids_an_entry(verifier, issuer, local_issuer, token):
    verifier.check(token)
    issuer.signers[:] = [local_issuer.acting_as(local_issuer.issuer, kid="ins_next")]
    verifier.source.refresh()
    with pytest.raises(KeyNotFound):
        verifier.check(token)


def test_refresh_that_keeps_the_key_checks_the_signature_again(verifier, token):
    verifier.check(token)
    verifier.source.refresh()
    assert [signatures_checked(verifier, token) for _ in range(2)] == [1, 0]


def test_hit_is_unavailable_past_max_age(verifier, issuer, clock, local_issuer):
    token = local_issuer.token(now=NOW, expires_in=10**6, azp=PARTY)
    verifier.check(token)
    issuer.failure = "connection"
    clock.time += 86400
    with pytest.raises(KeysUnavailable):
        verifier.check(token)


def test_hits_keep_looking_for_new_keys(verifier, fleet, clock, token):
    verifier.check(token)
    reads = fleet.cache.calls["get"]
    clock.time += 15
    verifier.check(token)
    assert fleet.cache.calls["get"] == reads + 1


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_refused_token_never_enters(local_issuer, bad):
    policy = Policy(
        issuers=frozenset({local_issuer.issuer}),
        authorized_parties=frozenset({PARTY}),
        audiences=frozenset({"api"}),
    )
    source = StaticKeySource((local_issuer.verifying_key,))
    verifier = Verifier(source, policy, cache_size=8, now=lambda: NOW)
    payload = local_issuer.session_payload(now=NOW, azp=PARTY, aud="api")
    verifier.check(local_issuer.sign(payload))
    for _ in range(2):
        with pytest.raises(TokenRejected) as caught:
            verifier.check(bad.make(local_issuer, payload))
        assert caught.value.code == bad.code
    assert len(verifier._cache) == 1


def test_hostile_text_is_refused_and_not_kept(verifier):
    for text in ("", "a.b.c", "\ud800", "é", "x" * 20_000):
        with pytest.raises(TokenRejected):
            verifier.check(text)
    assert len(verifier._cache) == 0


def test_every_change_of_the_text_is_another_token(verifier, token):
    verifier.check(token)
    for position in (0, len(token) // 2, len(token) - 1):
        changed = (
            token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        )
        with pytest.raises(TokenRejected):
            verifier.check(changed)


def test_claims_of_a_hit_are_those_of_the_token_and_its_own_object(verifier, local_issuer):
    payload = local_issuer.session_payload(
        now=NOW, azp=PARTY, fea="o:a", o={"id": "org_1", "rol": "admin"}, tags=["x", {"y": [1]}]
    )
    token = local_issuer.sign(payload)
    first, second = verifier.check(token), verifier.check(token)
    assert first is not second
    assert first.payload == second.payload
    assert second.organization.role == "org:admin"
    assert second.organization is first.organization
    assert second.get("tags") == ("x", {"y": (1,)})
    with pytest.raises(TypeError):
        second.get("tags")[1]["y"] = 2
    with pytest.raises(FrozenInstanceError):
        second.organization.role = "org:owner"


@pytest.mark.parametrize("is_asked", [False, True])
def test_claims_of_a_hit_can_be_pickled_and_hold_no_signature(verifier, local_issuer, is_asked):
    token = local_issuer.token(now=NOW, azp=PARTY, o={"id": "org_1"}, fea="o:a", pla="o:pro")
    for claims in verifier.check(token), verifier.check(token):
        if is_asked:
            assert claims.has(feature="a", plan="pro")
        pickled = pickle.dumps(claims)
        assert token.rpartition(".")[2].encode() not in pickled
        read = pickle.loads(pickled)
        assert (read.payload, read.user_id) == (claims.payload, claims.user_id)
        assert read.organization == Organization("org_1")
        assert (read.features, read.plans) == (("o:a",), ("o:pro",))


# Bounds


LONG = "x" * 1000  # an origin that is not checked


def entry(party: str | None = None) -> Entry:
    return None, Verified("u", "s", "i", 1, None, None, party, "active", True, "default", "u")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_entries_are_bounded_and_the_newest_are_kept(size):
    cache = TokenCache(size)
    for index in range(10 * size + 1):
        cache.put(b"%d" % index, entry())
        assert len(cache) <= size + 1
    assert cache.get(b"%d" % (10 * size)) is not None


def test_bytes_are_bounded():
    cache = TokenCache(10**6, max_bytes=20 * (ENTRY_BYTES + getsizeof(LONG)))
    for index in range(500):
        cache.put(b"%d" % index, entry(LONG))
    assert len(cache) == 20


@pytest.mark.parametrize(("room", "kept"), [(1, True), (0, True), (-1, False)])
def test_entry_that_would_take_half_the_room_is_not_kept(room, kept):
    cache = TokenCache(100, max_bytes=2 * (ENTRY_BYTES + getsizeof(LONG) + room))
    cache.put(b"large", entry(LONG))
    assert (cache.get(b"large") is not None) is kept


def test_large_entry_pushes_nothing_out():
    cache = TokenCache(100, max_bytes=2 * (ENTRY_BYTES + 500))
    cache.put(b"small", entry())
    for index in range(3):
        cache.put(b"large %d" % index, entry(LONG))
    assert cache.get(b"small") is not None


def test_organizations_are_kept_while_there_is_room(local_issuer, policy):
    """A few digits of a mask make many names of it."""
    names = [f"name_{n}_{'x' * 50}" for n in range(50)]
    claims = {
        "o": {
            "id": "org_1",
            "per": ",".join(names),
            "fpm": ",".join([str(2 ** len(names) - 1)] * 20),
        },
        "fea": ",".join(f"o:feature_{n}" for n in range(20)),
    }
    source = StaticKeySource((local_issuer.verifying_key,))
    verifier = Verifier(source, policy, cache_size=100, now=lambda: NOW)
    size = sum(
        map(
            getsizeof,
            verifier.check(
                local_issuer.token(now=NOW, azp=PARTY, **claims)
            ).organization.permissions,
        )
    )
    verifier._cache = TokenCache(100, max_bytes=2 * (2 * size + 10 * ENTRY_BYTES))
    kept = []
    for number in range(4):
        token = local_issuer.token(f"user_{number}", now=NOW, azp=PARTY, **claims)
        first, second = verifier.check(token).organization, verifier.check(token).organization
        assert first == second
        assert len(first.permissions) == 1000
        kept.append(first is second)
    assert kept == [True, True, False, False]


@pytest.mark.integration
def test_threads_get_their_own_tokens_answers(verifier, local_issuer):
    tokens = {
        user: local_issuer.token(user, now=NOW, azp=PARTY)
        for user in (f"user_{n}" for n in range(24))
    }
    wrong: list[str] = []
    barrier = threading.Barrier(8)
    keys_for(verifier.source, local_issuer.kid)

    def ask() -> None:
        barrier.wait()
        for _ in range(10):
            wrong.extend(u for u, token in tokens.items() if verifier.check(token).user_id != u)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(verifier._cache) <= 9
