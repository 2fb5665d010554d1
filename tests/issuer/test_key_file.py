"""The development key is made once, for its owner only, and a key of anyone else is refused."""

from __future__ import annotations

import io
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured

from clerk_auth.issuer.development import DEV_DIRECTORY, load_local_issuer
from clerk_auth.issuer.key_file import KEY_NAME, KeyFileRefused
from tests.conftest import ISSUER
from tests.issuer.conftest import names_in, thumbprint, write_key

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


def test_key_file_is_for_its_owner_alone_and_keeps_out_of_git(directory):
    load_local_issuer(ISSUER)
    assert stat.S_IMODE((directory / KEY_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / ".gitignore").read_text() == "*\n"
    assert names_in(directory) == [".gitignore", "signing-key.pem"]
    assert names_in(directory.parent) == [".clerk-dev"]


def test_key_is_made_once_and_read_again(directory):
    first = load_local_issuer(ISSUER)
    written = (directory / KEY_NAME).read_bytes()
    second = load_local_issuer("https://other.example")
    assert second.verifying_key.thumbprint == first.verifying_key.thumbprint
    assert (first.issuer, second.issuer) == (ISSUER, "https://other.example")
    assert first.kid == second.kid == "ins_local"
    assert (directory / KEY_NAME).read_bytes() == written


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
    with pytest.raises(KeyFileRefused, match=f"{directory}.*is not a file"):
        load_local_issuer(ISSUER)
    (directory / KEY_NAME).rmdir() if make is os.mkdir else (directory / KEY_NAME).unlink()


def test_file_in_place_of_the_directory_is_refused(directory):
    directory.write_text("a file")
    directory.chmod(0o600)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*is a file"):
        load_local_issuer(ISSUER)


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


def test_file_system_without_hard_links_is_good_enough(directory, monkeypatch):
    monkeypatch.setattr(os, "link", refuse_call)
    monkeypatch.setattr(os, "symlink", refuse_call)
    assert thumbprint() == thumbprint()
    assert names_in(directory) == [".gitignore", "signing-key.pem"]


class FullFile(io.FileIO):
    """Takes half of what it is given, as on a file system that is full."""

    def write(self, data) -> int:
        return super().write(data[: len(data) // 2]) if len(data) > 2 else super().write(data)


@pytest.mark.parametrize("call", ["mkdir", "open", "fdopen", "fstat", "full"])
def test_what_the_system_refuses_leaves_no_key_behind(directory, monkeypatch, call):
    if call == "full":
        monkeypatch.setattr(os, "fdopen", lambda fd, mode, **_: FullFile(fd, mode))
    else:
        monkeypatch.setattr(os, call, refuse_call)
    for _ in range(2):
        with pytest.raises(KeyFileRefused, match=f"{directory}.*cannot be read or made"):
            load_local_issuer(ISSUER)
    monkeypatch.undo()
    left = list(directory.iterdir()) if directory.exists() else []
    assert [path for path in left if b"PRIVATE" in path.read_bytes()] == []
    assert [path.name for path in left] in ([], [".gitignore"])


def test_file_system_that_keeps_no_modes_is_left_without_a_key(directory, tmp_path, monkeypatch):
    """As exFAT and folders of a virtual machine's host: what is written there, all can read."""
    genuine = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = genuine(descriptor)
        return os.stat_result((found.st_mode | 0o077, *found[1:]))

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(KeyFileRefused, match=f"{directory}.*file system must keep owners and"):
        load_local_issuer(ISSUER)
    assert names_in(directory) == [".gitignore"]


def test_directory_that_its_file_system_opens_to_others_is_removed_again(directory, monkeypatch):
    genuine = os.mkdir
    monkeypatch.setattr(os, "mkdir", lambda path, mode: genuine(path) or os.chmod(path, 0o777))
    with pytest.raises(KeyFileRefused, match=f"{directory}.*0777"):
        load_local_issuer(ISSUER)
    assert not directory.exists()


def test_project_in_a_directory_that_is_not_there_is_named(settings, tmp_path):
    settings.BASE_DIR = tmp_path / "gone"
    with pytest.raises(KeyFileRefused, match=f"{tmp_path / 'gone' / DEV_DIRECTORY}"):
        load_local_issuer(ISSUER)


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


def test_key_that_a_killed_process_left_unwritten_is_named(directory):
    write_key(directory).write_bytes(b"")
    with pytest.raises(KeyFileRefused, match=f"{directory / KEY_NAME} .*remove it"):
        load_local_issuer(ISSUER)


def test_draft_that_an_older_version_left_behind_stops_nobody(directory):
    directory.mkdir()
    (directory / KEY_NAME).with_suffix(f".{os.getpid()}").write_text("half a key")
    assert load_local_issuer(ISSUER).token()
