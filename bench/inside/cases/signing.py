"""Keys that follow from a seed, and tokens that they sign, of any bytes."""

from __future__ import annotations

import base64
import json
import math
import random
from itertools import combinations
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA512

KID = "ins_of_the_comparison"
_EXPONENT = 65537
_PRIME_BITS = 1024
# A candidate that shares a factor with it is no prime; most do.
_SMALL_PRIMES = math.prod(n for n in range(3, 2000, 2) if all(n % i for i in range(3, n, 2)))
# What signs: most tokens the first key, some the second, which has the same key id, and a few a
# stranger, whose key is not in the set.
_SIGNERS, _SHARES = (0, 1, 2), (80, 14, 6)


class Signer:
    """Signs with RS256; the same ``order`` gives the same keys, and the same signatures."""

    def __init__(self, order: random.Random) -> None:
        primes = [_make_prime(order) for _ in range(3)]
        # Each pair is a key. What two keys share matters only where a key must be secret.
        self._keys = [_make_key(p, q) for p, q in combinations(primes, 2)]
        self._order = order

    @property
    def jwks(self) -> str:
        """The public key set, as a document: the first two keys, under one key id."""
        return json.dumps({"keys": [_describe(key) for key in self._keys[:2]]})

    def sign(self, signing_input: str, *, is_known: bool = False) -> bytes:
        """Return a signature, by a key that the set holds if ``is_known``."""
        which = 0 if is_known else self._order.choices(_SIGNERS, _SHARES)[0]
        return self._keys[which].sign(encode_text(signing_input), padding.PKCS1v15(), SHA256())

    def sign_otherwise(self, signing_input: str) -> bytes:
        """Return a signature of another scheme or hash, which is none of RS256."""
        scheme = self._order.choice(
            [(padding.PKCS1v15(), SHA512()), (padding.PSS(padding.MGF1(SHA256()), 0), SHA256())]
        )
        return self._keys[0].sign(encode_text(signing_input), *scheme)

    def token(self, header: bytes, payload: bytes) -> str:
        """Return a compact token of these bytes, whatever they are."""
        signing_input = f"{encode(header)}.{encode(payload)}"
        return f"{signing_input}.{encode(self.sign(signing_input))}"


def encode(data: bytes) -> str:
    """Encode to unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode_text(text: str) -> bytes:
    """Encode a text, lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")


def _make_prime(order: random.Random) -> int:
    while True:
        # The two highest bits make the product of two primes as long as a key has to be.
        candidate = order.getrandbits(_PRIME_BITS) | 3 << _PRIME_BITS - 2 | 1
        if (
            math.gcd(candidate, _SMALL_PRIMES) == 1
            and candidate % _EXPONENT != 1
            and pow(2, candidate - 1, candidate) == 1
        ):
            return candidate


def _make_key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(_EXPONENT, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(_EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public
    )
    return numbers.private_key()


def _describe(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    n, e = numbers.n.to_bytes(256, "big"), numbers.e.to_bytes(3, "big")
    return {"kty": "RSA", "kid": KID, "n": encode(n), "e": encode(e)}
