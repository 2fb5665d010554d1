"""The local issuer: it signs what it is told to, and its key stays where it belongs."""

from __future__ import annotations

import base64
import io
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from clerk_auth import conf
from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.keys import load_public_key, parse_jwks
from clerk_auth.issuer.development import (
    ABSENT,
    DEV_DIRECTORY,
    LocalIssuer,
    _make_pem,
    find_dev_directory,
    load_local_issuer,
)
from clerk_auth.issuer.key_file import KEY_NAME, KeyFileRefused
from clerk_auth.jwks.source import StaticKeySource
from clerk_auth.verifier import Verifier, get_verifier
from tests.conftest import ISSUER, NOW, PARTY

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


def decode(token: str) -> tuple[dict, dict]:
    """Return header and payload, unverified."""
    header, payload, _ = token.split(".")
    read = base64.urlsafe_b64decode
    return json.loads(read(header + "==")), json.loads(read(payload + "=="))


# Signing


def test_token_looks_as_clerks_do(local_issuer):
    header, payload = decode(local_issuer.token("user_1", now=NOW, azp=PARTY))
    assert header == {
        "alg": "RS256",
        "cat": "cl_B7d4PD111AAA",
        "kid": local_issuer.kid,
        "typ": "JWT",
    }
    assert payload == {
        "iss": ISSUER,
        "sub": "user_1",
        "sid": "sess_local",
        "iat": NOW,
        "nbf": NOW - 10,
        "exp": NOW + 60,
        "sts": "active",
        "v": 2,
        "azp": PARTY,
    }


def test_token_is_accepted_on_the_common_path(local_issuer, policy):
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy, now=lambda: NOW)
    claims = verifier.verify(local_issuer.token("user_1", now=NOW, azp=PARTY))
    assert (claims.user_id, claims.version) == ("user_1", 2)


def test_clock_is_read_where_no_time_is_given(local_issuer):
    before = int(time.time())
    issued_at = local_issuer.session_payload()["iat"]
    assert before <= issued_at <= time.time()


def test_claims_and_header_members_are_set_or_left_out(local_issuer):
    header, payload = decode(
        local_issuer.sign(
            local_issuer.session_payload(now=NOW, expires_in=5, sid=ABSENT, nbf=None, custom=[1]),
            {"cat": ABSENT, "kid": "other", "oiat": 1},
        )
    )
    assert header == {"alg": "RS256", "kid": "other", "typ": "JWT", "oiat": 1}
    assert "sid" not in payload
    assert (payload["exp"], payload["nbf"], payload["custom"]) == (NOW + 5, None, [1])


def test_bytes_that_are_no_claims_are_signed_too(local_issuer, policy):
    verifier = Verifier(StaticKeySource((local_issuer.verifying_key,)), policy)
    token = local_issuer.sign_text(b"[]", {"alg": "RS256", "kid": local_issuer.kid})
    with pytest.raises(TokenRejected) as caught:
        verifier.check(token)
    assert caught.value.code == "token_malformed"


def test_key_set_and_pem_show_the_public_key_alone(local_issuer):
    (key,) = parse_jwks(json.dumps(local_issuer.jwks).encode()).keys
    assert key.thumbprint == local_issuer.verifying_key.thumbprint
    assert set(local_issuer.jwk) == {"kty", "use", "alg", "kid", "n", "e"}
    assert load_public_key(local_issuer.public_pem).thumbprint == key.thumbprint
    assert "PRIVATE" not in local_issuer.public_pem


def test_private_key_is_in_no_representation(local_issuer):
    assert "PRIVATE" not in repr(local_issuer) + str(local_issuer)


def test_issuer_of_another_name_signs_with_the_same_key(local_issuer):
    other = local_issuer.acting_as("https://other.example", kid="ins_other")
    assert (other.issuer, other.kid) == ("https://other.example", "ins_other")
    assert other.verifying_key.thumbprint == local_issuer.verifying_key.thumbprint
    assert local_issuer.acting_as("https://other.example").kid == local_issuer.kid


