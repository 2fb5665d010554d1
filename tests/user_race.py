"""The first requests of one user, all at once, in a process and a database of their own.

``run_race`` starts this module as a program. It goes the whole way of a request: handler,
authentication, resolver, each thread with a connection of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from project.demo.environment import inherit_environment

THREADS = 32
USER_ID = "user_alice"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the requests got, and the rows of the user model after it.

    ``statuses`` and ``errors`` count them; an error is what made a 500, as text.
    """

    statuses: dict[str, int]
    errors: dict[str, int]
    rows: list[dict[str, Any]]


def run_race(
    database: dict[str, Any],
    *,
    user_model: str = "auth.User",
    clerk_auth: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    rows: list[dict[str, Any]] | None = None,
    aliases: tuple[str, ...] = (),
    all_insert: bool = True,
) -> Outcome:
    """Race in ``database``, a value of ``DATABASES``, that holds ``rows`` of the user model.

    ``aliases`` are instances beside the default; each has an equal share of the requests.
    With ``all_insert`` every thread stops right before each of its INSERTs and UPDATEs until all
    have come so far; otherwise they only start together.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        cwd=settings.BASE_DIR,
        env={
            **inherit_environment(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TESTS_SETTINGS": json.dumps(
                {"DATABASES": {"default": database}, "AUTH_USER_MODEL": user_model}
            ),
        },
        input=json.dumps(
            {
                "clerk_auth": clerk_auth or {},
                "claims": claims or {},
                "rows": rows or [],
                "aliases": aliases,
                "all_insert": all_insert,
            }
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Outcome(**json.loads(done.stdout))


def race(
    clerk_auth: dict[str, Any],
    claims: dict[str, Any],
    rows: list[Any],
    aliases: list[str],
    all_insert: bool,
) -> Outcome:
    from django.contrib.auth import get_user_model
    from django.core.signals import got_request_exception
    from django.db import connection
    from django.db.models.signals import pre_save
    from django.test import Client, override_settings

    from clerk_auth.authentication import ClerkAuthentication
    from clerk_auth.issuer.local import LocalIssuer

    model = get_user_model()
    for row in rows:
        model._base_manager.create(**row)
    ClerkAuthentication.instances = ("default", *aliases)
    issuers = [
        LocalIssuer.generate(f"https://{alias}.example.com")
        for alias in ClerkAuthentication.instances
    ]
    instances = [
        {
            "ISSUER": issuer.issuer,
            "JWT_KEY": issuer.public_pem.strip(),
            "USER_RESOLVER": "clerk_auth.users.database_user",
            **clerk_auth,
        }
        for issuer in issuers
    ]
    together = threading.Barrier(THREADS)
    if all_insert:
        pre_save.connect(lambda **_: together.wait(30), sender=model, weak=False)
    statuses: list[str] = []
    errors: list[str] = []
    got_request_exception.connect(
        lambda **_: errors.append(repr(sys.exc_info()[1])), weak=False, dispatch_uid=__name__
    )

    def ask(issuer: LocalIssuer) -> None:
        token = issuer.token(USER_ID, **claims)
        client = Client(raise_request_exception=False, SERVER_NAME="localhost")
        try:
            together.wait(30)
            answer = client.get("/api/me", headers={"Authorization": f"Bearer {token}"})
            statuses.append(str(answer.status_code))
        finally:
            connection.close()

    with override_settings(
        SECURE_SSL_REDIRECT=False,
        CLERK_AUTH={**instances[0], "INSTANCES": dict(zip(aliases, instances[1:], strict=True))},
    ):
        threads = [
            threading.Thread(target=ask, args=[issuers[n % len(issuers)]]) for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    fields = [field.attname for field in model._meta.concrete_fields]
    return Outcome(
        dict(Counter(statuses)), dict(Counter(errors)), list(model._base_manager.values(*fields))
    )


def main() -> None:
    import django

    django.setup()

    from django.db import connection

    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        outcome = race(**json.load(sys.stdin))
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    json.dump(asdict(outcome), sys.stdout, default=str)


if __name__ == "__main__":
    main()
