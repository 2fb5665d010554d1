"""A system check: columns that want a row of the user model, while ``request.user`` is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from clerk_auth.conf import get_config

STATELESS = "clerk_auth.users.stateless_user"

# Their columns are filled for the admin and for tokens of their own, never from a Clerk caller.
_NOT_OURS = ("django.", "rest_framework.")
_SHOWN = 3


@register(Tags.security)
def check_relations(**_: Any) -> Iterator[Warning]:
    """W029: what a view stores or looks up by ``request.user`` needs a row."""
    try:
        if get_config().user_resolver != STATELESS:
            return
    except ImproperlyConfigured:  # has a check of its own
        return
    columns = find_relations(apps.get_models(), settings.AUTH_USER_MODEL)
    if columns:
        more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
        yield Warning(
            f"Columns refer to {settings.AUTH_USER_MODEL} ({', '.join(columns[:_SHOWN])}{more}), "
            "and the default USER_RESOLVER makes no rows of it: request.user can be neither "
            "stored nor looked up there.",
            hint="Name database_user or existing_user in CLERK_AUTH['USER_RESOLVER'], as in "
            "docs/users.md; silence this where no Clerk user meets these columns.",
            id="clerk_auth.W029",
        )


def find_relations(models: Iterable[type[Model]], user_model: object) -> list[str]:
    """Return the names of the columns that refer to the user model, as in ``notes.Note.owner``."""
    return sorted(
        f"{model._meta.label}.{field.name}"
        for model in models
        if not model.__module__.startswith(_NOT_OURS)
        and model._meta.label_lower != str(user_model).lower()
        for field in (*model._meta.local_fields, *model._meta.local_many_to_many)
        if _label(field.related_model) == str(user_model).lower()
        and not getattr(field.remote_field, "parent_link", False)
    )


def _label(model: object) -> str | None:
    # None for a column that refers to nothing, and for a name that Django could not resolve.
    return getattr(getattr(model, "_meta", None), "label_lower", None)
