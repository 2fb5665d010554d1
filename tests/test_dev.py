"""The local issuer: it signs what it is told to, and its key stays where it belongs."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from clerk_auth.core.errors import TokenRejected
from clerk_auth.core.keys import load_public_key, parse_jwks
from clerk_auth.dev import ABSENT, DEV_DIRECTORY, LocalIssuer, load_local_issuer
from clerk_auth.sources import StaticKeySource
from clerk_auth.verifier import Verifier, get_verifier
from tests.conftest import ISSUER, NOW, PARTY

KEY_FILE = DEV_DIRECTORY / "signing-key.pem"


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
def directory(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.integration
def test_key_file_is_for_its_owner_alone_and_keeps_out_of_git(directory):
    load_local_issuer(ISSUER)
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / DEV_DIRECTORY).stat().st_mode) == 0o700
    assert (directory / DEV_DIRECTORY / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in (directory / DEV_DIRECTORY).iterdir()) == [
        ".gitignore",
        "signing-key.pem",
    ]
    assert [path.name for path in directory.iterdir()] == [".clerk-dev"]


@pytest.mark.integration
def test_key_is_made_once_and_read_again(directory):
    first = load_local_issuer(ISSUER)
    written = KEY_FILE.read_bytes()
    second = load_local_issuer("https://other.example")
    assert second.verifying_key.thumbprint == first.verifying_key.thumbprint
    assert (first.issuer, second.issuer) == (ISSUER, "https://other.example")
    assert first.kid == second.kid == "ins_local"
    assert KEY_FILE.read_bytes() == written


@pytest.mark.integration
def test_key_in_another_directory_is_another_key(directory, monkeypatch):
    first = load_local_issuer(ISSUER)
    (directory / "elsewhere").mkdir()
    monkeypatch.chdir(directory / "elsewhere")
    assert load_local_issuer(ISSUER).verifying_key.thumbprint != first.verifying_key.thumbprint


@pytest.mark.integration
def test_key_of_another_kind_is_refused_with_the_name_of_its_file(directory):
    DEV_DIRECTORY.mkdir()
    KEY_FILE.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(ValueError, match=r"signing-key\.pem.*remove it"):
        load_local_issuer(ISSUER)


@pytest.mark.integration
def test_weak_umask_gives_nobody_the_key(directory):
    """The mode is set when the file is made, not after."""
    program = "import os; os.umask(0); from clerk_auth.dev import *; load_local_issuer('')"
    environment = {**os.environ, "PYTHONPATH": str(settings.BASE_DIR)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert stat.S_IMODE(KEY_FILE.stat().st_mode) == 0o600


def _load_together(barrier, found) -> None:
    barrier.wait(5)
    found.put(load_local_issuer(ISSUER).verifying_key.thumbprint)


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
    thumbprints = {found.get() for _ in processes}
    assert thumbprints == {load_local_issuer(ISSUER).verifying_key.thumbprint}
    assert len(list(DEV_DIRECTORY.iterdir())) == 2


@pytest.mark.integration
def test_threads_that_race_end_with_one_key(directory):
    barrier, found = threading.Barrier(8), []

    def load() -> None:
        barrier.wait(5)
        try:
            found.append(load_local_issuer(ISSUER).verifying_key.thumbprint)
        except OSError as error:
            found.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [load_local_issuer(ISSUER).verifying_key.thumbprint] * 8


@pytest.mark.integration
def test_draft_that_a_killed_process_left_behind_stops_nobody(directory):
    """In a container the next process may well have the same id."""
    DEV_DIRECTORY.mkdir()
    KEY_FILE.with_suffix(f".{os.getpid()}").write_text("half a key")
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
