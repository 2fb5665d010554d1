"""A second Clerk instance beside the one of the fixture ``configured``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.issuer_server import IssuerServer, spare_signer

STAFF_PARTY = "https://staff.example.com"


@contextmanager
def serve_staff(settings, **clerk_auth: object) -> Iterator[IssuerServer]:
    """Add the instance ``staff``: its issuer has another key, under the same key id."""
    server = IssuerServer(spare_signer(9))
    own = {
        "ISSUER": server.issuer,
        "JWKS_URL": server.jwks_url,
        "AUTHORIZED_PARTIES": [STAFF_PARTY],
        **clerk_auth,
    }
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "INSTANCES": {"staff": own}}
    try:
        yield server
    finally:
        server.close()


def change_staff(settings, **changes: object) -> None:
    """Change settings of ``staff``; ``None`` takes one out."""
    own = {**settings.CLERK_AUTH["INSTANCES"]["staff"], **changes}
    own = {key: value for key, value in own.items() if value is not None}
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "INSTANCES": {"staff": own}}
