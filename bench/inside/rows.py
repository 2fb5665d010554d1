"""A row for the user of every token, in a database of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import call_command


def make_rows(tokens: Iterable[str]) -> None:
    """Make the tables and the rows: a new token is rarely a user's first."""
    call_command("migrate", verbosity=0)
    model = get_user_model()
    # As database_user makes them: it admits nobody to a row that has a password.
    password = make_password(None)
    users = [model(username=_read_user_id(token), password=password) for token in tokens]
    model.objects.bulk_create(users, batch_size=1000)


def _read_user_id(token: str) -> str:
    payload = token.split(".")[1]
    user_id: str = json.loads(base64.urlsafe_b64decode(payload + "==="))["sub"]
    return user_id
