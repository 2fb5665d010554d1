"""System checks of users: does ``USER_RESOLVER`` fit the user model, and the project's rows?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured

from clerk_auth.checks.registration import check, read_config, read_user_model
from clerk_auth.conf import get_aliases, get_config, get_path
from clerk_auth.users import (
    NUMBERED_BY_THE_DATABASE,
    UserResolver,
    columns,
    database_user,
    existing_user,
    get_user_resolver,
    is_numbered_by_the_database,
    stateless_user,
)
from clerk_auth.users.profile import find_problems as find_profile_problems

__all__ = ["check_foreign_keys", "check_numbered_rows", "check_user_fields", "check_users"]

_SHOWN = 3
# Where pip and Debian install packages.
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@check()
def check_users() -> list[CheckMessage]:
    """E006, E007, E012, E013, E015, W009, W014, W015: users are found by Clerk's id, in one row."""
    return _ask_of_each(_find_misfits)


@check()
def check_user_fields() -> list[CheckMessage]:
    """E010, E011: profile fields are plain columns, and grant nothing."""
    # Whichever resolver: one of the project's own may call ``database_user``.
    return [] if read_user_model() is None else _ask_of_each(find_profile_problems)


@check()
def check_foreign_keys() -> list[CheckMessage]:
    """W016: foreign keys that need a row, and users without one."""
    return _ask_of_each(_find_rows_that_are_needed)


@check()
def check_numbered_rows() -> list[CheckMessage]:
    """E014: ``database_user`` would choose numbers that the database chooses."""
    return _ask_of_each(_find_numbered_rows)


def _ask_of_each(find: Callable[[str], Iterable[CheckMessage]]) -> list[CheckMessage]:
    """Return what ``find`` says of each instance, without what it said of an earlier one."""
    if read_config() is None:
        return []
    said: dict[tuple[str | None, str], CheckMessage] = {}
    for alias in get_aliases():
        for message in find(alias):
            # Two instances with the same value have the same remedy.
            said.setdefault((message.id, message.msg.replace(get_path(alias), "")), message)
    return list(said.values())


def _find_misfits(alias: str) -> Iterator[CheckMessage]:
    config, model = get_config(alias), read_user_model()
    try:
        resolver = get_user_resolver(alias)
    except ImproperlyConfigured as error:
        yield Error(str(error), hint="Name a function (Claims) -> user.", id="clerk_auth.E006")
        return
    except Exception:  # it cannot be imported, as check_paths says
        return
    finds_rows = resolver in (database_user, existing_user)
    if model is None:
        if finds_rows:
            yield Error(
                f"CLERK_AUTH['{config.path}USER_RESOLVER'] finds rows of AUTH_USER_MODEL, which is "
                "not a model of an installed app.",
                hint="Install its app, or use clerk_auth.users.stateless_user.",
                id="clerk_auth.E015",
            )
        return
    if (name := model.USERNAME_FIELD) in config.user_fields:
        yield Warning(
            f"CLERK_AUTH['{config.path}USER_FIELDS'] writes {name}, by which a password login or "
            "another single sign-on finds users: a claim could turn one user into another.",
            hint="Map a field that is not used to sign in, or silence this where only "
            "ClerkAuthentication looks for users.",
            id="clerk_auth.W014",
        )
    if finds_rows:
        creates = resolver is database_user
        yield from columns.find_problems(alias, creates=creates)
        yield from columns.find_doubts(alias, creates=creates)


def _find_rows_that_are_needed(alias: str) -> Iterator[CheckMessage]:
    if _resolver(alias) is not stateless_user or not (names := list(_find_foreign_keys())):
        return
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    yield Warning(
        f"CLERK_AUTH['{get_path(alias)}USER_RESOLVER'] is stateless_user, whose users have no "
        f"database row, but {', '.join(names[:_SHOWN])}{more} can only refer to a row: storing "
        "request.user there fails.",
        hint='Set it to "clerk_auth.users.database_user", which creates rows, or to '
        '"clerk_auth.users.existing_user", or store request.user.pk in a CharField. Silence this '
        "where only users with a session are stored there.",
        id="clerk_auth.W016",
    )


def _find_numbered_rows(alias: str) -> Iterator[CheckMessage]:
    # Other checks say what is wrong with the field's name, or with the model's.
    with suppress(FieldDoesNotExist, ImproperlyConfigured):
        if _resolver(alias) is not database_user or not is_numbered_by_the_database(alias):
            return
        yield Error(
            NUMBERED_BY_THE_DATABASE,
            hint='Set USER_RESOLVER to "clerk_auth.users.existing_user".',
            id="clerk_auth.E014",
        )


def _resolver(alias: str) -> UserResolver | None:
    """Return the resolver in force; ``None`` where another check says what is wrong."""
    try:
        return get_user_resolver(alias)
    except Exception:  # its module may raise what it likes
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