def test_generated_keys_differ(local_issuer, other_issuer):
    assert local_issuer.verifying_key.thumbprint != other_issuer.verifying_key.thumbprint
    assert local_issuer.verifying_key.bits == 2048


# The key file


@pytest.fixture
def directory(settings, tmp_path) -> Path:
    """A project of its own, where it keeps its key."""
    settings.BASE_DIR = tmp_path
    return tmp_path / DEV_DIRECTORY


@cache
def good_key() -> bytes:
    return _make_pem()


def write_key(directory: Path, mode: int = 0o600) -> Path:
    """Write a good key, as a checkout, a copy or another user might have."""
    directory.mkdir(exist_ok=True)
    path = directory / KEY_NAME
    path.write_bytes(good_key())
    path.chmod(mode)
    return path


def thumbprint() -> str:
    return load_local_issuer(ISSUER).verifying_key.thumbprint


@pytest.mark.integration
def test_key_file_is_for_its_owner_alone_and_keeps_out_of_git(directory):
    load_local_issuer(ISSUER)
    assert stat.S_IMODE((directory / KEY_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / ".gitignore").read_text() == "*\n"
    assert names_in(directory) == [".gitignore", "signing-key.pem"]
    assert names_in(directory.parent) == [".clerk-dev"]


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.integration
def test_key_is_made_once_and_read_again(directory):
    first = load_local_issuer(ISSUER)
    written = (directory / KEY_NAME).read_bytes()
    second = load_local_issuer("https://other.example")
    assert second.verifying_key.thumbprint == first.verifying_key.thumbprint
    assert (first.issuer, second.issuer) == (ISSUER, "https://other.example")
    assert first.kid == second.kid == "ins_local"
    assert (directory / KEY_NAME).read_bytes() == written


@pytest.mark.integration
def test_key_is_the_projects_whatever_the_working_directory(directory, tmp_path, monkeypatch):
    first = thumbprint()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert thumbprint() == first
    assert names_in(tmp_path / "elsewhere") == []


@pytest.mark.integration
def test_key_of_another_project_is_another_key(directory, settings, tmp_path):
    first = thumbprint()
    settings.BASE_DIR = tmp_path / "elsewhere"
    settings.BASE_DIR.mkdir()
    assert thumbprint() != first


@pytest.mark.parametrize("base", [None, "", 5, b"bytes", ["list"]])
def test_settings_without_a_base_directory_have_the_working_directory(base, settings):
    settings.BASE_DIR = base
    assert find_dev_directory() == Path.cwd() / DEV_DIRECTORY
    del settings.BASE_DIR
    assert find_dev_directory() == Path.cwd() / DEV_DIRECTORY


def test_base_directory_may_be_a_text_and_relative(settings, tmp_path, monkeypatch):
    settings.BASE_DIR = str(tmp_path)
    assert find_dev_directory() == tmp_path / DEV_DIRECTORY
    monkeypatch.chdir(tmp_path)
    settings.BASE_DIR = "sub/.."
    assert find_dev_directory() == tmp_path / DEV_DIRECTORY


@pytest.mark.integration
def test_key_of_another_kind_is_refused_with_the_name_of_its_file(directory):
    path = write_key(directory)
    for pem in (
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        rsa.generate_private_key(65537, 1024).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        ),
        b"no key",
    ):
        path.write_bytes(pem)
        with pytest.raises(ValueError, match=r"signing-key\.pem.*remove it") as caught:
            load_local_issuer(ISSUER)
        assert isinstance(caught.value, ImproperlyConfigured)


# Whose key it is


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o644, 0o640, 0o666, 0o610, 0o601, 0o777])
def test_key_that_others_can_read_or_change_is_refused(directory, mode):
    """So is one that came with a checkout: git writes no mode but 0644 and 0755."""
    path = write_key(directory, mode)
    with pytest.raises(KeyFileRefused, match=f"{path} is open to others.*{mode:04o}"):
        load_local_issuer(ISSUER)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
