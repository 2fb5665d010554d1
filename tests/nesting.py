"""JSON of strangers on a thread with a small stack: ``python -m tests.nesting KIBIBYTES``.

What the C stack is too small for ends the process, so a process of its own tries it. Every place
where the package parses what it was given is tried with JSON that nests deep, and with as deep as
is allowed; a line of each says what came of it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

DEEP = 12_000
ALLOWED = 64
# What nests, and what hides it from whoever counts badly: quotes, escapes and closing brackets in
# strings. None has an end, since a parser that comes to an end has survived.
SHAPES = {
    "lists": b'{"a":' + b"[" * DEEP,
    "objects": b'{"a":' * DEEP,
    "mixed": b'{"a":[' * (DEEP // 2),
    "closed in strings": b'{"]}]}\\"]}":[' * (DEEP // 4),
    "behind escapes": b'{"\\\\":"\\\\\\"]","a":' + b"[" * DEEP,
    "behind a wide list": b'{"w":[' + b"[]," * 100 + b'[]],"a":' + b"[" * DEEP,
}


def nested(levels: int) -> list[object]:
    """Return a list in lists, ``levels`` in all."""
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def places() -> Iterator[tuple[str, Callable[[bytes], object]]]:
    """Name each place that parses, and what gives it a text."""
    from django.conf import settings
    from django.core.cache import caches
    from django.core.management import CommandError, call_command

    from clerk_auth.conf import get_config
    from clerk_auth.core.encoding import encode_base64url
    from clerk_auth.core.keys import parse_jwks
    from clerk_auth.diagnostics import deployed
    from clerk_auth.diagnostics.inspection import inspect
    from clerk_auth.issuer.development import LocalIssuer
    from clerk_auth.jwks.fleet import Fleet
    from clerk_auth.jwks.held import Clock
    from clerk_auth.verifier import get_verifier
    from tests.issuer_server import IssuerServer, answer
    from tests.test_authentication import WhoAmI, call

    issuer = LocalIssuer.generate("https://clerk.example.com")
    settings.CLERK_AUTH = {
        "ISSUER": issuer.issuer,
        "JWT_KEY": issuer.public_pem,
        "MAX_TOKEN_BYTES": 10**6,
    }
    settings.SECURE_SSL_REDIRECT = False
    config, header = get_config(), {"alg": "RS256", "kid": issuer.kid}

    def authenticate(token: str) -> object:
        inspect(token, config.policy, get_verifier().source.status().keys, now=time.time())
        return call(WhoAmI, f"Bearer {token}").data["code"]

    yield "header", lambda text: authenticate(f"{encode_base64url(text)}.e30.AAAA")
    yield "payload", lambda text: authenticate(issuer.sign_text(text, header))
    stranger = LocalIssuer.generate(issuer.issuer)
    yield "unverified payload", lambda text: authenticate(stranger.sign_text(text, header))
    yield "key document", parse_jwks

    shared = Fleet(lambda: caches["default"], config, secret_key=settings.SECRET_KEY, clock=Clock())

    def load(text: bytes) -> object:
        caches["default"].set(f"{shared._prefix}:document", shared._signer.sign(text.decode()))
        return shared.load()

    def load_failure(text: bytes) -> object:
        text = text.partition(b":")[2]  # a list
        caches["default"].set(f"{shared._prefix}:failure", text.decode())
        return shared.load_failure()

    yield "shared document", load
    yield "shared failure", load_failure

    server = IssuerServer(issuer)

    def probe(text: bytes) -> object:
        server.script = answer(text, status="401 Unauthorized")
        return deployed.run(config, server.issuer).passed

    yield "answer to a probe", probe
    server.close()

    def read_options(text: bytes) -> object:
        for option in (
            f"--claim=x={text.decode()}",
            f"--act={text.decode()}",
            "--fva=5," + "[" * DEEP,
        ):
            try:
                call_command("clerk_token", option)
            except CommandError as error:
                if option.partition("=")[0] not in str(error):
                    raise
        return "refused"

    yield "options of clerk_token", read_options

    def read_everything(_text: bytes) -> object:
        # The claims are one level, and the list in them takes the others.
        claims = {"act": {"x": nested(ALLOWED - 2)}, "x": nested(ALLOWED - 1)}
        token = issuer.token(**claims)
        verified = get_verifier().verify(token)
        keys = get_verifier().source.status().keys
        json.dumps(inspect(token, config.policy, keys, now=time.time()).as_dict())
        return bool(verified.payload["x"] == verified.get("x") and verified.actor)

    yield "as deep as is allowed", read_everything


def try_everything() -> None:
    for place, parse in places():
        for shape, text in SHAPES.items():
            try:
                outcome = parse(text)
            except Exception as error:
                outcome = getattr(error, "reason", error)
            print(f"{place}, {shape}: {outcome}", flush=True)


def main(kibibytes: int) -> None:
    import django

    django.setup()
    logging.disable()
    threading.stack_size(kibibytes * 1024)
    thread = threading.Thread(target=try_everything)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]))
