"""The comparison of two states of the package: what it is made of, and that it sees a change."""

from __future__ import annotations

import shutil
from itertools import islice

import pytest

from bench.compare import AGAIN, Comparison, compare, render
from bench.environment import ROOT
from bench.inside.cases import ACCEPTED, FAMILIES, RAISED, Case, Cases
from bench.inside.verdicts import ATTRIBUTES, QUESTIONS
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import REJECTIONS, KeysUnavailable, UserInactive, UserUnknown

pytestmark = pytest.mark.integration

SEED, NUMBER = 12, 1200
HERE = ("this checkout", ROOT)
CASE = Case("claims", "a.b.c", "defaults", 0.0, 1.0, "both", True, False)
ACCEPT = [ACCEPTED, "", "status='active'\nuser_id='user_1'"]
REFUSE = ["token_expired", "exp past", "('TokenExpired', 'exp', 'past')"]


def say(_text: str) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def made():
    cases = Cases(SEED)
    return cases.jwks, list(cases.take(NUMBER))


@pytest.fixture(scope="module")
def agreement(made):
    """What comes of a state that is compared with itself."""
    jwks, cases = made
    return compare(HERE, HERE, jwks, iter(cases), say)


class TestCases:
    def test_same_seed_makes_the_same(self, made):
        again = Cases(SEED)
        assert (again.jwks, list(again.take(99))) == (made[0], made[1][:99])

    def test_no_two_are_the_same(self, made):
        assert len({(case.token, case.policy, case.now) for case in made[1]}) > 0.9 * NUMBER

    def test_every_verdict_is_among_them(self, agreement):
        codes = {code for counted in agreement.codes.values() for code in counted}
        rejections = {error.code for error in REJECTIONS} - {UserInactive.code, UserUnknown.code}
        assert codes == {ACCEPTED, KeysUnavailable.code} | rejections

    @pytest.mark.parametrize("column", [*FAMILIES, AGAIN])
    def test_some_are_accepted_and_some_refused(self, agreement, column):
        counted = agreement.codes[column]
        assert 0.1 < counted[ACCEPTED] / counted.total() < 0.7

    def test_refusals_are_of_many_kinds(self, agreement):
        assert len(agreement.refusals) > 35

    def test_every_public_name_of_claims_is_read(self):
        # "verified" is what the package keeps of a token, and may change. The others follow from
        # the settings, and states before them have none of the two.
        names = {name for name in vars(Claims) if not name.startswith("_")}
        left_out = {"has", "get", "verified", "instance", "user_key"}
        assert names - left_out == {*ATTRIBUTES}
        asked = {name for question in QUESTIONS for name in question}
        assert asked == {*Claims.has.__kwdefaults__}


class TestCompare:
    def test_state_agrees_with_itself(self, agreement):
        assert (agreement.cases, agreement.differ, agreement.shown) == (NUMBER, 0, [])

    @pytest.mark.parametrize(
        ("module", "change", "shown"),
        [
            pytest.param("tokens", "OPAQUE_PREFIXES = ()", "token_malformed", id="rule"),
            pytest.param("claims", "Claims.plans = ('o:pro',)", "plans=('o:pro',)", id="value"),
        ],
    )
    def test_state_that_is_changed_differs(self, made, tmp_path, module, change, shown):
        shutil.copytree(ROOT / "clerk_auth", tmp_path / "clerk_auth")
        with (tmp_path / "clerk_auth" / "core" / f"{module}.py").open("a") as file:
            file.write(f"\n{change}\n")
        jwks, cases = made
        found = compare(HERE, ("changed", tmp_path), jwks, islice(cases, 400), say)
        assert found.differ
        assert any(shown in text for text in found.shown)

    def test_package_of_another_place_is_not_compared(self, made, tmp_path):
        with pytest.raises(RuntimeError, match="none: judged by"):
            compare(("none", tmp_path), HERE, made[0], iter(()), say)


class TestComparison:
    def test_same_verdicts_are_no_difference(self):
        found = Comparison()
        found.add(CASE, [ACCEPT, REFUSE], [ACCEPT, REFUSE])
        assert found.differ == 0
        assert (found.codes["claims"], found.codes[AGAIN]) == (
            {"accepted": 1},
            {"token_expired": 1},
        )

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(["accepted", "", "status='active'\nuser_id='user_2'"], id="value"),
            pytest.param(["claim_invalid", "exp past", REFUSE[2]], id="code"),
            pytest.param(
                ["token_expired", "iat past", "('TokenExpired', 'iat', 'past')"], id="claim"
            ),
        ],
    )
    def test_one_look_that_differs_is_a_difference(self, other):
        for looks in ([ACCEPT, other], [other, ACCEPT]):
            found = Comparison()
            found.add(CASE, [ACCEPT, ACCEPT], looks)
            assert found.differ == 1

    def test_only_what_differs_in_a_value_is_shown(self):
        found = Comparison()
        found.add(CASE, [ACCEPT] * 2, [ACCEPT, ["accepted", "", "status='active'\nuser_id='x'"]])
        assert found.shown[0].splitlines()[1:] == [
            "  first look: accepted, as before",
            "  second look before: user_id='user_1'",
            "  second look after:  user_id='x'",
        ]

    def test_error_that_is_not_ours_is_a_difference_where_both_raise_it(self):
        raised = [RAISED, "KeyError", "KeyError()"]
        found = Comparison()
        found.add(CASE, [raised, raised], [raised, raised])
        assert found.differ == 1
        assert "KeyError" in found.shown[0]

    def test_first_differences_are_shown_whole_and_all_are_counted(self):
        found = Comparison()
        for _ in range(9):
            found.add(CASE, [ACCEPT] * 2, [REFUSE] * 2)
        text = render(found)
        assert text.count('"token": "a.b.c"') == 5
        assert text.endswith("9 cases compared, 9 differences")

    def test_table_counts_verdicts_by_family(self):
        found = Comparison()
        found.add(CASE, [ACCEPT, REFUSE], [ACCEPT, REFUSE])
        rows = {line.split()[0]: line.split()[1:] for line in render(found).splitlines()[:3]}
        assert rows == {
            "verdict": ["texts", "payloads", "claims", "again"],
            "accepted": ["0", "0", "1", "0"],
            "token_expired": ["0", "0", "0", "1"],
        }
