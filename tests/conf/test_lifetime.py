"""What is derived from the settings: made once, and forgotten when a setting changes."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from clerk_auth.conf import derived, get_config
from clerk_auth.users import get_user_resolver, stateless_user
from clerk_auth.verifier import get_verifier

pytestmark = pytest.mark.integration

MINIMAL = {"FRONTEND_API": "clerk.example.com"}


def test_configuration_is_read_once():
    with override_settings(CLERK_AUTH=MINIMAL):
        assert get_config() is get_config()


@pytest.mark.parametrize(
    "change",
    [
        {"CLERK_AUTH": {"FRONTEND_API": "clerk.other.example"}},
        {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}},
        {"SECRET_KEY": "another"},
        {"DEBUG": True},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("get", [get_config, get_verifier, derived(object)])
def test_what_is_derived_is_forgotten_when_a_setting_changes(get, change):
    with override_settings(CLERK_AUTH=MINIMAL):
        before = get()
        with override_settings(**change):
            during = get()
        after = get()
    assert len({id(value) for value in (before, during, after)}) == 3


def test_other_settings_change_nothing_that_is_derived():
    with override_settings(CLERK_AUTH=MINIMAL):
        before = get_config(), get_verifier()
        with override_settings(LANGUAGE_CODE="de", ALLOWED_HOSTS=["a.example"]):
            assert get_config() is before[0]
            assert get_verifier() is before[1]


def test_new_settings_are_in_force_at_once(settings):
    settings.CLERK_AUTH = MINIMAL
    assert get_config().leeway_seconds == 5
    settings.CLERK_AUTH = {**MINIMAL, "LEEWAY_SECONDS": 7}
    assert get_config().leeway_seconds == 7


@pytest.mark.parametrize("get", [get_config, get_verifier, get_user_resolver])
def test_wrong_settings_are_raised_at_each_use(get, settings):
    settings.CLERK_AUTH = {**MINIMAL, "LEEWAY_SECONDS": 61}
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="LEEWAY_SECONDS"):
            get()
    settings.CLERK_AUTH = MINIMAL
    assert get()


@pytest.mark.parametrize("get", [get_config, get_verifier, get_user_resolver])
def test_missing_setting_is_raised_on_first_use(get, settings):
    del settings.CLERK_AUTH
    with pytest.raises(ImproperlyConfigured, match="FRONTEND_API"):
        get()


def test_user_resolver_that_cannot_be_imported_is_raised(settings):
    settings.CLERK_AUTH = {**MINIMAL, "USER_RESOLVER": "no_such_module.resolve"}
    with pytest.raises(ImportError):
        get_user_resolver()
    settings.CLERK_AUTH = MINIMAL
    assert get_user_resolver() is stateless_user


def test_one_thread_of_many_derives():
    made = []
    may_end = threading.Event()

    def make_slowly() -> object:
        made.append(object())
        may_end.wait(5)
        return made[-1]

    get = derived(make_slowly)
    together, found = threading.Barrier(32), []

    def ask() -> None:
        together.wait(5)
        found.append(get())

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    # One makes it, and may not end before all others wait for it.
    deadline = time.monotonic() + 5
    while sum(map(is_waiting_in_derived, threads)) < 31 and time.monotonic() < deadline:
        time.sleep(0.001)
    may_end.set()
    for thread in threads:
        thread.join(5)
    assert len(made) == 1
    assert found == made * 32


def is_waiting_in_derived(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code is get_config.__wrapped__.__code__


def test_each_argument_derives_a_value_of_its_own_however_it_is_passed():
    made = []

    @derived
    def make(alias: str = "default", *, kind: str = "x") -> str:
        made.append((alias, kind))
        return f"{alias} {kind}"

    assert {make(), make("default"), make(alias="default"), make("default", kind="x")} == {
        "default x"
    }
    assert (make("staff"), make(alias="staff"), make(kind="y")) == (
        "staff x",
        "staff x",
        "default y",
    )
    assert made == [("default", "x"), ("staff", "x"), ("default", "y")]


@pytest.mark.parametrize("get", [get_config, get_verifier])
def test_instances_are_derived_apart_and_forgotten_together(get, settings):
    settings.CLERK_AUTH = {
        **MINIMAL,
        "INSTANCES": {"staff": {"FRONTEND_API": "clerk.staff.example.com"}},
    }
    default, staff = get(), get("staff")
    assert default is get("default") is get(alias="default") is not staff
    assert get("staff") is staff
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "LEEWAY_SECONDS": 7}
    assert get() is not default
    assert get("staff") is not staff


def test_failure_for_one_argument_leaves_the_others():
    attempts = []

    @derived
    def make(alias: str = "default") -> str:
        attempts.append(alias)
        if alias == "staff":
            raise ImproperlyConfigured("never")
        return alias

    assert (make(), make("default")) == ("default", "default")
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured):
            make("staff")
    assert (make(), attempts) == ("default", ["default", "staff", "staff"])


def test_failure_to_derive_is_not_remembered():
    attempts = []

    def make() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ImproperlyConfigured("not yet")
        return "made"

    get = derived(make)
    with pytest.raises(ImproperlyConfigured):
        get()
    assert (get(), get(), len(attempts)) == ("made", "made", 2)


def test_forked_child_keeps_what_was_derived(passes_in_child):
    made = []
    get = derived(lambda: made.append(1) or len(made))
    get()
    assert passes_in_child(lambda: get() == 1 and made == [1])


def test_forked_child_derives_while_a_thread_of_the_parent_was_deriving(passes_in_child):
    deriving, may_end = threading.Event(), threading.Event()
    slow = derived(lambda: deriving.set() or may_end.wait(5))
    other = derived(lambda: "made")
    thread = threading.Thread(target=slow)
    thread.start()
    deriving.wait(5)
    try:
        assert passes_in_child(lambda: other() == "made")
    finally:
        may_end.set()
        thread.join(5)
