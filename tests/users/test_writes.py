"""What came to nothing is remembered for a while, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db.models.signals import post_delete, post_save

from clerk_auth.users.writes import RETRY_SECONDS, Attempts, get_attempts

pytestmark = pytest.mark.integration


@pytest.fixture
def memory(clock):
    return Attempts(now=clock.monotonic)


class Row(SimpleNamespace):
    """A row of a user model, as far as this goes."""


def row(pk: int = 1, **columns: object) -> Row:
    return Row(pk=pk, **columns)


def test_value_that_was_refused_is_known_while_the_column_is_the_same(memory):
    alice = row(email=None)
    assert not memory.came_to_nothing(alice, "email", "a@example.com")
    memory.note_refused(alice, "email", "a@example.com")
    assert memory.came_to_nothing(row(email=None), "email", "a@example.com")
    assert not memory.came_to_nothing(row(email="old@example.com"), "email", "a@example.com")
    assert not memory.came_to_nothing(alice, "email", "b@example.com")
    assert not memory.came_to_nothing(row(2, email=None), "email", "a@example.com")
    assert not memory.came_to_nothing(row(email=None, name=None), "name", "a@example.com")


def test_value_that_was_stored_as_it_is_came_to_something(memory):
    memory.note_written(row(name="Alice"), "name", "Alice")
    assert not memory.came_to_nothing(row(name="edited"), "name", "Alice")
    assert memory.is_repeated(row(name="edited"), "name", "Alice")


def test_value_that_was_stored_in_another_form_is_known(memory):
    memory.note_written(row(name="alice"), "name", "Alice")
    assert memory.came_to_nothing(row(name="alice"), "name", "Alice")
    assert not memory.came_to_nothing(row(name="edited"), "name", "Alice")


@pytest.mark.parametrize(
    ("seconds", "is_known"), [(RETRY_SECONDS - 1, True), (RETRY_SECONDS, False)]
)
def test_memory_ends(seconds, is_known, memory, clock):
    alice = row(email=None, name="alice")
    memory.note_refused(alice, "email", "a@example.com")
    memory.note_written(alice, "name", "Alice")
    clock.sleep(seconds)
    assert memory.came_to_nothing(alice, "email", "a@example.com") is is_known
    assert memory.came_to_nothing(alice, "name", "Alice") is is_known


@pytest.mark.parametrize(
    ("signal", "change", "is_known"),
    [
        pytest.param(post_delete, {}, False, id="another-row-goes"),
        pytest.param(post_save, {}, False, id="another-row-changes"),
        pytest.param(post_save, {"update_fields": {"email"}}, False, id="that-column"),
        pytest.param(post_save, {"update_fields": {"last_login"}}, True, id="another-column"),
        pytest.param(post_save, {"created": True}, True, id="another-row-comes"),
        pytest.param(post_save, {"instance": row(1)}, True, id="the-row-itself"),
    ],
)
def test_refused_value_is_tried_again_when_another_row_may_have_given_it_up(
    signal, change, is_known, memory
):
    alice = row(email=None)
    memory.note_refused(alice, "email", "a@example.com")
    signal.send(Row, **{"instance": row(2), **change})
    assert memory.came_to_nothing(alice, "email", "a@example.com") is is_known


def test_memory_is_bounded_and_holds_no_value(clock):
    memory = Attempts(now=clock.monotonic, max_facts=3)
    for pk in range(10):
        memory.note_refused(row(pk, email=None), "email", "a@example.com")
    assert len(memory._refused) <= 3
    assert "example.com" not in repr(vars(memory))


def test_memory_starts_anew_with_the_settings(settings):
    before = get_attempts()
    assert get_attempts() is before
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    assert get_attempts() is not before
