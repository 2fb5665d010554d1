"""The key document, as the issuer serves it."""

from __future__ import annotations

from clerk_auth.transport import Answer, FetchFailed, fetch

__all__ = ["fetch_document"]


def fetch_document(url: str, timeout_seconds: float) -> Answer:
    """Fetch the key document at ``url``; nothing but status 200 is one.

    Raises:
        FetchFailed: it was not had in time; ``status`` says which other status came.
    """
    headers = {"Accept": "application/jwk-set+json, application/json"}
    answer = fetch(url, timeout_seconds, headers, wanted=lambda status: status == 200)
    if answer.status != 200:
        reason = "redirect" if 300 <= answer.status < 400 else "status"
        raise FetchFailed(reason, status=answer.status)
    return answer
