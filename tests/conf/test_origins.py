"""Origins in the spelling of a browser, and what has none."""

from __future__ import annotations

import pytest

from clerk_auth.conf.instance import is_origin
from clerk_auth.conf.origins import is_site, write_origin

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        # Capitals, default ports, what stands around an origin.
        ("https://App.Example.COM", "https://app.example.com"),
        ("HTTPS://app.example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("https://app.example.com:0443", "https://app.example.com"),
        ("https://app.example.com:", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("https://app.example.com:08443", "https://app.example.com:8443"),
        ("https://app.example.com/path?a=b#c", "https://app.example.com"),
        ("https://app.example.com?a=b", "https://app.example.com"),
        ("https://app.example.com\\path", "https://app.example.com"),
        ("https://user:password@app.example.com", "https://app.example.com"),
        ("https:app.example.com", "https://app.example.com"),
        ("https:/app.example.com", "https://app.example.com"),
        ("app.example.com", "https://app.example.com"),
        ("app.example.com:8443/", "https://app.example.com:8443"),
        ("localhost:3000", "https://localhost:3000"),
        ("wss://app.example.com", "https://app.example.com"),
        ("ws://localhost:3000/socket", "http://localhost:3000"),
        ("https://app.example.com.", "https://app.example.com"),
        ("https://ex%61mple.com", "https://example.com"),
        ("https://a_b.example", "https://a_b.example"),
        # Internationalised hosts: UTS #46 without the rules of transition.
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://bu\u0308cher.example", "https://xn--bcher-kva.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://例え.テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("https://例え。テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("https://☃.example", "https://xn--n3h.example"),
        ("https://\u212a.example", "https://k.example"),
        ("https://exa\u00admple.com", "https://example.com"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://XN--BCHER-KVA.example", "https://xn--bcher-kva.example"),
        # Addresses.
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("https://127.1", "https://127.0.0.1"),
        ("https://0x7f.0.0.1", "https://127.0.0.1"),
        ("https://0177.0.0.01", "https://127.0.0.1"),
        ("https://2130706433", "https://127.0.0.1"),
        ("https://１２７.0.0.1", "https://127.0.0.1"),
        ("https://[::1]", "https://[::1]"),
        ("https://[0:0::0001]:443", "https://[::1]"),
        ("https://[2001:DB8::0:1]", "https://[2001:db8::1]"),
        ("https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]"),
        ("https://[::ffff:7f00:1]", "https://[::ffff:7f00:1]"),
        # Schemes of extensions and apps.
        ("chrome-extension://ABCDEFGHIJKLMNOP", "chrome-extension://abcdefghijklmnop"),
        ("moz-extension://0A1B", "moz-extension://0a1b"),
        ("safari-web-extension://0A1B-2C3D", "safari-web-extension://0A1B-2C3D"),
        ("CAPACITOR://localhost/", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("com.example.app://Host:8080", "com.example.app://Host:8080"),
    ],
)
def test_origin_is_written_as_a_browser_sends_it(written, sent):
    assert write_origin(written) == sent
    assert write_origin(sent) == sent
    assert is_origin(sent)
    assert is_origin(written) == (written == sent)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "https://", "https:///", "https://:443", "https://@", "//", "https://."),
        *("*", "https://*", "https://*.example.com", "https://app-*.example.com"),
        *("https://a.example,https://b.example", "https://a.example,b.example"),
        *("https://a.example https://b.example", "https://a .example", "https://a..example"),
        *("https://a.example:65536", "https://a.example:999999", "https://a.example:x"),
        *("https://256.0.0.1", "https://1.2.3.4.5", "https://0x.0x100.1.1", "https://09.1"),
        *("https://4294967296", "https://1.16777216", "https://" + "9" * 5000),
        *(
            "https://[::1",
            "https://::1",
            "https://[]",
            "https://[1.2.3.4]",
            "https://[fe80::1%25a]",
        ),
        *("https://xn--.example", "https://xn--a.example", "https://xn--abc-.example"),
        *("https://xn--99999999999.example", "https://a\u0378.example", "https://%ff.example"),
        *("https://" + "a" * 64 + ".example", "https://" + "a." * 127 + "example"),
        *("file:///etc/hosts", "file://host", "data://a", "blob://a", "ftp://a.example"),
        *("my-app://", "my-app://a/../b c", "my-app://bücher", "my-app://a,b"),
    ],
)
def test_what_no_browser_sends_is_none(text):
    origin = write_origin(text)
    assert origin is None or (origin != text and "://a" in origin)
    assert not is_origin(text)


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS", "ws", "file", "capacitor"])
@pytest.mark.parametrize(
    "host", ["app.example.com", "localhost", "a.b", "xn--a.example", "1.example"]
)
@pytest.mark.parametrize(
    "port", ["", *(f":{port}" for port in (0, 80, 443, 999, 1000, "0443", 9999, 10000, 65536))]
)
def test_what_is_plainly_an_origin_is_one(scheme, host, port):
    """Most are told by a short expression, which must agree with all the rules of a browser."""
    text = f"{scheme}://{host}{port}"
    assert is_origin(text) == (write_origin(text) == text)


@pytest.mark.parametrize(
    ("origin", "is_one"),
    [
        ("https://app.example.com:8443", True),
        ("http://localhost:3000", True),
        ("capacitor://localhost", True),
        ("https://127.0.0.1", True),
        ("https://[::1]:8443", True),
        ("https://intranet", False),
        ("https://sk_live_x", False),
        ("https://a_b.example", False),
        ("https://192.0.2", False),
        ("secret://app.example.com", False),
        ("https://", False),
        ("", False),
    ],
)
def test_site_is_what_holds_no_secret(origin, is_one):
    assert is_site(origin) == is_one
