"""A model of the key source: a simulated fleet, cache and issuer on a virtual clock.

Whatever happens, in whatever order:

- no answer comes from a set older than max age, and every key was published at its time;
- a failed fetch changes nothing, and a process never goes back to an older set;
- while the cache is up, the fleet makes at most one forced fetch per cooldown and purpose;
- every lookup returns within its budget, a fetch of its own aside;
- a process without keys gets them from a healthy issuer within a lease, a second and a fetch,
  whatever is written into the cache meanwhile, however often;
- a key that is published and used while issuer and cache are up is accepted within one cooldown;
- nothing of a token becomes a cache key, and memory is bounded;
- a document that we did not sign is never used.

Processes run on one thread. They overlap where they really do: while one of them fetches, another
one asks, and sleeping advances the clock for all.
"""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from clerk_auth.core.errors import ClerkAuthError, KeyNotFound, KeysUnavailable
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.jwks.cached import KEY_ID, SIGNATURE, WAIT_SECONDS, CachedKeySource
from tests.conftest import ManualClock
from tests.fleet import ISSUER, Fleet, ScriptedIssuer, keys_after, keys_for, search

pytestmark = pytest.mark.integration

COOLDOWN, MAX_AGE, FETCH_SECONDS = 30, 86400, 1.0
CACHE_NAMES = {"document", "lock", "failure", "cooldown:key_id", "cooldown:signature"}
# Key generation is slow: a few keys serve for every rotation, under new key ids.
SIGNERS = [LocalIssuer.generate(ISSUER, kid=f"ins_{n}") for n in range(4)]
ATTACKER = LocalIssuer.generate(ISSUER, kid="ins_0")

LEASE = 5
# What anybody who can write to the cache may put under our names; the texts are failures.
HOSTILE = [
    *(None, True, -1, 10**400, float("nan"), b"\xff", "\x1b[31m", "9" * 1000, [], {}),
    '["status", 16, 1e18]',
    '["status", -1, 0]',
    '["\x1b[31m", 1, 0]',
]

processes = st.integers(0, 2)
hostile_values = st.sampled_from(HOSTILE) | st.integers() | st.text(max_size=9)
kids = st.sampled_from(["ins_0", "ins_1", "ins_2", "ins_3", "ins_nobody", "ins_x\n", "é" * 500])


class Killed(BaseException):
    """The process ends here, without cleaning up."""


class KeySourceMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.clock = ManualClock()
        self.issuer = ScriptedIssuer(SIGNERS[0])
        self.fleet = Fleet(self.issuer, self.clock)
        self.processes = [self._start_process() for _ in range(3)]
        self.generations: dict[int, int] = defaultdict(int)
        self.published: list[tuple[float, frozenset[str], frozenset[str]]] = []
        self.forced: dict[str, list[float]] = {KEY_ID: [], SIGNATURE: []}
        self.old_documents: list[tuple[object, float]] = []
        self.violations: list[str] = []
        self.hostile_until = 0.0
        self.meanwhile = None
        self.issuer.during = self._while_fetching
        self._publish()

    def _start_process(self) -> CachedKeySource:
        source = self.fleet.source(fetch=lambda: self._fetch_by(source))
        return source

    def _publish(self) -> None:
        thumbprints = frozenset(s.verifying_key.thumbprint for s in self.issuer.signers)
        kids = frozenset(s.kid for s in self.issuer.signers)
        self.published.append((self.clock.time, thumbprints, kids))

    def _while_fetching(self) -> None:
        """A fetch takes time, in which others go on; note it if a token forced it."""
        self.clock.time += FETCH_SECONDS / 2
        action, self.meanwhile = self.meanwhile, None
        if action:
            action()
        self.clock.time += FETCH_SECONDS / 2

    # What callers do

    @rule(index=processes, kid=kids)
    def look_up(self, index: int, kid: str) -> None:
        self._look_up(index, kid)

    def _look_up(self, index: int, kid: str) -> bool:
        source = self.processes[index]
        started_at, fetches = self.clock.time, self.issuer.fetches
        budget = 0.0 if source.held.is_usable() and self.clock.time < source._desk.look_at else None
        try:
            keys = keys_for(source, kid)
            if budget == 0.0:
                assert self.clock.time == started_at, "a warm lookup waited"
            if not keys:
                keys = search(source, kid)
        except KeysUnavailable:
            keys = ()
        except KeyNotFound:
            keys = ()
            assert source.held.failure is None, "not knowing was called denying"
        waited = self.clock.time - started_at
        own_fetches = (self.issuer.fetches - fetches) * FETCH_SECONDS
        assert waited <= sum(WAIT_SECONDS.values()) + own_fetches
        if keys:
            self._check_answer(source, keys)
        return bool(keys)

    @rule(index=processes, kid=st.sampled_from(["ins_0", "ins_1"]))
    def present_a_bad_signature(self, index: int, kid: str) -> None:
        source = self.processes[index]
        try:
            tried = keys_for(source, kid)
        except ClerkAuthError:
            return
        if tried:
            keys_after(source, kid, tried)
            assert source.held.keys_for(kid) or self._was_withdrawn(source, kid), (
                "a key was evicted"
            )

    def _was_withdrawn(self, source: CachedKeySource, kid: str) -> bool:
        """Tell whether a set without ``kid`` was published when what is held was fetched.

        Another process may have fetched it, and the key may be back since.
        """
        fetched_at = source.held.snapshot.fetched_at
        earlier = [since for since, *_ in self.published if since <= fetched_at]
        return any(
            kid not in kids
            for since, _, kids in self.published
            if max(earlier, default=0) <= since <= fetched_at + FETCH_SECONDS
        )

    def _check_answer(self, source: CachedKeySource, keys) -> None:
        snapshot = source.held.snapshot
        age = self.clock.time - snapshot.fetched_at
        assert age < MAX_AGE + 2 * FETCH_SECONDS, "a set past max age was used"
        held = {key.thumbprint for key in keys}
        at_fetch = [
            prints
            for since, prints, _ in self.published
            if since <= snapshot.fetched_at + 60 + FETCH_SECONDS
        ]
        assert any(held <= prints for prints in at_fetch), "a key that nobody published"
        assert ATTACKER.verifying_key.thumbprint not in held

    def _fetch_by(self, source: CachedKeySource) -> bytes:
        """Fetch for ``source``; a fetch that a token forced keeps to the fleet's cooldown."""
        flight = source._desk.flight
        is_forced = flight and not flight.done.is_set() and flight.purpose in self.forced
        if is_forced and source.held.is_fresh() and self._cache_works(source):
            times = self.forced[flight.purpose]
            # Noted, not asserted: a flight survives whatever goes wrong in it.
            if times and self.clock.time - times[-1] < COOLDOWN:
                self.violations.append(f"forced again after {self.clock.time - times[-1]} s")
            times.append(self.clock.time)
        return self.issuer.fetch()

    # What time and operators do

    @rule(seconds=st.sampled_from([0.1, 1, 2, 14, 16, 31, 70, 301, 301, 3600, 86_400]))
    def time_passes(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule(index=processes)
    def process_restarts(self, index: int) -> None:
        self.processes[index] = self._start_process()
        self.generations[index] = 0

    @rule(index=processes, other=processes, kid=kids)
    def another_one_asks_during_the_next_fetch(self, index: int, other: int, kid: str) -> None:
        if index != other:
            self.meanwhile = lambda: self._look_up(other, kid)
            self._look_up(index, kid)
            self.meanwhile = None

    @rule(index=processes)
    def process_is_killed_while_it_fetches(self, index: int) -> None:
        source = self.processes[index]

        def die() -> None:
            def dead(method: str = "") -> None:
                raise ConnectionError

            source.fleet.breaker._get_cache = dead
            raise Killed

        self.meanwhile = die
        try:
            source.refresh()
        except Killed:
            self.process_restarts(index)
        self.meanwhile = None

    @rule(index=processes)
    def operator_refreshes(self, index: int) -> None:
        self.processes[index].refresh()

    # What Clerk does

    @rule(n=st.integers(0, 3), keep=st.booleans())
    def issuer_rotates(self, n: int, keep: bool) -> None:
        signer = SIGNERS[n]
        self.issuer.signers = [*(self._others(signer) if keep else ()), signer]
        self._publish()

    def _others(self, signer: LocalIssuer) -> list[LocalIssuer]:
        """Return who signs beside ``signer``: no key is published twice."""
        return [
            s
            for s in self.issuer.signers
            if s.verifying_key.thumbprint != signer.verifying_key.thumbprint
        ]

    @rule(n=st.integers(1, 3))
    def issuer_replaces_the_key_under_its_kid(self, n: int) -> None:
        kid = self.issuer.signers[0].kid
        self.issuer.signers = [SIGNERS[n].acting_as(ISSUER, kid=kid)]
        self._publish()

    @rule(failure=st.sampled_from([None, None, "timeout", "status"]))
    def issuer_changes_its_mood(self, failure: str | None) -> None:
        self.issuer.failure = failure

    @rule(
        body=st.sampled_from(
            [None, b"", b"<html>", b'{"keys": []}', json.dumps(ATTACKER.jwk).encode()]
        )
    )
    def issuer_serves(self, body: bytes | None) -> None:
        self.issuer.body = body

    # What the cache does

    @rule()
    def cache_goes_down(self) -> None:
        def refuse(method: str) -> None:
            raise ConnectionError(method)

        self.fleet.cache.fail = refuse
        self._forget_forced()

    @rule()
    def cache_comes_up(self) -> None:
        self.fleet.cache.fail = lambda method: None
        self._forget_forced()

    @rule()
    def cache_is_flushed(self) -> None:
        self.fleet.cache.flush()
        self._forget_forced()

    def _forget_forced(self) -> None:
        """Without its memory the fleet cannot keep a cooldown together."""
        self.forced = {KEY_ID: [], SIGNATURE: []}
        for process in self.processes:
            breaker = process.fleet.breaker
            breaker._avoid_until = min(breaker._avoid_until, self.clock.time + 30)

    @rule()
    def cache_is_written_by_an_attacker(self) -> None:
        for key in [key for key in self.fleet.cache.values if key.endswith(":document")]:
            document = {"generation": 9**15, "fetched_at": self.clock.time, **ATTACKER.jwks}
            forged = json.dumps(document) + ":" + "A" * 43
            self.fleet.cache.values[key] = forged, self.clock.time + MAX_AGE

    def _write(self, name: str, value: object) -> None:
        """Write under a name of ours, for as long as a cooldown lasts."""
        self.hostile_until = self.clock.time + COOLDOWN
        key = f"{self.processes[0].fleet._prefix}:{name}"
        self.fleet.cache.values[key] = value, self.hostile_until
        self._forget_forced()

    @rule(name=st.sampled_from(sorted(CACHE_NAMES)), value=hostile_values)
    def cache_is_written_under_any_name(self, name: str, value: object) -> None:
        self._write(name, value)

    @rule(count=st.integers(1, 16), ahead=st.sampled_from([1, 60, 132]))
    def cache_is_given_a_failure(self, count: int, ahead: float) -> None:
        self._write("failure", json.dumps(["status", count, self.clock.time + ahead]))

    @precondition(lambda self: self.issuer.failure is None and self.issuer.body is None)
    @rule(index=processes, pause=st.sampled_from([0.1, 0.5]), data=st.data())
    def new_process_gets_keys_while_an_attacker_writes(
        self, index: int, pause: float, data: st.DataObject
    ) -> None:
        names = data.draw(st.sets(st.sampled_from(sorted(CACHE_NAMES)), min_size=1))
        hostile = data.draw(hostile_values)
        self.process_restarts(index)
        source, started_at = self.processes[index], self.clock.time
        writes = 0

        def write_again() -> None:
            nonlocal writes
            writes += 1
            late = json.dumps(["status", 16, self.clock.time + 131])
            for name in names:
                value = {"lock": f"{hostile!r} {writes}", "failure": late}.get(name, hostile)
                self._write(name, value)

        while not source.held.is_usable():
            write_again()
            assert self.clock.time - started_at <= LEASE + 1 + FETCH_SECONDS, "kept from its keys"
            self._look_up(index, "ins_0")
            self.clock.time += pause

    @precondition(lambda self: self.old_documents)
    @rule(data=st.data())
    def cache_brings_an_older_document_back(self, data: st.DataObject) -> None:
        for key in [key for key in self.fleet.cache.values if key.endswith(":document")]:
            value, _ends_at = data.draw(st.sampled_from(self.old_documents))
            self.fleet.cache.values[key] = value, self.clock.time + MAX_AGE

    # What must come true

    def _all_is_well(self) -> bool:
        return (
            self.issuer.failure is None
            and self.issuer.body is None
            and self.clock.time > self.hostile_until
            and not any(process.held.failure for process in self.processes)
            and not any(key.endswith((":failure", ":lock")) for key in self.fleet.cache.values)
            and all(map(self._cache_works, self.processes))
        )

    def _cache_works(self, process: CachedKeySource) -> bool:
        try:
            self.fleet.cache.fail("get")
        except ConnectionError:
            return False
        return not process.fleet.breaker.is_open

    @precondition(lambda self: self._all_is_well())
    @rule(index=processes, n=st.integers(0, 3), attack=st.booleans())
    def published_key_is_accepted_within_a_cooldown(self, index: int, n: int, attack: bool) -> None:
        kid = f"ins_new_{self.clock.time}"
        signer = SIGNERS[n].acting_as(ISSUER, kid=kid)
        self.issuer.signers = [*self._others(signer)[-2:], signer]
        self._publish()
        deadline = self.clock.time + COOLDOWN + WAIT_SECONDS[KEY_ID] + 2 * FETCH_SECONDS
        accepted = False
        while not accepted and self.clock.time <= deadline:
            if attack:
                for other in range(3):
                    self._look_up(other, f"ins_random_{self.clock.time}")
            accepted = self._look_up(index, kid)
            self.clock.time += 0.9
        assert accepted, "a published key was not accepted within a cooldown"

    @invariant()
    def documents_are_kept_for_a_replay(self) -> None:
        values = self.fleet.cache.values if hasattr(self, "fleet") else {}
        documents = [values[key] for key in values if key.endswith(":document")]
        self.old_documents = [*self.old_documents[-9:], *documents] if values else []

    @invariant()
    def nothing_was_violated_in_a_flight(self) -> None:
        assert not getattr(self, "violations", [])

    @invariant()
    def no_process_goes_back(self) -> None:
        for index, process in enumerate(getattr(self, "processes", ())):
            assert process.held.generation >= self.generations[index]
            self.generations[index] = process.held.generation

    @invariant()
    def cache_keys_are_ours_and_few(self) -> None:
        if hasattr(self, "fleet"):
            prefix = self.processes[0].fleet._prefix + ":"
            assert {key.removeprefix(prefix) for key in self.fleet.cache.values} <= CACHE_NAMES

    @invariant()
    def memory_is_bounded(self) -> None:
        for process in getattr(self, "processes", ()):
            assert len(process._desk.quiet_until) <= 4
            assert len(process.held._cooling_until) == 2
            assert process.held.snapshot is None or len(process.held.snapshot.key_set.keys) <= 64


TestKeySource = KeySourceMachine.TestCase
TestKeySource.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
