"""The environment that configures the API, and what it must not inherit."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from clerk_auth.issuer.standin import StandInClerk

AUTHORIZED_PARTY = "https://app.example.com"
_FOREIGN = re.compile(
    r"CLERK_|DJANGO_|JWT_|GUNICORN_|AUTH_DEV_MODE$|REDIS_URL$|\w+_PROXY$"
    r"|METRICS_TOKEN$|PROMETHEUS_",
    re.IGNORECASE,
)


def make_environment(
    clerk: StandInClerk, *, redis_url: str | None, directory: Path
) -> dict[str, str]:
    """Return the environment of an API that trusts ``clerk``, as in production but for HTTPS."""
    ours = {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(48),
        "DJANGO_DB_PATH": str(directory / "db.sqlite3"),
        "DJANGO_HTTPS": "0",
        "CLERK_ISSUER": clerk.issuer,
        "CLERK_JWKS_URL": clerk.jwks_url,
        "CLERK_AUTHORIZED_PARTIES": AUTHORIZED_PARTY,
        # gunicorn puts its control socket there, one for all servers of a user.
        "XDG_RUNTIME_DIR": str(directory),
    }
    if redis_url:
        ours["REDIS_URL"] = redis_url
    return inherit_environment() | ours


def inherit_environment() -> dict[str, str]:
    """Return our environment without what configures a server, or a proxy between us and it."""
    return {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