@pytest.mark.integration
def test_key_for_its_owner_alone_is_taken(directory, mode):
    write_key(directory, mode)
    assert load_local_issuer(ISSUER).token()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("is_directory", [False, True])
def test_key_of_another_user_is_refused(directory, is_directory):
    path = write_key(directory)
    os.chown(directory if is_directory else path, 12345, -1)
    with pytest.raises(KeyFileRefused, match=r"signing-key\.pem .*another user \(uid 12345\)"):
        load_local_issuer(ISSUER)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o770])
def test_key_in_a_directory_that_others_can_change_is_refused(directory, mode):
    write_key(directory)
    directory.chmod(mode)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*open to others.*{mode:04o}"):
        load_local_issuer(ISSUER)


def test_link_to_a_key_is_refused_wherever_it_leads(directory, tmp_path):
    elsewhere = write_key(tmp_path / "elsewhere")
    directory.mkdir()
    for target in (elsewhere, tmp_path / "nowhere", Path("signing-key.pem"), Path("/dev/stdin")):
        (directory / KEY_NAME).symlink_to(target)
        with pytest.raises(KeyFileRefused, match=f"{directory}.*symbolic link"):
            load_local_issuer(ISSUER)
        (directory / KEY_NAME).unlink()
    assert names_in(directory) == []


def test_linked_directory_is_refused_and_nothing_is_written_through_it(directory, tmp_path):
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (target / ".gitignore").write_text("kept")
    directory.symlink_to(target)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*symbolic link"):
        load_local_issuer(ISSUER)
    assert names_in(target) == [".gitignore"]
    assert (target / ".gitignore").read_text() == "kept"


@pytest.mark.integration
def test_ignore_file_that_is_there_is_left_as_it_is(directory, tmp_path):
    (tmp_path / "notes").write_text("kept")
    directory.mkdir()
    (directory / ".gitignore").symlink_to(tmp_path / "notes")
    load_local_issuer(ISSUER)
    assert (tmp_path / "notes").read_text() == "kept"
    assert (directory / ".gitignore").is_symlink()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_at_once(directory, make):
    directory.mkdir(exist_ok=True)
    make(directory / KEY_NAME)
    (directory / KEY_NAME).chmod(0o600)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*is no file"):
        load_local_issuer(ISSUER)
    (directory / KEY_NAME).rmdir() if make is os.mkdir else (directory / KEY_NAME).unlink()


def test_file_in_place_of_the_directory_is_refused(directory):
    directory.write_text("a file")
    directory.chmod(0o600)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*is a file"):
        load_local_issuer(ISSUER)


@pytest.mark.integration
def test_platform_without_owners_and_modes_still_refuses_links(directory, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "getuid")
    path = write_key(directory, 0o666)
    assert load_local_issuer(ISSUER).token()
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(KeyFileRefused, match="symbolic link"):
        load_local_issuer(ISSUER)


# What cannot be made


