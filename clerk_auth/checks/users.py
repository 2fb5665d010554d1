"""System checks: does ``USER_RESOLVER`` fit the rows that the project has?

They read settings and models only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured

from clerk_auth.checks.registration import check, read_config, read_user_model
from clerk_auth.users import (
    NUMBERED_BY_THE_DATABASE,
    UserResolver,
    database_user,
    get_user_resolver,
    is_numbered_by_the_database,
    stateless_user,
)

_SHOWN = 3
# Where pip and Debian install packages.
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@check()
def check_foreign_keys(**_: Any) -> Iterator[CheckMessage]:
    """W016: foreign keys that need a row, and users without one."""
    if _resolver() is not stateless_user or not (names := list(_find_foreign_keys())):
        return
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    yield Warning(
        "CLERK_AUTH['USER_RESOLVER'] is stateless_user, whose users have no database row, but "
        f"{', '.join(names[:_SHOWN])}{more} can only refer to one: to store request.user there "
        "is an error.",
        hint='Set it to "clerk_auth.users.database_user", which creates rows, or to '
        '"clerk_auth.users.existing_user", or store request.user.pk in a text field. Silence this '
        "where only people with a session are stored there.",
        id="clerk_auth.W016",
    )


@check()
def check_numbered_rows(**_: Any) -> Iterator[CheckMessage]:
    """E014: ``database_user`` would choose numbers that the database chooses."""
    # Other checks say what is wrong with the field's name, or with the model's.
    with suppress(FieldDoesNotExist, ImproperlyConfigured):
        if _resolver() is not database_user or not is_numbered_by_the_database():
            return
        yield Error(
            NUMBERED_BY_THE_DATABASE,
            hint='Set USER_RESOLVER to "clerk_auth.users.existing_user".',
            id="clerk_auth.E014",
        )


def _resolver() -> UserResolver | None:
    """Return the resolver in force; ``None`` where another check says what is wrong."""
    try:
        return get_user_resolver() if read_config() else None
    except (ImproperlyConfigured, ImportError):
        return None


def _find_foreign_keys() -> Iterator[str]:
    """Yield the names of the project's own fields that refer to the user model.

    Relations among users are left out: where there are no rows, there are none.
    """
    if (user_model := read_user_model()) is None:
        return
    for app in filter(_is_of_the_project, apps.get_app_configs()):
        for model in app.get_models():
            if issubclass(model, user_model):
                continue
            for field in (*model._meta.local_fields, *model._meta.local_many_to_many):
                related = field.related_model
                if isinstance(related, type) and issubclass(related, user_model):
                    yield f"{model._meta.label}.{field.name}"


def _is_of_the_project(app: AppConfig) -> bool:
    """Tell whether an app is neither Django's nor of an installed package."""
    return not app.name.startswith("django.") and _INSTALLED.isdisjoint(Path(app.path).parts)
