"""Run the tests of users on PostgreSQL: ``python -m tests.postgres``, as ``tox -e postgres`` does.

The server is our own: new, in a temporary directory, on a Unix socket, and gone afterwards.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from project.demo import children

TESTS = (
    "tests/management/test_clerk_link.py",
    "tests/test_migrating.py",
    "tests/users/test_instances.py",
    "tests/users/test_user_id_claim.py",
    "tests/users/test_profile.py",
    "tests/users/test_user_models.py",
    "tests/users/test_user_neighbours.py",
    "tests/users/test_user_races.py",
    "tests/users/test_database.py",
)
_START_SECONDS = 30
# PostgreSQL refuses to run as root.
_IN_PLACE_OF_ROOT = ("postgres", "nobody")
# The server's user may not be let into TMPDIR, and the path of a socket must be short.
tempfile.tempdir = "/tmp"


def find_program(name: str) -> str:
    """Return where a program of PostgreSQL is; ``SystemExit`` with a remedy if it is nowhere."""
    # Debian keeps the programs of each version off PATH.
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if found := shutil.which(name) or (kept and str(kept[-1])):
        return found
    raise SystemExit(
        f"{name} is neither on PATH nor under /usr/lib/postgresql: install PostgreSQL's server "
        "(Debian: apt-get install postgresql), or put its programs on PATH."
    )


def find_user() -> dict[str, Any]:
    """Return whom the server runs as, for ``subprocess``; nothing when that is us."""
    if os.geteuid():
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = next(users[name] for name in _IN_PLACE_OF_ROOT if name in users)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


@contextmanager
def run_postgres() -> Iterator[str]:
    """Yield the directory of a running server's socket; its superuser is ``postgres``."""
    initdb, server, is_ready = map(find_program, ("initdb", "postgres", "pg_isready"))
    user = find_user()
    with children.temporary_directory("pg-") as directory:
        if user:
            os.chown(directory, user["user"], user["group"])
        data, log = directory / "data", directory / "log"
        with log.open("wb") as output:

            def start(*argv: object) -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    list(map(str, argv)),
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    **user,
                )

            if start(initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync").wait():
                raise SystemExit(log.read_text())
            process = start(server, "-D", data, "-k", directory, "-h", "", "-F")
            try:
                deadline = time.monotonic() + _START_SECONDS
                while subprocess.run([is_ready, "-q", "-h", directory]).returncode:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(log.read_text())
                    time.sleep(0.05)
                yield str(directory)
            finally:
                # Its fast shutdown.
                process.send_signal(signal.SIGINT)
                process.wait(_START_SECONDS)


def main(arguments: list[str]) -> int:
    with run_postgres() as directory:
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": directory,
        }
        return subprocess.run(
            [sys.executable, "-m", "pytest", *TESTS, *arguments],
            env=os.environ | {"TESTS_SETTINGS": json.dumps({"DATABASES": {"default": database}})},
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
