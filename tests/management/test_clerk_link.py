"""``manage.py clerk_link``: a file of rows and Clerk ids, as an operator may write it."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from clerk_auth.users import linking
from tests.accounts.models import Imported, Member
from tests.commands import Outcome, run_command

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def use(settings):
    def configure(model: str = "accounts.Member", **clerk_auth: object) -> None:
        settings.AUTH_USER_MODEL = model
        settings.CLERK_AUTH = {
            "FRONTEND_API": "clerk.example.com",
            "USER_ID_FIELD": "clerk_id",
            **clerk_auth,
        }

    configure()
    return configure


@pytest.fixture
def members(use) -> list[Member]:
    """Five rows; the keys do not start at 1."""
    return [Member.objects.create(pk=10 + n, username=f"member-{n}") for n in range(5)]


@pytest.fixture
def clerk_link(tmp_path) -> Callable[..., Outcome]:
    """Run the command on a file of these bytes."""

    def run(content: str | bytes, *options: str) -> Outcome:
        path = tmp_path / "ids.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return run_command("clerk_link", str(path), *options)

    return run


def linked() -> dict[int, str]:
    rows = Member.objects.exclude(clerk_id=None).exclude(clerk_id="")
    return dict(rows.values_list("pk", "clerk_id"))


# What is linked


@pytest.mark.parametrize(
    "content",
    [
        "10,user_a\n11,user_b\n",
        "10,user_a\r\n11,user_b",
        "10,user_a\r11,user_b\r",
        "\ufeff10,user_a\n11,user_b\n",
        "\ufeffpk,clerk_id\n10,user_a\n11,user_b\n",
        *(f"{header}\n10,user_a\n11,user_b\n" for header in ("id,Clerk_ID", "key, user_id", ",id")),
        '"10","user_a"\n "11" , user_b \n'.replace(' "11" ', "11"),
        "\n10,user_a\n\n,\n  \n11,user_b\n\n",
        "10,user_a\n11,user_b\n10,user_a\n",
        "010, user_a\n11,user_b\n10,user_a\n",
    ],
)
def test_rows_get_their_ids_in_whatever_form_the_file_is(content, members, clerk_link):
    done = clerk_link(content)
    assert (done.status, done.err) == (0, "")
    assert done.out == "2 linked, 0 linked before, 0 refused.\n"
    assert linked() == {10: "user_a", 11: "user_b"}


def test_second_run_changes_nothing(members, clerk_link):
    clerk_link("10,user_a\n11,user_b\n")
    done = clerk_link("10,user_a\n11,user_b\n12,user_c\n")
    assert (done.status, done.out) == (0, "1 linked, 2 linked before, 0 refused.\n")


def test_rows_that_hold_an_empty_text_are_linked(members, clerk_link):
    Member.objects.filter(pk=10).update(clerk_id="")
    assert clerk_link("10,user_a").status == 0
    assert linked() == {10: "user_a"}


def test_dry_run_says_the_same_and_writes_nothing(members, clerk_link):
    Member.objects.filter(pk=10).update(clerk_id="user_a")
    content = "10,user_a\n11,user_b\n12,user_c\n99,user_d\n"
    with CaptureQueriesContext(connection) as queries:
        dry = clerk_link(content, "--dry-run")
    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert dry.status == 1
    assert dry.out == (
        "line 4: there is no such row\n"
        "2 would be linked, 1 linked before, 1 refused.\n"
        "Nothing was written: this is a dry run.\n"
    )
    assert linked() == {10: "user_a"}
    assert clerk_link(content).out.splitlines()[1] == "2 linked, 1 linked before, 1 refused."


def test_what_link_refuses_is_named_by_line_and_the_others_are_linked(members, clerk_link):
    Member.objects.filter(pk=10).update(clerk_id="user_other")
    Member.objects.filter(pk=11).update(clerk_id="user_taken")
    done = clerk_link("pk,clerk_id\n10,user_a\n12,user_taken\n99,user_c\n13,user_d\n")
    assert (done.status, done.err) == (1, "")
    assert done.out.splitlines() == [
        "line 2: the row has another Clerk id",
        "line 3: another row has this Clerk id",
        "line 4: there is no such row",
        "1 linked, 0 linked before, 3 refused.",
    ]
    assert linked() == {10: "user_other", 11: "user_taken", 13: "user_d"}


def test_inactive_row_is_linked_and_stays_inactive(members, clerk_link):
    Member.objects.filter(pk=10).update(is_active=False)
    assert clerk_link("10,user_a").status == 0
    assert not Member.objects.get(pk=10).is_active


# A file that is refused as a whole


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("12", "expected 2 columns, separated by commas, and found 1"),
        ("12,user_c,", "expected 2 columns, separated by commas, and found 3"),
        ("12;user_c", "expected 2 columns, separated by commas, and found 1"),
        ("12\tuser_c", "expected 2 columns, separated by commas, and found 1"),
        ("user_c,12", "not a valid accounts.Member.id"),
        (",user_c", "not a valid accounts.Member.id"),
        ("twelve,user_c", "not a valid accounts.Member.id"),
        ("1e1,user_c", "not a valid accounts.Member.id"),
        ("9" * 30 + ",user_c", "not a valid accounts.Member.id"),
        ("9" * 9999 + ",user_c", "not a valid accounts.Member.id"),
        ("1\x002,user_c", "not a valid accounts.Member.id"),
        ("12,", "not a valid Clerk user id"),
        ("12,usr_c", "not a valid Clerk user id"),
        ("12,org_c", "not a valid Clerk user id"),
        ("12,alice@example.com", "not a valid Clerk user id"),
        ("12,user_c d", "not a valid Clerk user id"),
        ("12,user_\x1b[31m", "not a valid Clerk user id"),
        ("12,user_\u202ec", "not a valid Clerk user id"),
        ("12,user_" + "c" * 251, "not a valid Clerk user id"),
        ('12,"user_c', "not valid CSV"),
        ('12,"user_c"d', "not valid CSV"),
        ('12,"user_\nc"', "not a valid Clerk user id"),
        ("12," + "c" * 200_000, "not valid CSV"),
        ("10,user_c", "line 1 has another id for this row"),
        ("12,user_a", "line 1 has this id for another row"),
    ],
)
def test_malformed_line_is_named_and_nothing_is_written(line, reason, use, clerk_link):
    for key in (10, 11, 12):
        Member.objects.get_or_create(pk=key, username=f"member-{key}")
    done = clerk_link(f"10,user_a\n11,user_b\n{line}\n")
    assert done.status == 2, done.out
    assert "line 3: " in done.err
    assert reason in done.err
    assert "refused as a whole" in done.err
    assert "\x1b" not in done.err
    assert "alice@example.com" not in done.err
    assert linked() == {}


def test_file_of_another_kind_is_not_listed_at_length(members, clerk_link):
    done = clerk_link("nothing here\n" * 1000)
    assert done.status == 2
    assert "and 980 more" in done.err
    assert len(done.err.splitlines()) < 25


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
def test_file_in_another_encoding_is_refused(encoding, members, clerk_link):
    done = clerk_link("10,user_a\n11,user_é\n".encode(encoding))
    assert (done.status, linked()) == (2, {})
    assert "line 1: " in done.err


@pytest.mark.parametrize("content", ["", "\n\n", "pk,clerk_id\n", "\ufeff"])
def test_file_without_lines_is_no_success(content, members, clerk_link):
    assert clerk_link(content).status == 2


def test_file_that_cannot_be_read(members, tmp_path):
    for path in (tmp_path, tmp_path / "no-such-file"):
        done = run_command("clerk_link", str(path))
        assert done.status == 2
        assert "cannot be read" in done.err


def test_more_lines_than_are_held_in_memory_are_refused(members, clerk_link, monkeypatch):
    monkeypatch.setattr(linking, "MAX_LINES", 2)
    assert clerk_link("10,user_a\n11,user_b\n").status == 0
    done = clerk_link("10,user_a\n11,user_b\n12,user_c\n")
    assert (done.status, linked()) == (2, {10: "user_a", 11: "user_b"})
    assert "split the file" in done.err


# Standard input


def test_standard_input_is_read(members):
    done = run_command("clerk_link", "-", given="\ufeffpk,clerk_id\n10,user_a\n")
    assert (done.status, linked()) == (0, {10: "user_a"})


def test_closed_standard_input(members):
    assert run_command("clerk_link", "-", given=None).status == 2


# Settings


@pytest.mark.parametrize(
    "clerk_auth",
    [
        {"USER_ID_CLAIM": "external_id"},
        {"USER_ID_FIELD": "username"},
        {"USER_ID_FIELD": "id"},
        {"USER_ID_FIELD": "name"},
        {"USER_ID_FIELD": "no_such"},
        {"USER_ID_FIELD": None},
        {"TYPO": 1},
    ],
)
def test_settings_that_link_refuses(clerk_auth, use, clerk_link):
    Member.objects.get_or_create(pk=10, username="member")
    use(**clerk_auth)
    assert clerk_link("10,user_a").status == 2
    assert Member.objects.get(pk=10).username == "member"


def test_id_that_does_not_fit_its_column_is_refused(use, clerk_link):
    use("accounts.Imported", USER_ID_FIELD="legacy_id")
    row = Imported.objects.create(email="alice@example.com")
    assert clerk_link(f"{row.pk},user_{'c' * 8}").status == 2
    assert clerk_link(f"{str(row.pk).upper()},user_{'c' * 7}").status == 0
    assert Imported.objects.get().legacy_id == "user_ccccccc"


# Another instance


@pytest.fixture
def staff(use) -> Callable[..., None]:
    """An instance beside the top level, which shares its column."""

    def configure(model: str = "accounts.Member", **clerk_auth: object) -> None:
        values = {"FRONTEND_API": "clerk.staff.example.com", "USER_ID_FIELD": "clerk_id"}
        use(model, INSTANCES={"staff": {**values, **clerk_auth}})

    configure()
    return configure


@pytest.mark.usefixtures("members", "staff")
def test_ids_of_an_instance_are_linked_with_its_alias(clerk_link):
    content = "10,user_a\n11,user_b\n"
    assert "2 would be linked" in clerk_link(content, "--instance", "staff", "--dry-run").out
    assert linked() == {}
    for out in ("2 linked, 0 linked before", "0 linked, 2 linked before"):
        done = clerk_link(content, "--instance", "staff")
        assert (done.status, done.out) == (0, f"{out}, 0 refused.\n")
    assert linked() == {10: "staff:user_a", 11: "staff:user_b"}


@pytest.mark.usefixtures("members", "staff")
def test_same_id_of_two_instances_is_linked_to_two_rows(clerk_link):
    assert clerk_link("10,user_a").status == 0
    done = clerk_link("10,user_a\n11,user_a\n", "--instance", "staff")
    assert done.status == 2  # one id with two rows
    done = clerk_link("10,user_b\n11,user_a\n", "--instance", "staff")
    assert done.out.splitlines() == [
        "line 1: the row has another Clerk id",
        "1 linked, 0 linked before, 1 refused.",
    ]
    assert linked() == {10: "user_a", 11: "staff:user_a"}


@pytest.mark.usefixtures("members", "staff")
@pytest.mark.parametrize("instance", ["default", "staff"])
@pytest.mark.parametrize("text", ["staff:user_a", "user_a:b", "user_:", "default:user_a"])
def test_id_in_a_file_has_no_colon(text, instance, clerk_link):
    done = clerk_link(f"10,{text}", "--instance", instance)
    assert (done.status, linked()) == (2, {})
    assert "not a valid Clerk user id" in done.err


def test_with_one_instance_an_id_may_have_one(members, clerk_link):
    assert clerk_link("10,user_a:b").status == 0


@pytest.mark.usefixtures("members", "staff")
def test_unknown_instance_is_refused_with_the_aliases(clerk_link):
    done = clerk_link("10,user_a", "--instance", "stuff")
    assert (done.status, done.out, linked()) == (2, "", {})
    assert done.err.splitlines() == [
        "No row was linked.",
        "CLERK_AUTH has no instance 'stuff'. It has: default, staff.",
    ]


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    ("clerk_auth", "key"),
    [
        ({"USER_ID_CLAIM": "badge"}, "USER_ID_CLAIM"),
        ({"USER_ID_FIELD": "username"}, "USER_ID_FIELD"),
    ],
)
def test_setting_of_an_instance_is_named_with_its_path(clerk_auth, key, staff, clerk_link):
    staff(**clerk_auth)
    done = clerk_link("10,user_a", "--instance", "staff")
    assert done.status == 2
    assert f"CLERK_AUTH['INSTANCES.staff.{key}']" in done.err
    assert clerk_link("10,user_a").status == 0


def test_column_without_room_for_the_alias_is_refused(staff, clerk_link):
    staff("accounts.Imported", USER_ID_FIELD="legacy_id")
    row = Imported.objects.create(email="alice@example.com")
    done = clerk_link(f"{row.pk},user_ab", "--instance", "staff")
    assert (done.status, Imported.objects.get().legacy_id) == (2, None)
    assert "does not fit accounts.Imported.legacy_id" in done.err
    assert clerk_link(f"{row.pk},user_a", "--instance", "staff").status == 0
    assert Imported.objects.get().legacy_id == "staff:user_a"


# Size, other writers, and what breaks off


@contextmanager
def before(statement: str, act: Callable[[int], None]):
    """Call ``act`` with a number right before each ``statement``."""
    count = 0

    def wrapper(execute, sql, params, many, context):
        nonlocal count
        if sql.startswith(statement):
            count += 1
            act(count)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield


@pytest.fixture
def many(use) -> str:
    """More rows than one statement takes; returns the file."""
    rows = [Member(pk=n, username=f"member-{n}") for n in range(1, 2501)]
    Member.objects.bulk_create(rows, batch_size=100)
    return "".join(f"{row.pk},user_{row.pk}\n" for row in rows)


def test_many_rows_cost_few_queries(many, clerk_link):
    with CaptureQueriesContext(connection) as queries:
        done = clerk_link(many)
    assert done.out == "2,500 linked, 0 linked before, 0 refused.\n"
    assert len(linked()) == 2500
    assert Member.objects.get(pk=2500).clerk_id == "user_2500"
    # Two SELECTs, an UPDATE and a savepoint for a batch; SQLite takes 999 parameters.
    assert len(queries) <= 11 * 5


def test_lines_take_little_memory(use):
    def lines():
        for n in range(20_000):
            yield f"{n},user_2abcdefghijklmnopqrstuvwxyz{n}\n"

    tracemalloc.start()
    try:
        read, problems = linking.read_lines(lines(), "default")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(read), problems) == (20_000, [])
    assert peak / 20_000 < 1000


def test_row_that_another_writer_links_meanwhile_is_theirs(members, clerk_link):
    def act(number):
        if number == 1:
            Member.objects.filter(pk=10).update(clerk_id="user_theirs")
            Member.objects.filter(pk=11).update(clerk_id="user_b")

    # Before the transaction of the batch.
    with before("SAVEPOINT", act):
        done = clerk_link("10,user_a\n11,user_b\n12,user_c\n")
    assert done.out.splitlines() == [
        "line 1: the row has another Clerk id",
        "1 linked, 1 linked before, 1 refused.",
    ]
    assert linked() == {10: "user_theirs", 11: "user_b", 12: "user_c"}


def test_id_that_another_writer_takes_meanwhile_is_theirs(members, clerk_link):
    def act(number):
        if number == 1:
            Member.objects.filter(pk=14).update(clerk_id="user_a")
            Member.objects.filter(pk=13).delete()

    with before("SAVEPOINT", act):
        done = clerk_link("10,user_a\n12,user_c\n13,user_d\n")
    assert done.status == 1
    assert done.out.splitlines() == [
        "line 1: another row has this Clerk id",
        "line 3: there is no such row",
        "1 linked, 0 linked before, 2 refused.",
    ]
    assert linked() == {12: "user_c", 14: "user_a"}


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (OperationalError, 2)])
def test_what_was_linked_before_it_broke_off_stays_linked(error, status, many, clerk_link):
    def act(number):
        if number == 3:
            raise error

    with before("UPDATE", act):
        done = clerk_link(many)
    assert done.status == status
    assert "Run it again" in done.err
    assert 0 < len(linked()) < 2500
    assert done.out == f"{len(linked()):,} linked, 0 linked before, 0 refused.\n"
    written = len(linked())
    again = clerk_link(many)
    assert again.status == 0
    assert again.out == f"{2500 - written:,} linked, {written:,} linked before, 0 refused.\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_alone(many, tmp_path: Path):
    path = tmp_path / "ids.csv"
    path.write_text(many)
    shown, hidden = Terminal(), io.StringIO()
    call_command("clerk_link", str(path), "--dry-run", stdout=io.StringIO(), stderr=shown)
    call_command("clerk_link", str(path), "--dry-run", stdout=io.StringIO(), stderr=hidden)
    assert "\r2,500 of 2,500" in shown.getvalue()
    assert shown.getvalue().count("\r") > 2
    assert hidden.getvalue() == ""
