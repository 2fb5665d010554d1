"""The stand-in Clerk."""

from __future__ import annotations

import socket
import threading

import pytest
import requests

from clerk_auth.issuer.standin import Answer, StandInClerk
from project.demo.tokens import TokenClerk

pytestmark = pytest.mark.integration


@pytest.fixture
def clerk():
    with StandInClerk() as clerk:
        yield clerk


def test_serves_its_key_set_and_counts(clerk):
    answer = requests.get(clerk.jwks_url, timeout=5)
    assert answer.json() == clerk.signer.jwks
    assert clerk.signer.issuer == clerk.issuer
    assert clerk.fetches == 1


def test_counts_exactly_under_threads(clerk):
    threads = [
        threading.Thread(target=requests.get, args=(clerk.jwks_url,), kwargs={"timeout": 5})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clerk.fetches == 8


@pytest.mark.parametrize("path", ["/", "/token?user=user_1", "/.well-known/jwks.json/x"])
def test_has_nothing_else(clerk, path):
    assert requests.get(clerk.issuer + path, timeout=5).status_code == 404
    assert clerk.fetches == 0


def test_answers_can_be_scripted(clerk):
    clerk.respond = lambda path: Answer(b"later", status=503)
    answer = requests.get(clerk.jwks_url, timeout=5)
    assert (answer.status_code, answer.content, clerk.fetches) == (503, b"later", 1)


def test_rotation_replaces_the_key_and_its_id(clerk):
    old = clerk.signer
    clerk.rotate()
    (jwk,) = requests.get(clerk.jwks_url, timeout=5).json()["keys"]
    assert jwk == clerk.signer.jwk
    assert not {jwk["kid"], jwk["n"]} & {old.kid, old.jwk["n"]}
    assert clerk.signer.issuer == clerk.issuer


def test_failure_lasts_until_recovery_and_is_counted(clerk):
    clerk.fail()
    assert [requests.get(clerk.jwks_url, timeout=5).status_code for _ in range(2)] == [503, 503]
    clerk.recover()
    assert requests.get(clerk.jwks_url, timeout=5).json() == clerk.signer.jwks
    assert clerk.fetches == 3


def test_key_set_of_another_at_the_same_port_has_another_url(clerk):
    """They share a cache, which keeps key sets by their URL."""
    with StandInClerk() as other:
        query = clerk.jwks_url.partition("?")[2]
        assert len(query) == 16
        assert query != other.jwks_url.partition("?")[2]


def test_client_that_gives_up_makes_no_noise(clerk, capfd):
    released = threading.Event()

    def respond(path):
        released.wait(5)
        return Answer(b"x" * 10_000_000)

    clerk.respond = respond
    with socket.create_connection(("127.0.0.1", int(clerk.issuer.rpartition(":")[2]))) as caller:
        caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
    released.set()
    requests.get(clerk.jwks_url, timeout=5)
    assert capfd.readouterr().err == ""


def test_stopped_it_refuses_connections(clerk):
    clerk.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(clerk.issuer.rpartition(":")[2])), timeout=5)


def test_stop_is_harmless_twice_and_before_start():
    clerk = StandInClerk()
    clerk.stop()
    clerk.stop()


@pytest.mark.parametrize(
    ("query", "status"), [("?user=user_1", 200), ("?user=", 400), ("", 400), ("?user=a&x=%FF", 200)]
)
def test_the_demos_own_hands_out_tokens(query, status):
    with TokenClerk() as clerk:
        answer = requests.get(f"{clerk.issuer}/token{query}", timeout=5)
        assert answer.status_code == status
        assert requests.get(clerk.jwks_url, timeout=5).json() == clerk.signer.jwks
