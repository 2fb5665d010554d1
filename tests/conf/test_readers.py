"""Every form a setting may have, and what is said about every other one."""

from __future__ import annotations

import pytest

from clerk_auth.conf import readers
from clerk_auth.conf.readers import Refused

pytestmark = pytest.mark.integration


def hint_of(reader, value) -> str:
    with pytest.raises(Refused) as caught:
        reader(value)
    assert caught.value.message
    return caught.value.hint


def message_of(reader, value) -> str:
    with pytest.raises(Refused) as caught:
        reader(value)
    return caught.value.message


# Strings, booleans, numbers, choices, paths


@pytest.mark.parametrize("value", ["", "  ", None, 5, b"text", ["text"], True, object()])
def test_string_is_not_empty(value):
    assert "leave the key out" in hint_of(readers.read_text, value)
    assert message_of(readers.read_text, value) == "must be a string that is not empty."


def test_whitespace_around_a_string_is_refused_with_the_corrected_value():
    assert hint_of(readers.read_text, " keys\n") == 'Write "keys".'
    assert message_of(readers.read_text, " keys\n") == "has whitespace around it."


@pytest.mark.parametrize(
    ("value", "audiences"),
    [("api", ("api",)), (["api", "admin"], ("api", "admin")), (("api", "api"), ("api",))],
)
def test_audience_is_one_string_or_a_list(value, audiences):
    assert readers.read_audience(value) == audiences


@pytest.mark.parametrize("value", [[], "", [""], {"api"}, [5], iter(["api"])])
def test_audience_is_never_nothing_and_never_another_container(value):
    assert hint_of(readers.read_audience, value)


@pytest.mark.parametrize("value", [True, False])
def test_boolean_is_taken_as_it_is(value):
    assert readers.read_flag(value) is value


@pytest.mark.parametrize("value", ["true", "false", "", 0, 1, None])
def test_what_only_counts_as_true_or_false_is_not_a_boolean(value):
    assert hint_of(readers.read_flag, value)


@pytest.mark.parametrize(
    ("value", "is_read"),
    [(0.99, False), (1, True), (1.01, True), (29.99, True), (30, True), (30.01, False)],
)
def test_number_is_within_its_range(value, is_read):
    read = readers.number(1, 30)
    if is_read:
        assert read(value) == value
    else:
        assert "from 1 to 30" in message_of(read, value)


@pytest.mark.parametrize("value", ["5", True, None, [5], float("nan"), float("-inf"), 5j])
def test_what_only_looks_like_a_number_is_refused(value):
    assert "of at least 1" in message_of(readers.number(1), value)


@pytest.mark.parametrize("value", [1.5, 30.0, float("inf"), True])
def test_integer_has_no_fraction_and_no_point(value):
    assert message_of(readers.integer(1), value) == "must be an integer of at least 1."


def test_choice_is_exactly_one_of_its_words():
    read = readers.choice("required", "if_present")
    assert read("if_present") == "if_present"
    for value in ("REQUIRED", "", None, ["required"], "required "):
        assert hint_of(read, value) == "Use one of: required, if_present."


@pytest.mark.parametrize("path", ["users.resolve", "a.b.c_1.D"])
def test_dotted_path_is_taken_as_it_is(path):
    assert readers.read_dotted_path(path) == path
    assert readers.read_dotted_paths([path]) == (path,)


def test_dotted_paths_may_be_none_at_all():
    assert readers.read_dotted_paths([]) == ()


@pytest.mark.parametrize(
    "path", ["resolve", "a..b", ".a.b", "a.b.", "a-b.c", "a.b()", "a:b", "1.a"]
)
def test_other_string_is_not_a_dotted_path(path):
    assert "package.module.name" in hint_of(readers.read_dotted_path, path)


@pytest.mark.parametrize("value", ["sinks.Statsd", None, {"sinks.Statsd": 1}, [["sinks.Statsd"]]])
def test_dotted_paths_are_a_list(value):
    assert hint_of(readers.read_dotted_paths, value)


def test_names_are_read_only():
    names = readers.read_names({"email": "mail"})
    assert names == {"email": "mail"}
    with pytest.raises(TypeError):
        names["is_staff"] = "staff"


@pytest.mark.parametrize(
    "value",
    [["email"], "email", None, {"email": 1}, {1: "mail"}, {"email": ""}, {" email": "mail"}],
)
def test_names_are_strings_to_strings(value):
    assert hint_of(readers.read_names, value)


@pytest.mark.parametrize("realm", ["api", "My API, v2"])
def test_realm_is_taken_as_it_is(realm):
    assert readers.read_realm(realm) == realm


@pytest.mark.parametrize("realm", ['a"b', "a\\b", "a\r\nSet-Cookie: b", "a\x7fb", "Ärger", ""])
def test_realm_that_would_break_the_header_is_refused(realm):
    assert hint_of(readers.read_realm, realm)
