"""Which keys may verify, how a key document is taken key by key, and what ``JWT_KEY`` reads."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from clerk_auth.core.encoding import encode_base64url
from clerk_auth.core.errors import KeySetInvalid
from clerk_auth.core.keys import (
    MAX_KEYS,
    MAX_KEYS_PER_KID,
    SKIP_REASONS,
    KeySet,
    KeyUnusable,
    VerifyingKey,
    describe_key,
    hash_kid,
    load_public_key,
    parse_jwks,
)
from tests.conftest import ISSUER
from tests.core.conftest import ENTRY_AT_FAULT, HOSTILE_JSON, encode_number, make_jwk, verify

MODULUS = (1 << 2047) + 1

# RFC 7638 section 3.1.
RFC_7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc"
    "_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQ"
    "R0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bF"
    "TWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC_7638_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def parse(*entries: object) -> KeySet:
    return parse_jwks(json.dumps({"keys": entries}).encode())


def kids(key_set: KeySet) -> list[str]:
    return [key.kid for key in key_set.keys]


def unusable_reason(make) -> str | None:
    try:
        make()
    except KeyUnusable as unusable:
        return unusable.reason
    return None


# One key: modulus and exponent.


@pytest.mark.parametrize(
    ("bits", "reason"),
    [(2047, "modulus"), (2048, None), (2049, None), (8191, None), (8192, None), (8193, "modulus")],
)
def test_modulus_has_2048_to_8192_bits(bits, reason):
    modulus = (1 << bits - 1) + 1
    assert unusable_reason(lambda: VerifyingKey.from_numbers("k", modulus, 65537)) == reason


def test_even_modulus_is_unusable():
    assert unusable_reason(lambda: VerifyingKey.from_numbers("k", 1 << 2047, 65537)) == "modulus"


@pytest.mark.parametrize(
    ("exponent", "reason"),
    [
        (0, "exponent"),
        (1, "exponent"),
        (3, "exponent"),
        (65535, "exponent"),
        (65537, None),
        (65538, "exponent"),
        (65539, None),
        (2**33 - 1, None),
        (2**33, "exponent"),
        (2**33 + 1, "exponent"),
    ],
)
def test_exponent_is_odd_from_65537_to_33_bits(exponent, reason):
    assert unusable_reason(lambda: VerifyingKey.from_numbers("k", MODULUS, exponent)) == reason


def test_largest_key_verifies_without_an_error():
    key = VerifyingKey.from_numbers("k", (1 << 8191) + 1, 2**33 - 1)
    assert not key.verifies(b"input", b"\x01" * 1024)


@pytest.mark.parametrize("length", [0, 1, 255, 257, 512])
def test_signature_of_another_length_does_not_verify(length, local_issuer):
    assert not local_issuer.verifying_key.verifies(b"input", b"\x01" * length)


def test_thumbprint_of_the_published_example():
    (key,) = parse(RFC_7638_KEY).keys
    assert key.thumbprint == RFC_7638_THUMBPRINT


def test_thumbprint_does_not_depend_on_the_key_id():
    first, second = (VerifyingKey.from_numbers(kid, MODULUS, 65537) for kid in ("a", "b"))
    assert first.thumbprint == second.thumbprint


def test_repr_shows_no_more_than_names():
    (key,) = parse(RFC_7638_KEY).keys
    assert repr(key) == (
        f"VerifyingKey(kid='2011-04-29', thumbprint='{RFC_7638_THUMBPRINT}', bits=2048)"
    )


# A document, key by key.

UNUSABLE = [
    pytest.param(None, "malformed", id="null"),
    pytest.param("key", "malformed", id="text"),
    pytest.param([make_jwk()], "malformed", id="list"),
    pytest.param({}, "key_type", id="empty"),
    pytest.param(make_jwk(kty="oct", k="c2VjcmV0"), "key_type", id="symmetric"),
    pytest.param(make_jwk(kty="EC", crv="P-256", x="AA", y="AA"), "key_type", id="elliptic-curve"),
    pytest.param(make_jwk(kty="OKP", crv="Ed25519", x="AA"), "key_type", id="octet-key-pair"),
    pytest.param(make_jwk(kty="rsa"), "key_type", id="key-type-in-lower-case"),
    pytest.param(make_jwk(kty=None), "key_type", id="key-type-null"),
    pytest.param(make_jwk(kty=["RSA"]), "key_type", id="key-type-list"),
    pytest.param(make_jwk(d="AQAB"), "private", id="private-exponent"),
    pytest.param(make_jwk(p="AQAB"), "private", id="first-prime"),
    pytest.param(make_jwk(q=None), "private", id="second-prime-null"),
    pytest.param(make_jwk(dp=""), "private", id="first-crt-exponent"),
    pytest.param(make_jwk(dq=1), "private", id="second-crt-exponent"),
    pytest.param(make_jwk(qi="AQAB"), "private", id="crt-coefficient"),
    pytest.param(make_jwk(oth=[]), "private", id="other-primes"),
    pytest.param(make_jwk(kid=...), "key_id", id="key-id-missing"),
    pytest.param(make_jwk(kid=""), "key_id", id="key-id-empty"),
    pytest.param(make_jwk(kid=None), "key_id", id="key-id-null"),
    pytest.param(make_jwk(kid=7), "key_id", id="key-id-number"),
    pytest.param(make_jwk(kid=["k"]), "key_id", id="key-id-list"),
    pytest.param(make_jwk(kid="k" * 513), "key_id", id="key-id-of-513"),
    pytest.param(make_jwk(alg="RS512"), "algorithm", id="algorithm-of-the-family"),
    pytest.param(make_jwk(alg="PS256"), "algorithm", id="algorithm-pss"),
    pytest.param(make_jwk(alg="rs256"), "algorithm", id="algorithm-in-lower-case"),
    pytest.param(make_jwk(alg=None), "algorithm", id="algorithm-null"),
    pytest.param(make_jwk(alg=["RS256"]), "algorithm", id="algorithm-list"),
    pytest.param(make_jwk(use="enc"), "use", id="use-encryption"),
    pytest.param(make_jwk(use=None), "use", id="use-null"),
    pytest.param(make_jwk(use=["sig"]), "use", id="use-list"),
    pytest.param(make_jwk(key_ops=[]), "use", id="no-operations"),
    pytest.param(make_jwk(key_ops=["sign", "encrypt"]), "use", id="other-operations"),
    pytest.param(make_jwk(key_ops="verify"), "use", id="operations-text"),
    pytest.param(make_jwk(key_ops=None), "use", id="operations-null"),
    pytest.param(make_jwk(key_ops={"verify": 1}), "use", id="operations-object"),
    pytest.param(make_jwk(n=...), "malformed", id="modulus-missing"),
    pytest.param(make_jwk(n=None), "malformed", id="modulus-null"),
    pytest.param(make_jwk(n=MODULUS), "malformed", id="modulus-number"),
    pytest.param(make_jwk(n=""), "malformed", id="modulus-empty"),
    pytest.param(make_jwk(n=encode_number(MODULUS) + "="), "malformed", id="modulus-padded"),
    pytest.param(make_jwk(n=encode_number(MODULUS) + "\n"), "malformed", id="modulus-newline"),
    pytest.param(make_jwk(n="é" + encode_number(MODULUS)), "malformed", id="modulus-not-ascii"),
    pytest.param(make_jwk(n="++++" + encode_number(MODULUS)), "malformed", id="modulus-base64"),
    pytest.param(make_jwk(n="A" * 2052), "malformed", id="modulus-too-long-to-decode"),
    pytest.param(make_jwk(n="A" * 1_000_000), "malformed", id="modulus-of-a-megabyte"),
    pytest.param(make_jwk(n="A" * 2048), "modulus", id="modulus-zero"),
    pytest.param(make_jwk(bits=2047), "modulus", id="2047-bits"),
    pytest.param(make_jwk(bits=1024), "modulus", id="1024-bits"),
    pytest.param(make_jwk(bits=8193), "modulus", id="8193-bits"),
    pytest.param(make_jwk(n=encode_number(MODULUS + 1)), "modulus", id="modulus-even"),
    pytest.param(make_jwk(e=...), "malformed", id="exponent-missing"),
    pytest.param(make_jwk(e=65537), "malformed", id="exponent-number"),
    pytest.param(make_jwk(e="AQABA"), "malformed", id="exponent-with-unused-bits"),
    pytest.param(make_jwk(e="Aw"), "exponent", id="exponent-3"),
    pytest.param(make_jwk(e=encode_number(65538)), "exponent", id="exponent-even"),
    pytest.param(make_jwk(e=encode_number(2**33 + 1)), "exponent", id="exponent-of-34-bits"),
]


@pytest.mark.parametrize(("entry", "reason"), UNUSABLE)
def test_unusable_key_is_skipped_and_counted(entry, reason):
    good = make_jwk(1000, kid="ins_good")
    for entries in ([entry, good], [good, entry]):
        key_set = parse(*entries)
        assert kids(key_set) == ["ins_good"]
        assert key_set.skipped == {reason: 1}


def test_every_reason_has_a_row():
    rows = {row.values[1] for row in UNUSABLE}
    assert rows | {"repeated", "too_many_for_key_id"} == set(SKIP_REASONS)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="only-what-is-needed"),
        pytest.param({"use": "sig"}, id="use-signature"),
        pytest.param({"alg": "RS256"}, id="algorithm"),
        pytest.param({"key_ops": ["verify"]}, id="operation-verify"),
        pytest.param({"key_ops": ["encrypt", "verify", 1, {}]}, id="operations-with-verify"),
        pytest.param({"x5c": ["junk"], "x5u": 1, "x5t": None, "exp": 0}, id="unknown-members"),
        pytest.param({"x": {"a": [1, {}]}}, id="nested-unknown-member"),
        pytest.param({"kid": "k"}, id="key-id-of-1"),
        pytest.param({"kid": "k" * 511}, id="key-id-of-511"),
        pytest.param({"kid": "k" * 512}, id="key-id-of-512"),
        pytest.param({"kid": "\ud800"}, id="key-id-of-a-surrogate"),
        pytest.param({"bits": 8192}, id="8192-bits"),
        pytest.param({"e": encode_number(2**33 - 1)}, id="exponent-of-33-bits"),
    ],
)
def test_usable_key_is_taken(members):
    jwk = make_jwk(**members)
    key_set = parse(jwk)
    assert kids(key_set) == [jwk["kid"]]
    assert key_set.skipped == {}


def test_key_is_built_from_its_numbers_alone():
    (key,) = parse(make_jwk(x5c=["junk"], use="sig", extra="x")).keys
    assert key.to_jwk() == make_jwk(use="sig", alg="RS256")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="same-entry"),
        pytest.param({"kid": "other"}, id="another-key-id"),
        pytest.param({"n": encode_base64url(bytes(2) + MODULUS.to_bytes(256))}, id="leading-zeros"),
        pytest.param({"use": "sig", "alg": "RS256"}, id="more-members"),
    ],
)
def test_of_equal_keys_the_first_is_kept(members):
    key_set = parse(make_jwk(), make_jwk(**members), make_jwk(1))
    assert kids(key_set) == ["ins_0", "ins_1"]
    assert key_set.skipped == {"repeated": 1}


def test_private_key_does_not_take_the_place_of_its_public_half():
    key_set = parse(make_jwk(kid="private", d="AQAB"), make_jwk(kid="public"))
    assert kids(key_set) == ["public"]


def test_ambiguous_key_is_skipped_and_the_others_are_kept():
    good, other = json.dumps(make_jwk(1)), json.dumps(make_jwk(2))
    ambiguous = other[:-1] + ', "e": "Aw"}'
    key_set = parse_jwks(f'{{"keys": [{ambiguous}, {good}]}}'.encode())
    assert kids(key_set) == ["ins_1"]
    assert key_set.skipped == {"malformed": 1}


@pytest.mark.parametrize("count", [255, 256])
def test_document_of_up_to_256_keys_is_taken(count):
    assert len(parse(*map(make_jwk, range(count))).keys) == count


@pytest.mark.parametrize("extra", [make_jwk(MAX_KEYS), None, {}], ids=["usable", "null", "empty"])
def test_document_of_257_keys_is_refused_usable_or_not(extra):
    with pytest.raises(KeySetInvalid) as caught:
        parse(*map(make_jwk, range(MAX_KEYS)), extra)
    assert caught.value.reason == "too_many_keys"


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_key_id_keeps_its_first_four_keys(count):
    key_set = parse(*(make_jwk(number, kid="shared") for number in range(count)), make_jwk(99))
    kept = [key.to_jwk()["n"] for key in key_set.by_kid["shared"]]
    assert kept == [make_jwk(number)["n"] for number in range(min(count, MAX_KEYS_PER_KID))]
    assert key_set.skipped == ({"too_many_for_key_id": count - 4} if count > 4 else {})
    assert len(key_set.by_kid["ins_99"]) == 1


def test_unusable_and_repeated_keys_do_not_count_for_their_key_id():
    weak = [make_jwk(bits=1024, kid="shared")] * 4
    first = [make_jwk(0, kid="shared")] * 4
    key_set = parse(*weak, *first, *(make_jwk(number, kid="shared") for number in (1, 2, 3)))
    assert len(key_set.by_kid["shared"]) == 4
    assert key_set.skipped == {"modulus": 4, "repeated": 3}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        pytest.param(b"", "not_json", id="empty"),
        pytest.param(b"<html></html>", "not_json", id="html"),
        pytest.param(b"[]", "not_json", id="list"),
        pytest.param(b'{"keys":[],"keys":[]}', "not_json", id="two-lists"),
        pytest.param(b"{}", "not_a_key_set", id="no-list"),
        pytest.param(b'{"keys":null}', "not_a_key_set", id="null"),
        pytest.param(b'{"keys":{}}', "not_a_key_set", id="object"),
        pytest.param(b'{"keys":"keys"}', "not_a_key_set", id="text"),
        pytest.param(b'{"Keys":[]}', "not_a_key_set", id="upper-case"),
        pytest.param(b'{"keys":[]}', "no_usable_key", id="empty-list"),
        pytest.param(b'{"keys":[null,1,{}]}', "no_usable_key", id="nothing-usable"),
    ],
)
def test_document_without_a_usable_key_is_refused(document, reason):
    with pytest.raises(KeySetInvalid) as caught:
        parse_jwks(document)
    assert caught.value.reason == reason


def is_read(document: bytes) -> bool:
    try:
        return kids(parse_jwks(document)) == ["ins_0"]
    except KeySetInvalid:
        return False


def test_hostile_document_is_refused_unless_one_member_is_at_fault():
    document = json.dumps({"keys": [make_jwk()]}).encode()
    assert is_read(document)
    assert {
        name for name, damage in HOSTILE_JSON.items() if is_read(damage(document))
    } == ENTRY_AT_FAULT


@pytest.mark.parametrize(
    "number", ["NaN", "1e999", "-1e999", "9" * 5000], ids=lambda text: text[:5]
)
@pytest.mark.parametrize(("member", "count"), [("x", 2), ("alg", 1), ("n", 1)])
def test_wild_number_in_one_key_keeps_the_others(member, count, number):
    jwks = json.dumps({"keys": [make_jwk(1), {**make_jwk(2), member: "NUMBER"}]})
    key_set = parse_jwks(jwks.replace('"NUMBER"', number).encode())
    assert kids(key_set) == ["ins_1", "ins_2"][:count]


# A key set.


def test_key_is_found_by_its_exact_id_alone():
    key_set = parse(make_jwk(1, kid="ins_A"), make_jwk(2, kid="ins_B"))
    assert [key.kid for key in key_set.by_kid["ins_B"]] == ["ins_B"]
    assert set(key_set.by_kid).isdisjoint({"ins_a", "ins_", "", "ins_C"})


def test_key_set_cannot_be_changed():
    key_set = parse(make_jwk(), make_jwk(kid="x", bits=1024))
    with pytest.raises(AttributeError):
        key_set.keys = ()
    with pytest.raises(TypeError):
        key_set.skipped["modulus"] = 0
    assert isinstance(key_set.keys, tuple)


def test_thumbprints_tell_sets_apart():
    one, other = parse(make_jwk(1), make_jwk(2)), parse(make_jwk(1), make_jwk(3))
    assert len(one.thumbprints) == len(other.thumbprints) == 2
    assert len(one.thumbprints & other.thumbprints) == 1


def test_key_set_survives_its_document():
    key_set = parse(*map(make_jwk, range(3)), make_jwk(9, kid="x", bits=1024))
    again = parse_jwks(json.dumps(key_set.to_jwks()).encode())
    assert again.to_jwks() == key_set.to_jwks()
    assert again.thumbprints == key_set.thumbprints
    assert again.skipped == {}


def test_document_holds_public_members_alone(local_issuer):
    (jwk,) = KeySet((local_issuer.verifying_key,)).to_jwks()["keys"]
    assert set(jwk) == {"kty", "use", "alg", "kid", "n", "e"}


def test_hash_of_a_key_id_is_short_and_takes_any_text():
    hashes = {hash_kid(kid) for kid in ("a", "b", "", "\ud800", "\r\n", "k" * 512)}
    assert len(hashes) == 6
    assert all(len(digest) == 8 and int(digest, 16) >= 0 for digest in hashes)


def test_description_is_json_without_the_key_itself(local_issuer):
    described = describe_key(local_issuer.verifying_key)
    assert described["kid"] == local_issuer.kid
    assert described["kid_sha256"] == hash_kid(local_issuer.kid)
    assert described["thumbprint"] == local_issuer.verifying_key.thumbprint
    assert described["bits"] == 2048
    assert local_issuer.jwk["n"] not in json.dumps(described)


def test_description_of_a_key_from_pem_has_no_key_id(local_issuer):
    described = describe_key(load_public_key(local_issuer.public_pem))
    assert (described["kid"], described["kid_sha256"]) == (None, None)


# A public key of JWT_KEY.


def public_pem(numbers: RSAPublicNumbers, public_format=PublicFormat.SubjectPublicKeyInfo) -> str:
    return numbers.public_key().public_bytes(Encoding.PEM, public_format).decode()


def with_algorithm(oid: str) -> str:
    """Return the key with another algorithm's object identifier in place of rsaEncryption's."""
    der = b64decode(body_of(PEM))
    assert der.count(RSA_ENCRYPTION) == 1
    return b64encode(der.replace(RSA_ENCRYPTION, bytes.fromhex(oid))).decode()


RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")
PEM = public_pem(RSAPublicNumbers(65537, MODULUS))
PKCS1 = public_pem(RSAPublicNumbers(65537, MODULUS), PublicFormat.PKCS1)


def body_of(pem: str) -> str:
    return "".join(pem.splitlines()[1:-1])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PEM, id="pem"),
        pytest.param(PEM.strip(), id="pem-without-last-newline"),
        pytest.param("\n  " + PEM + "\n", id="pem-with-blanks-around"),
        pytest.param(PEM.replace("\n", "\r\n"), id="pem-of-windows"),
        pytest.param(PEM.replace("\n", "\\n"), id="one-line-with-escapes"),
        pytest.param(PEM.replace("\n", " "), id="one-line-with-blanks"),
        pytest.param(PEM.replace("\n", ""), id="one-line"),
        pytest.param(body_of(PEM), id="bare-body"),
        pytest.param("\n".join(PEM.splitlines()[1:-1]), id="bare-body-in-lines"),
        pytest.param(PKCS1, id="pkcs1"),
        pytest.param(PKCS1.replace("\n", "\\n"), id="pkcs1-one-line-with-escapes"),
    ],
)
def test_public_key_is_read_in_every_form_it_comes_in(text):
    key = load_public_key(text)
    assert (key.kid, key.bits) == ("", 2048)
    assert key.to_jwk()["n"] == encode_number(MODULUS)
    assert key.to_jwk()["e"] == "AQAB"


def test_pem_and_jwk_of_one_key_have_one_thumbprint(local_issuer):
    key = load_public_key(local_issuer.public_pem)
    assert key.thumbprint == local_issuer.verifying_key.thumbprint
    assert key.to_pem() == local_issuer.verifying_key.to_pem()


def test_loaded_key_verifies(local_issuer, make_token):
    key = load_public_key(local_issuer.public_pem)
    assert verify(make_token(), [key], kid_required=False).issuer == ISSUER


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(body_of(PKCS1), id="bare-body"),
        pytest.param(PKCS1.replace("RSA PUBLIC", "PUBLIC"), id="under-the-other-label"),
    ],
)
def test_pkcs1_is_read_only_where_its_label_says_so(text):
    with pytest.raises(ValueError, match="not a PEM public key"):
        load_public_key(text)


def private_pem(key, private_format: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, private_format, NoEncryption()).decode()


def pem_of(key) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "private_format",
    [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL],
    ids=["pkcs8", "pkcs1"],
)
@pytest.mark.parametrize("form", [str, body_of], ids=["pem", "bare-body"])
def test_private_key_is_refused(private_format, form, local_issuer):
    pem = private_pem(local_issuer._private_key, private_format)
    with pytest.raises(ValueError, match="not a PEM public key") as caught:
        load_public_key(form(pem))
    assert body_of(pem)[:16] not in str(caught.value)


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(pem_of(ec.generate_private_key(ec.SECP256R1()).public_key()), id="ec"),
        pytest.param(pem_of(ed25519.Ed25519PrivateKey.generate().public_key()), id="ed25519"),
    ],
)
def test_key_of_another_kind_is_refused(pem):
    with pytest.raises(ValueError, match="not an RSA key"):
        load_public_key(pem)


@pytest.mark.parametrize(
    ("bits", "exponent", "reason"),
    [
        (1024, 65537, "modulus"),
        (2047, 65537, "modulus"),
        (8193, 65537, "modulus"),
        (2048, 3, "exponent"),
    ],
)
def test_weak_public_key_is_refused(bits, exponent, reason):
    pem = public_pem(RSAPublicNumbers(exponent, (1 << bits - 1) + 1))
    assert unusable_reason(lambda: load_public_key(pem)) == reason


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("  ", id="blank"),
        pytest.param("secret", id="word"),
        pytest.param("sk_test_abcdefgh", id="secret-key"),
        pytest.param("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", id="publishable-key"),
        pytest.param(json.dumps(make_jwk()), id="jwk"),
        pytest.param(PEM.replace("PUBLIC KEY", "CERTIFICATE"), id="certificate"),
        pytest.param(PEM.splitlines()[0] + "\n" + PEM.splitlines()[-1], id="without-body"),
        pytest.param(PEM.replace("M", "-", 1), id="other-alphabet"),
        pytest.param(body_of(PEM)[:-8], id="cut-off"),
        pytest.param("A" + body_of(PEM), id="shifted"),
        pytest.param(body_of(PEM)[:8] + "=" + body_of(PEM)[8:], id="padding-inside"),
        pytest.param(body_of(PEM)[:8] + "==" + body_of(PEM)[8:], id="two-paddings-inside"),
        pytest.param(body_of(PEM)[:7] + "=" + body_of(PEM)[8:], id="padding-in-place"),
        pytest.param("=" + body_of(PEM), id="padding-before"),
        pytest.param(with_algorithm("2a864886f70d01017f"), id="algorithm-unknown"),
        pytest.param(with_algorithm("2a030405060708090a"), id="algorithm-of-nobody"),
        pytest.param("====", id="padding-alone"),
        pytest.param(PEM + PEM, id="two-keys"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param(PEM.replace("A", "А", 1), id="look-alike"),
    ],
)
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(ValueError, match="not a PEM public key"):
        load_public_key(text)