def refuse_call(*args: object, **kwargs: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.integration
def test_file_system_without_hard_links_is_good_enough(directory, monkeypatch):
    monkeypatch.setattr(os, "link", refuse_call)
    monkeypatch.setattr(os, "symlink", refuse_call)
    assert thumbprint() == thumbprint()
    assert names_in(directory) == [".gitignore", "signing-key.pem"]


class FullFile(io.FileIO):
    """Takes half of what it is given, as on a file system that is full."""

    def write(self, data) -> int:
        return super().write(data[: len(data) // 2]) if len(data) > 2 else super().write(data)


@pytest.mark.integration
@pytest.mark.parametrize("call", ["mkdir", "open", "fdopen", "fstat", "full"])
def test_what_the_system_refuses_leaves_no_key_behind(directory, monkeypatch, call):
    if call == "full":
        monkeypatch.setattr(os, "fdopen", lambda fd, mode, **_: FullFile(fd, mode))
    else:
        monkeypatch.setattr(os, call, refuse_call)
    for _ in range(2):
        with pytest.raises(KeyFileRefused, match=f"{directory}.*cannot be had"):
            load_local_issuer(ISSUER)
    monkeypatch.undo()
    left = list(directory.iterdir()) if directory.exists() else []
    assert [path for path in left if b"PRIVATE" in path.read_bytes()] == []
    assert [path.name for path in left] in ([], [".gitignore"])


@pytest.mark.integration
def test_file_system_that_keeps_no_modes_is_left_without_a_key(directory, tmp_path, monkeypatch):
    """As exFAT and folders of a virtual machine's host: what is written there, all can read."""
    genuine = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = genuine(descriptor)
        return os.stat_result((found.st_mode | 0o077, *found[1:]))

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*file system that keeps owners and"):
        load_local_issuer(ISSUER)
    assert names_in(directory) == [".gitignore"]


@pytest.mark.integration
def test_directory_that_its_file_system_opens_to_others_is_removed_again(directory, monkeypatch):
    genuine = os.mkdir
    monkeypatch.setattr(os, "mkdir", lambda path, mode: genuine(path) or os.chmod(path, 0o777))
    with pytest.raises(KeyFileRefused, match=f"{directory}.*0777"):
        load_local_issuer(ISSUER)
    assert not directory.exists()


@pytest.mark.integration
def test_project_in_a_directory_that_is_not_there_is_named(settings, tmp_path):
    settings.BASE_DIR = tmp_path / "gone"
    with pytest.raises(KeyFileRefused, match=f"{tmp_path / 'gone' / DEV_DIRECTORY}"):
        load_local_issuer(ISSUER)


@pytest.mark.integration
def test_weak_umask_gives_nobody_the_key(tmp_path):
    """The mode is set when the file is made, not after. Nor does it need any settings."""
    program = (
        "import os; os.umask(0); from clerk_auth.issuer.development import *; load_local_issuer('')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, timeout=60
    )
    assert stat.S_IMODE((tmp_path / DEV_DIRECTORY / KEY_NAME).stat().st_mode) == 0o600


# First uses at once


def _load_together(barrier, found) -> None:
    barrier.wait(5)
    found.put(thumbprint())


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_race_end_with_one_key(directory):
    fork = multiprocessing.get_context("fork")
    barrier, found = fork.Barrier(8), fork.SimpleQueue()
    processes = [fork.Process(target=_load_together, args=(barrier, found)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(10)
    assert [process.exitcode for process in processes] == [0] * 8
    assert {found.get() for _ in processes} == {thumbprint()}
    assert len(names_in(directory)) == 2


@pytest.mark.integration
def test_threads_that_race_end_with_one_key(directory):
    barrier, found = threading.Barrier(8), []

    def load() -> None:
        barrier.wait(5)
        try:
            found.append(thumbprint())
        except ImproperlyConfigured as error:
            found.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [thumbprint()] * 8


@pytest.mark.integration
@pytest.mark.parametrize("share", [0, 1, 40, 900, -10])
def test_key_that_another_process_is_writing_is_waited_for(directory, share):
    """Between creating the file and writing it, a process may be slow."""
    path = write_key(directory)
    pem, expected = path.read_bytes(), thumbprint()
    path.write_bytes(pem[:share])
    timer = threading.Timer(0.1, lambda: path.write_bytes(pem))
    timer.start()
    assert thumbprint() == expected
    timer.join()


@pytest.mark.integration
def test_key_that_a_killed_process_left_unwritten_is_named(directory):
    write_key(directory).write_bytes(b"")
    with pytest.raises(KeyFileRefused, match=f"{directory / KEY_NAME} .*remove it"):
        load_local_issuer(ISSUER)


@pytest.mark.integration
def test_draft_that_an_older_version_left_behind_stops_nobody(directory):
    directory.mkdir()
    (directory / KEY_NAME).with_suffix(f".{os.getpid()}").write_text("half a key")
    assert load_local_issuer(ISSUER).token()


# Development mode


@pytest.fixture
def developing(settings, directory) -> LocalIssuer:
    """Development mode of a project that is strict otherwise; the issuer that it trusts."""
    settings.DEBUG = True
    settings.CLERK_AUTH = {
        "DEV_MODE": True,
        "FRONTEND_API": "clerk.example.com",
        "AUTHORIZED_PARTIES": [PARTY],
    }
    return load_local_issuer(ISSUER)


@pytest.mark.integration
def test_development_mode_swaps_the_key_and_nothing_else(developing, local_issuer):
    verifier = get_verifier()
    assert verifier.verify(developing.token("user_1", azp=PARTY)).user_id == "user_1"
    for token, code in [
        (developing.token(), "party_not_allowed"),
        (developing.token(azp=PARTY, expires_in=-60), "token_expired"),
        (developing.token(azp=PARTY, iss="https://clerk.localhost"), "issuer_not_allowed"),
        (local_issuer.token(azp=PARTY), "signature_invalid"),
        ("user_1", "token_malformed"),
    ]:
        with pytest.raises(TokenRejected) as caught:
            verifier.verify(token)
        assert caught.value.code == code


@pytest.mark.integration
def test_development_issuer_has_a_name_where_none_is_configured(settings, directory):
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    issuer = load_local_issuer("https://clerk.localhost")
    assert get_verifier().verify(issuer.token()).issuer == "https://clerk.localhost"


@pytest.mark.integration
def test_token_of_another_working_directory_verifies(developing, tmp_path, monkeypatch):
    """As where the server runs in one directory, and clerk_token in another."""
    verifier = get_verifier()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verifier.verify(load_local_issuer(ISSUER).token("user_1", azp=PARTY)).user_id == "user_1"


def test_key_that_is_refused_is_a_matter_of_the_settings(settings, directory):
    """It is a logged 500, as every misconfiguration, and never a 401."""
    write_key(directory, 0o666)
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    with pytest.raises(ImproperlyConfigured, match=str(directory)):
        get_verifier()


# Saying that it is on


@pytest.mark.parametrize(
    ("argv", "is_said"),
    [
        (["/srv/.venv/bin/gunicorn", "project.wsgi"], True),
        (["-c"], True),
        ([], True),
        (["mod_wsgi"], True),
        (["/usr/lib/gunicorn/__main__.py", "project.wsgi"], True),
        (["manage.py", "runserver", "8000"], True),
        (["./manage.py", "runserver_plus"], True),
        (["/srv/manage.py", "testserver"], True),
        (["/usr/lib/django/__main__.py", "runserver"], True),
        (["/srv/manage.py", "clerk_token", "--user", "runserver"], False),
        (["manage.py", "migrate"], False),
        (["manage.py"], False),
        (["/usr/bin/django-admin", "check"], False),
        (["/usr/lib/django/__main__.py", "shell"], False),
    ],
)
def test_process_that_may_serve_says_so_at_its_start(argv, is_said, settings, caplog, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    settings.CLERK_AUTH = {"DEV_MODE": True, "XYZZY": "whatever else is wrong"}
    with monkeypatch.context() as patched:
        patched.setattr(django_settings, "DEBUG", True)
        caplog.clear()
        apps.get_app_config("clerk_auth").ready()
    found = [(r.levelname, r.event) for r in caplog.records if r.name == "clerk_auth"]
    assert found == ([("WARNING", "development_mode")] if is_said else [])


@pytest.mark.parametrize(
    ("values", "debug"),
    [
        ({"DEV_MODE": True}, False),
        ({"DEV_MODE": False}, True),
        ({"DEV_MODE": 1}, True),
        (None, True),
    ],
)
def test_nothing_is_said_where_it_is_off(values, debug, settings, caplog, monkeypatch):
    settings.CLERK_AUTH = values
    with monkeypatch.context() as patched:
        patched.setattr(django_settings, "DEBUG", debug)
        apps.get_app_config("clerk_auth").ready()
    assert [r for r in caplog.records if r.name == "clerk_auth"] == []


@pytest.fixture(autouse=True)
def _debug_as_it_was() -> Iterator[None]:
    yield
    conf.remember_debug()
