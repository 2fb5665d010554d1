"""Whether a resolver fits the rows that a project has."""

from __future__ import annotations

import pytest
from django.core.checks import Tags, run_checks

from clerk_auth.checks.users import check_foreign_keys, check_numbered_rows, check_users
from tests.conftest import PARTY

pytestmark = pytest.mark.integration

SETTINGS = {"FRONTEND_API": "clerk.example.com", "AUTHORIZED_PARTIES": [PARTY]}


def own_resolver(claims):
    """A project's own."""


def found(*ids: str):
    messages = run_checks(tags=[Tags.security])
    return [message for message in messages if message.id in {f"clerk_auth.{i}" for i in ids}]


@pytest.fixture
def use(settings):
    def configure(resolver: str, *apps: str, **clerk_auth: object) -> None:
        path = f"clerk_auth.users.{resolver}" if "." not in resolver else resolver
        settings.CLERK_AUTH = {**SETTINGS, "USER_RESOLVER": path, **clerk_auth}
        if apps:
            settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *apps]

    return configure


def test_foreign_keys_of_the_project_need_rows(use, settings):
    use("stateless_user", "tests.notes")
    (warning,) = found("W016")
    assert warning.msg.count("notes.") == 3
    for name in ("notes.Note.owner", "notes.Note.shared_with", "notes.Profile.user"):
        assert name in warning.msg
    for resolver in ("database_user", "existing_user"):
        assert resolver in warning.hint
    settings.CLERK_AUTH = SETTINGS
    assert found("W016") == [warning]


def test_many_foreign_keys_are_not_listed_at_length(use, settings, monkeypatch):
    monkeypatch.setattr("clerk_auth.checks.users._SHOWN", 2)
    use("stateless_user", "tests.notes")
    (warning,) = found("W016")
    assert "notes.Note.owner, notes.Note.shared_with and 1 more can" in warning.msg


@pytest.mark.parametrize("resolver", ["database_user", "existing_user", f"{__name__}.own_resolver"])
def test_resolvers_that_may_give_rows_are_fine(resolver, use):
    use(resolver, "tests.notes")
    assert not found("W016")


PACKAGE = """
from django.conf import settings
from django.db import models

class Entry(models.Model):
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
"""


@pytest.mark.parametrize(("place", "ids"), [("site-packages", []), ("src", ["clerk_auth.W016"])])
def test_models_of_installed_packages_are_not_the_projects(
    place, ids, use, settings, tmp_path, monkeypatch
):
    """Nor are Django's own: the admin's log is installed here."""
    assert "django.contrib.admin" in settings.INSTALLED_APPS
    name = f"package_in_{place.partition('-')[0]}"
    directory = tmp_path / place / name
    directory.mkdir(parents=True)
    (directory / "__init__.py").touch()
    (directory / "models.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(directory.parent)
    use("stateless_user", name)
    assert [message.id for message in found("W016")] == ids


def test_relations_among_users_are_no_sign_of_rows(use, settings):
    settings.AUTH_USER_MODEL = "accounts.Member"
    use("stateless_user")
    assert not found("W016")


def test_foreign_keys_to_another_model_of_users_are_none(use, settings):
    settings.AUTH_USER_MODEL = "accounts.Member"
    use("stateless_user", "tests.notes")
    assert not found("W016")


@pytest.mark.parametrize(
    ("resolver", "field", "ids"),
    [
        ("database_user", "id", ["clerk_auth.E014"]),
        ("database_user", "username", []),
        ("existing_user", "id", []),
        ("stateless_user", "id", []),
    ],
)
def test_rows_are_not_made_under_numbers_of_the_database(resolver, field, ids, use):
    use(resolver, USER_ID_FIELD=field, USER_ID_CLAIM="external_id")
    assert [message.id for message in found("E014")] == ids


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLERK_AUTH", None),
        ("CLERK_AUTH", {**SETTINGS, "TYPO": 1}),
        ("CLERK_AUTH", {**SETTINGS, "USER_RESOLVER": "no.such.resolver"}),
        ("CLERK_AUTH", {**SETTINGS, "USER_RESOLVER": "clerk_auth.users.no_such_resolver"}),
        ("AUTH_USER_MODEL", "nonsense"),
        ("AUTH_USER_MODEL", "no.Such"),
    ],
)
@pytest.mark.parametrize("resolver", ["stateless_user", "database_user"])
def test_what_other_checks_report_raises_nothing_here(resolver, name, value, use, settings):
    use(resolver, USER_ID_FIELD="nonsense")
    setattr(settings, name, value)
    assert not [*check_foreign_keys(), *check_numbered_rows()]
    settings.AUTH_USER_MODEL = "auth.User"


STAFF = {"FRONTEND_API": "clerk.staff.example.com", "AUTHORIZED_PARTIES": [PARTY]}


@pytest.mark.parametrize(
    ("default", "staff", "settings_named"),
    [
        ("stateless_user", "stateless_user", ["USER_RESOLVER"]),
        ("database_user", "stateless_user", ["INSTANCES.staff.USER_RESOLVER"]),
        ("stateless_user", "database_user", ["USER_RESOLVER"]),
        ("database_user", "existing_user", []),
    ],
)
def test_foreign_keys_are_looked_for_once_for_all_instances(default, staff, settings_named, use):
    staff = {**STAFF, "USER_RESOLVER": f"clerk_auth.users.{staff}"}
    use(default, "tests.notes", INSTANCES={"staff": staff})
    assert [message.msg.split("'")[1] for message in found("W016")] == settings_named


def test_user_model_that_is_not_there_is_said_of_the_instance_that_wants_it(use, settings):
    staff = {**STAFF, "USER_RESOLVER": "clerk_auth.users.existing_user"}
    use("stateless_user", INSTANCES={"staff": staff})
    settings.AUTH_USER_MODEL = "no.Such"
    messages = check_users()
    settings.AUTH_USER_MODEL = "auth.User"
    assert [(m.id, m.msg.split("'")[1]) for m in messages] == [
        ("clerk_auth.E015", "INSTANCES.staff.USER_RESOLVER")
    ]
