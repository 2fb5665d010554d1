"""Settings of a wing: declared by it, and read like those of ``CLERK_AUTH`` itself."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError, dataclass

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from clerk_auth.checks import TAG
from clerk_auth.conf import config, find_problems, get_config, read_group, readers
from clerk_auth.conf.declarations import setting

pytestmark = pytest.mark.integration

MINIMAL = {"FRONTEND_API": "clerk.example.com"}


@dataclass(frozen=True, kw_only=True)
class Parcels:
    """What a wing declares."""

    max_bytes: int = setting(readers.integer(1), 1000, "A longer parcel is refused.")
    senders: tuple[str, ...] = setting(readers.read_audience, None, "Who may send.", absent=())
    office: str = setting(readers.choice("north", "south"), "north", "Where from.", key="FROM")


@pytest.fixture(autouse=True)
def parcels(monkeypatch):
    monkeypatch.setitem(config.GROUPS, "PARCELS", f"{__name__}.Parcels")


def with_parcels(values: object, **others: object):
    return override_settings(CLERK_AUTH={**MINIMAL, **others, "PARCELS": values})


def test_group_is_read_into_the_dataclass_of_its_wing():
    with with_parcels({"MAX_BYTES": 5, "SENDERS": "me", "FROM": "south"}):
        read = read_group("PARCELS")
        assert read == Parcels(max_bytes=5, senders=("me",), office="south")
        assert get_config().issuers
        assert find_problems() == []
    with pytest.raises(FrozenInstanceError):
        read.max_bytes = 6


@pytest.mark.parametrize("values", [MINIMAL, {**MINIMAL, "PARCELS": {}}, None])
def test_group_that_says_nothing_has_its_defaults(values):
    with override_settings(CLERK_AUTH=values):
        assert read_group("PARCELS") == Parcels(max_bytes=1000, senders=(), office="north")


@pytest.mark.parametrize(
    ("values", "check_id", "key"),
    [
        ({"MAX_BITES": 5}, "clerk_auth.E002", "PARCELS.MAX_BITES"),
        ({"sk_" + "test_x": 5}, "clerk_auth.E002", "PARCELS...."),
        ({"MAX_BYTES": 0}, "clerk_auth.E003", "PARCELS.MAX_BYTES"),
        ({"MAX_BYTES": None}, "clerk_auth.E003", "PARCELS.MAX_BYTES"),
        ({"SENDERS": ["sk_" + "test_x"]}, "clerk_auth.E003", "PARCELS.SENDERS"),
        ({"OFFICE": "south"}, "clerk_auth.E002", "PARCELS.OFFICE"),
        ([], "clerk_auth.E003", "PARCELS"),
    ],
)
def test_problem_names_group_and_key(values, check_id, key):
    with with_parcels(values):
        (problem,) = run_checks(tags=[TAG])
        assert (problem.id, problem.obj) == (check_id, key)
        assert f"CLERK_AUTH[{key!r}]" in problem.msg
        assert "test_x" not in f"{problem.msg} {problem.hint}"
        with pytest.raises(ImproperlyConfigured) as caught:
            read_group("PARCELS")
        assert str(caught.value) == f"{problem.msg} {problem.hint}"
        assert get_config(), "the wing's settings are the wing's matter"


def test_key_of_a_group_is_suggested_and_so_is_the_group():
    with with_parcels({"MAX_BITES": 5}, PARCEL={}):
        hints = {problem.obj: problem.hint for problem in find_problems()}
    assert hints == {
        "PARCELS.MAX_BITES": "Did you mean 'MAX_BYTES'?",
        "PARCEL": "Did you mean 'PARCELS'?",
    }


def test_wing_is_loaded_only_where_its_key_is_present(monkeypatch):
    monkeypatch.setitem(config.GROUPS, "LETTERS", "json.tool.main")
    monkeypatch.delitem(sys.modules, "json.tool", raising=False)
    with override_settings(CLERK_AUTH=MINIMAL):
        assert get_config()
        assert find_problems() == []
    assert "json.tool" not in sys.modules
