"""What to do about a reason: why a fetch failed, or why a key set is not in the shared cache."""

from __future__ import annotations

__all__ = ["STORE_PROBLEMS", "STORE_REMEDY", "remedy_for_api", "remedy_for_fetch"]

# By the reason of a ``FetchFailed``: for Clerk's key set, and for an API that is probed.
_FETCH = {
    "tls": "The certificate is not trusted: check the host's CA bundle and a proxy in between.",
    "redirect": "Redirects are not followed: correct FRONTEND_API or JWKS_URL.",
    "status": "Check FRONTEND_API or JWKS_URL: open the URL in a browser. 429 and 5xx are Clerk's: "
    "see status.clerk.com; processes that have keys keep using them.",
    "timeout": "Check egress, DNS and proxy of this host; see JWKS_TIMEOUT_SECONDS.",
    "connection": "Check that the URL is right, and egress, DNS and proxy of this host.",
}
_DOCUMENT = "This is not Clerk's key set: check FRONTEND_API or JWKS_URL, and proxies."
_API = {
    "tls": "The certificate is not trusted: check the API's certificate and this host's CA bundle.",
    "timeout": "Nothing answered in time: check the address, and the network in between.",
    "connection": "Check the address, and DNS and proxy of this host.",
}
STORE_REMEDY = (
    "Check that the server can be written to, what its user may do with keys that contain "
    "clerk_auth:, its memory limit, and whether it is a cluster, which needs a client for clusters."
)
# By the outcome of a ``jwks.cached.Refresh``: why a set that was fetched is not in the cache.
STORE_PROBLEMS = {
    "locked": (
        "was not changed: another process holds the lock",
        "Run this again; if that does not help, delete the key that ends in :lock from the cache, "
        "and find out who writes it.",
    ),
    "not_shared": ("does not give back what was fetched: {error}", STORE_REMEDY),
}


def remedy_for_fetch(reason: str) -> str:
    """Say what to do if Clerk's key set cannot be fetched or read."""
    return _FETCH.get(reason, _DOCUMENT)


def remedy_for_api(reason: str) -> str:
    """Say what to do if an API does not answer; empty where that is not the problem."""
    return _API.get(reason, "")
