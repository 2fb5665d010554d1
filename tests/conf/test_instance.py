"""Whose tokens: every form that these settings may have, and what is said about every other one."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from clerk_auth.conf import instance
from clerk_auth.conf.readers import Refused
from tests.conf.test_readers import hint_of, message_of

pytestmark = pytest.mark.integration


def publishable(text: str, kind: str = "live") -> str:
    return f"pk_{kind}_{base64.b64encode(text.encode()).decode()}"


# Domains


@pytest.mark.parametrize(
    "domain",
    [
        "clerk.example.com",
        "adapted-tern-12.clerk.accounts.dev",
        "xn--bcher-kva.example",
        "a" * 62 + ".example",
        "a" * 63 + ".example",
        ".".join(["a" * 49] * 5) + ".as",
        ".".join(["a" * 49] * 5) + ".asi",
    ],
)
def test_domain_is_taken_as_it_is(domain):
    assert instance.read_domain(domain) == domain


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("https://clerk.example.com", "clerk.example.com"),
        ("http://clerk.example.com/", "clerk.example.com"),
        ("//clerk.example.com", "clerk.example.com"),
        ("clerk.example.com/", "clerk.example.com"),
        ("clerk.example.com/v1?a=b#c", "clerk.example.com"),
        ("clerk.example.com:443", "clerk.example.com"),
        ("https://somebody:secret@clerk.example.com", "clerk.example.com"),
        ("Clerk.Example.COM", "clerk.example.com"),
        (" clerk.example.com\n", "clerk.example.com"),
    ],
)
def test_domain_with_more_is_refused_with_the_corrected_value(text, domain):
    assert hint_of(instance.read_domain, text) == f'Write "{domain}".'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("clerk", id="no-dot"),
        pytest.param("clerk.example.c", id="short-top-level"),
        pytest.param("-clerk.example.com", id="leading-hyphen"),
        pytest.param("clerk-.example.com", id="trailing-hyphen"),
        pytest.param("clerk..example.com", id="empty-label"),
        pytest.param("clerk.example.com.", id="trailing-dot"),
        pytest.param("cl erk.example.com", id="blank"),
        pytest.param("clerk_api.example.com", id="underscore"),
        pytest.param("127.0.0.1", id="address"),
        pytest.param("[::1]", id="address-v6"),
        pytest.param("https://", id="scheme-alone"),
        pytest.param("сlerk.example.com", id="cyrillic"),
        pytest.param("a" * 64 + ".example", id="label-too-long"),
        pytest.param(".".join(["a" * 49] * 5) + ".asia", id="too-long"),
    ],
)
def test_string_without_a_domain_is_refused_with_an_example(text):
    assert "clerk.example.com" in hint_of(instance.read_domain, text)


@pytest.mark.parametrize("text", ["[", "https://[clerk", "clerk.example℀.com"])
def test_string_that_no_url_parser_takes_is_refused_too(text):
    assert "clerk.example.com" in hint_of(instance.read_domain, text)


# Publishable keys


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        (publishable("clerk.example.com$"), "clerk.example.com"),
        (publishable("clerk.example.com$").rstrip("="), "clerk.example.com"),
        (
            publishable("adapted-tern-12.clerk.accounts.dev$", "test"),
            "adapted-tern-12.clerk.accounts.dev",
        ),
        ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA==", "clerk.clerk.dev"),
        ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", "clerk.clerk.dev"),
    ],
)
def test_publishable_key_names_its_domain(key, domain):
    assert instance.read_publishable_key(key) == domain


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(publishable("clerk.example.com"), id="no-dollar"),
        pytest.param(publishable("clerk.example.com$$"), id="two-dollars"),
        pytest.param(publishable("$clerk.example.com$"), id="dollar-in-front"),
        pytest.param(publishable("clerk.example.com$extra"), id="text-after-dollar"),
        pytest.param(publishable("invalidkey$"), id="no-dot"),
        pytest.param(publishable("$"), id="dollar-alone"),
        pytest.param(publishable("https://clerk.example.com$"), id="url-inside"),
        pytest.param(publishable("clerk.exämple.com$"), id="not-ascii-inside"),
        pytest.param("pk_live_", id="nothing-inside"),
        pytest.param("pk_live_A", id="impossible-length"),
        pytest.param("pk_live_inva!id", id="not-base64"),
        pytest.param("pk_live_Y2xl_cmsu", id="base64url"),
        pytest.param(publishable("clerk.example.com$", "prod"), id="unknown-kind"),
        pytest.param(publishable("clerk.example.com$").replace("pk_", "sk_"), id="secret-key"),
        pytest.param("clerk.example.com", id="domain"),
    ],
)
def test_other_string_is_not_a_publishable_key(key):
    assert "pk_live_ or pk_test_" in hint_of(instance.read_publishable_key, key)


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "https://clerk.example.com/.well-known/jwks.json",
        "https://clerk.example.com:8443/keys?instance=1",
        "http://localhost:8000/keys",
        "http://127.0.0.1/keys",
        "http://127.1.2.3/keys",
        "http://[::1]:8000/keys",
    ],
)
def test_https_url_is_taken_and_http_on_loopback(url):
    assert instance.read_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://clerk.example.com/keys",
        "http://localhost.example.com/keys",
        "http://127.0.0.1.example.com/keys",
        "http://0.0.0.0/keys",
        "http://10.0.0.1/keys",
        "http://[::2]/keys",
    ],
)
def test_plain_http_off_loopback_is_refused_as_such(url):
    with pytest.raises(Refused) as caught:
        instance.read_url(url)
    assert caught.value.plain_http
    assert "https" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("clerk.example.com/keys", id="no-scheme"),
        pytest.param("//clerk.example.com/keys", id="scheme-relative"),
        pytest.param("ftp://clerk.example.com/keys", id="ftp"),
        pytest.param("file:///etc/keys.json", id="file"),
        pytest.param("data:application/json,{}", id="data"),
        pytest.param("https:///keys", id="no-host"),
        pytest.param("https://user@clerk.example.com/keys", id="user"),
        pytest.param("https://user:secret@clerk.example.com/keys", id="password"),
        pytest.param("https://clerk.example.com:99999/keys", id="port-out-of-range"),
        pytest.param("https://[::1/keys", id="broken-address"),
        pytest.param("https://clerk.example℀.com/keys", id="normalizes-to-a-slash"),
        pytest.param("https://clerk.example.com/ke ys", id="blank"),
        pytest.param("https://clerk.example.com/ke\tys", id="tab"),
        pytest.param("https://clerk.example.com/ke\\ys", id="backslash"),
        pytest.param("https://clerk.example.com/keys#first", id="fragment"),
    ],
)
def test_other_string_is_not_a_url_and_no_matter_of_http(url):
    with pytest.raises(Refused) as caught:
        instance.read_url(url)
    assert caught.value.hint
    assert not caught.value.plain_http


# Issuers


@pytest.mark.parametrize(
    ("value", "issuers"),
    [
        ("https://clerk.example.com", ("https://clerk.example.com",)),
        (
            ["https://clerk.example.com", "https://app.example.com/__clerk"],
            ("https://clerk.example.com", "https://app.example.com/__clerk"),
        ),
        (("https://a.example", "https://a.example"), ("https://a.example",)),
    ],
)
def test_issuer_is_one_string_or_a_list_of_aliases(value, issuers):
    assert instance.read_issuers(value) == issuers


@pytest.mark.parametrize("value", ["https://clerk.example.com/", ["https://clerk.example.com//"]])
def test_issuer_with_trailing_slash_is_refused_with_the_corrected_value(value):
    assert hint_of(instance.read_issuers, value) == 'Write "https://clerk.example.com".'


@pytest.mark.parametrize("value", [[], (), "", ["https://a.example", ""], [None], {"a": 1}, {"a"}])
def test_issuer_is_never_nothing(value):
    assert hint_of(instance.read_issuers, value)


# Origins


@pytest.mark.parametrize(
    "origins",
    [
        [],
        ["https://app.example.com"],
        ["https://app.example.com:8443", "http://localhost:3000"],
        ["chrome-extension://abcdefghijklmnop", "capacitor://localhost"],
    ],
)
def test_origins_are_taken_as_they_are(origins):
    assert instance.read_parties(origins) == tuple(origins)
    assert instance.read_parties(tuple(origins)) == tuple(origins)


def test_one_origin_as_bare_string_is_refused_with_the_corrected_value():
    assert hint_of(instance.read_parties, "https://a.example") == 'Write ["https://a.example"].'


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://app.example.com/", "https://app.example.com"),
        ("https://app.example.com/path?a=b", "https://app.example.com"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("app.example.com", "https://app.example.com"),
        ("app.example.com/", "https://app.example.com"),
        ("localhost:3000", "https://localhost:3000"),
    ],
)
def test_entry_that_is_no_origin_is_refused_with_the_corrected_value(entry, origin):
    """Which entry it is, its number says: to quote it could be to quote a secret."""
    parties = ["https://good.example", "https://good.example", entry]
    assert message_of(instance.read_parties, parties).endswith("number 3.")
    assert f'write "{origin}"' in hint_of(instance.read_parties, parties)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://*.example.com", None),
        ("*", None),
        ("https://", None),
        ("my-app://", None),
        ("https:app.example.com", "https://app.example.com"),
        ("https://user@app.example.com", "https://app.example.com"),
        ("HTTPS://app.example.com", "https://app.example.com"),
    ],
)
def test_correction_is_the_origin_that_was_meant_or_none_at_all(entry, origin):
    hint = hint_of(instance.read_parties, [entry])
    written = re.search(r'write "([^"]*)"', hint)
    assert (written[1] if written else None) in (origin, None)
    assert written or "scheme and host" in hint


# Keys


def pem(public_key, form="SubjectPublicKeyInfo") -> str:
    form = getattr(serialization.PublicFormat, form)
    return public_key.public_bytes(serialization.Encoding.PEM, form).decode()


def body(text: str) -> str:
    return "".join(text.strip().splitlines()[1:-1])


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda key: pem(key).strip(), id="pem"),
        pytest.param(lambda key: pem(key).strip().replace("\n", "\r\n"), id="crlf"),
        pytest.param(lambda key: pem(key).strip().replace("\n", "\\n"), id="escapes"),
        pytest.param(lambda key: pem(key).replace("\n", " ").strip(), id="blanks"),
        pytest.param(lambda key: body(pem(key)), id="bare-body"),
        pytest.param(lambda key: pem(key, "PKCS1").strip(), id="pkcs1"),
        pytest.param(lambda key: [pem(key).strip()], id="list"),
    ],
)
def test_public_key_is_read_in_every_form(private_key, write):
    (key,) = instance.read_jwt_keys(write(private_key.public_key()))
    assert key.to_pem().decode() == pem(private_key.public_key())
    assert key.kid == ""


@pytest.mark.parametrize(("count", "is_read"), [(3, True), (4, True), (5, False)])
def test_at_most_four_keys_are_tried(private_key, count, is_read):
    # Blanks make texts differ; the keys may be equal.
    text = body(pem(private_key.public_key()))
    texts = [text[:n] + " " + text[n:] for n in range(1, count + 1)]
    if is_read:
        assert len(instance.read_jwt_keys(texts)) == count
    else:
        assert "4" in hint_of(instance.read_jwt_keys, texts)


def private_pem(key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda key: private_pem(key).strip(), id="private"),
        pytest.param(
            lambda key: pem(ec.generate_private_key(ec.SECP256R1()).public_key()).strip(),
            id="elliptic",
        ),
        pytest.param(
            lambda key: pem(rsa.generate_private_key(65537, 1024).public_key()).strip(), id="weak"
        ),
        pytest.param(lambda key: pem(key.public_key())[:-60].strip(), id="cut"),
        pytest.param(lambda key: body(pem(key.public_key()))[:-8], id="bare-body-cut"),
        pytest.param(lambda key: "sk_live_" + 10 * "0", id="secret-key"),
        pytest.param(lambda key: "not a key, äöü", id="prose"),
        pytest.param(lambda key: [body(pem(key.public_key())), "x"], id="second-of-two"),
    ],
)
def test_what_is_no_strong_public_key_is_refused_and_never_quoted(private_key, write):
    value = write(private_key)
    with pytest.raises(Refused) as caught:
        instance.read_jwt_keys(value)
    assert "PEM public key" in caught.value.hint
    said = caught.value.message + caught.value.hint
    assert all(text[-20:] not in said for text in ([value] if isinstance(value, str) else value))
