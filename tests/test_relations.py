"""Columns that want a row of the user model, where the default resolver makes none."""

from __future__ import annotations

from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.core.checks import Tags, run_checks
from django.db import models
from django.test.utils import isolate_apps

from clerk_auth.relations import check_relations, find_relations
from tests.accounts.models import KeyedMember, Letter, Member
from tests.conftest import PARTY
from tests.rows import each_row

MODEL = "accounts.KeyedMember"


@each_row(
    ("changes", "user_model", "found"),
    [
        ({}, MODEL, ["W029"]),
        ({"USER_RESOLVER": "clerk_auth.users.stateless_user"}, MODEL, ["W029"]),
        ({"USER_RESOLVER": "clerk_auth.users.database_user"}, MODEL, []),
        ({"USER_RESOLVER": "clerk_auth.users.existing_user"}, MODEL, []),
        ({"USER_RESOLVER": "project.users.mine"}, MODEL, []),
        ({}, "auth.User", []),
        ({"FRONTEND_API": "https://no.example"}, MODEL, []),
        *(({}, odd, []) for odd in ("", "accounts", "nowhere.User")),
    ],
)
def test_columns_that_need_rows_are_reported(settings, changes, user_model, found):
    settings.AUTH_USER_MODEL = user_model
    given = {"FRONTEND_API": "clerk.example.com", "AUTHORIZED_PARTIES": [PARTY]}
    settings.CLERK_AUTH = given | changes
    assert [message.id.removeprefix("clerk_auth.") for message in check_relations()] == found


def test_message_names_the_columns(settings):
    settings.AUTH_USER_MODEL = MODEL
    settings.CLERK_AUTH = {"FRONTEND_API": "clerk.example.com"}
    (message,) = (m for m in run_checks(tags=[Tags.security]) if m.id == "clerk_auth.W029")
    assert "(accounts.Letter.writer)" in message.msg


@isolate_apps("tests.accounts")
def test_every_kind_of_column_counts_and_those_of_others_do_not():
    class Diary(models.Model):
        owner = models.OneToOneField(KeyedMember, models.CASCADE)
        readers = models.ManyToManyField(KeyedMember, related_name="+")
        author = models.ForeignKey(Member, models.CASCADE)
        unknown = models.ForeignKey("nowhere.User", models.CASCADE, related_name="+")

        class Meta:
            app_label = "accounts"

        def __str__(self):
            return "a diary"

    class Staff(KeyedMember):
        class Meta:
            app_label = "accounts"

    models_ = [Diary, Staff, KeyedMember, Letter, LogEntry]
    assert find_relations(models_, "accounts.keyedmember") == [
        "accounts.Diary.owner",
        "accounts.Diary.readers",
        "accounts.Letter.writer",
    ]
    assert find_relations([Member, LogEntry], "accounts.Member") == []
    assert find_relations([LogEntry], django_settings.AUTH_USER_MODEL) == []
