"""Origins as a browser writes them: https://url.spec.whatwg.org, section 3.5 and 4.7."""

from __future__ import annotations

import ipaddress
import re
from importlib import import_module
from urllib.parse import unquote

from clerk_auth.conf.domains import is_domain

__all__ = ["is_site", "write_origin"]

_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)|(https?):(?!//)/?(.*)", re.DOTALL | re.I)
_AUTHORITY = re.compile(r"(?:[^@]*@)?(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_OPAQUE_HOST = re.compile(r"[A-Za-z0-9._~-]+")

_DEFAULT_PORTS = {"http": 80, "https": 443}
# A page's origin is never of these: the first two become http and https, the others have none.
_SOCKETS = {"ws": "http", "wss": "https"}
_WITHOUT_ORIGIN = frozenset({"about", "blob", "data", "file", "ftp", "javascript", "mailto"})
# Extensions, whose ids are written in small letters; other schemes keep their host as it is.
_EXTENSIONS = frozenset({"chrome-extension", "moz-extension"})


def is_site(origin: str) -> bool:
    """Tell whether an origin names a domain, localhost or an address: one that holds no secret."""
    scheme, _, authority = origin.partition("://")
    host = authority.partition("]")[0] + "]" if "[" in authority else authority.partition(":")[0]
    is_address = host.startswith("[") or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", host) is not None
    known = {*_DEFAULT_PORTS, "capacitor", "ionic"}
    return scheme in known and (is_address or host == "localhost" or is_domain(host))


def write_origin(text: str) -> str | None:
    """Return the origin that ``text`` names, as a browser sends it in ``Origin``.

    Without a scheme https is meant; what follows the host is left out. ``None`` where there is no
    such origin. A text that is equal to what is returned can be compared with an ``Origin``.
    """
    scheme, rest = "https", text
    if found := _SCHEME.fullmatch(text):
        scheme, rest = (found[1] or found[3]).lower(), found[2] or found[4] or ""
    scheme = _SOCKETS.get(scheme, scheme)
    authority = _AUTHORITY.fullmatch(re.split(r"[/?#\\]", rest, maxsplit=1)[0])
    if authority is None or scheme in _WITHOUT_ORIGIN:
        return None
    host, port = authority[1], int(authority[2] or 0)
    if scheme in _DEFAULT_PORTS:
        host = _write_host(host) or ""
    elif not _OPAQUE_HOST.fullmatch(host):
        return None
    elif scheme in _EXTENSIONS:
        host = host.lower()
    if not host or port > 65535:
        return None
    is_default = port in (0, _DEFAULT_PORTS.get(scheme))
    return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{port}"


def _write_host(host: str) -> str | None:
    if host.startswith("["):
        return _write_ipv6(host[1:-1])
    host = _to_ascii(unquote(host)).removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _write_ipv4(labels)
    is_host = len(host) <= 253 and all(map(_LABEL.fullmatch, labels))
    return host if is_host and all(map(_is_readable, labels)) else None


def _to_ascii(host: str) -> str:
    """Map a host as UTS #46 does, without the rules of transition; empty where it forbids it."""
    if not host.isascii():
        try:
            # It comes with requests, and its tables are large: only who needs them loads them.
            idna = import_module("idna")
            host = idna.uts46_remap(host, std3_rules=False, transitional=False)
        except (ImportError, UnicodeError):  # what UTS #46 forbids is the latter
            return ""
    labels = host.lower().split(".")
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
        for label in labels
    )


def _is_readable(label: str) -> bool:
    """Tell whether a label that says that it is encoded is one that a browser decodes."""
    if not label.startswith("xn--"):
        return True
    try:
        decoded = label.removeprefix("xn--").encode("ascii").decode("punycode")
    except ValueError:
        return False
    return not decoded.isascii() and _to_ascii(decoded) == label


def _write_ipv4(labels: list[str]) -> str | None:
    """Write an address whose parts may be octal, hexadecimal or left out."""
    if len(labels) > 4 or not all(map(_NUMBER.fullmatch, labels)):
        return None
    try:
        *parts, last = (
            int(label[2:] or "0", 16)
            if label.startswith("0x")
            else int(label, 8 if label.startswith("0") else 10)
            for label in labels
        )
    except ValueError:
        return None
    if any(part > 255 for part in parts) or last >= 256 ** (5 - len(labels)):
        return None
    number = last + sum(part << (24 - 8 * at) for at, part in enumerate(parts))
    return str(ipaddress.IPv4Address(number))


def _write_ipv6(text: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    if address.scope_id is not None:
        return None
    if address.ipv4_mapped is None:
        return f"[{address.compressed}]"
    # Python writes the last part of these as an IPv4 address, from 3.13 on.
    low = int(address) & 0xFFFFFFFF
    return f"[::ffff:{low >> 16:x}:{low & 0xFFFF:x}]"
