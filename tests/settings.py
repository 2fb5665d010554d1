"""The demo's settings, with what tests of users need: models of other projects, and the admin.

The database is SQLite in memory, or the PostgreSQL that ``python -m tests.postgres`` starts.
"""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.sessions",
    "tests.accounts",
]

# What `tests.postgres` and the processes of a test have otherwise.
globals().update(json.loads(os.environ.get("TESTS_SETTINGS", "{}")))
