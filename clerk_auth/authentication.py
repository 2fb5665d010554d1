"""The authentication class for Django REST framework."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from clerk_auth.conf import get_config
from clerk_auth.core.claims import Claims
from clerk_auth.core.errors import KeysUnavailable, TokenMalformed, TokenRejected, UserInactive
from clerk_auth.exceptions import AuthenticationUnavailable, InvalidToken
from clerk_auth.users import get_user_resolver
from clerk_auth.verifier import get_verifier

if TYPE_CHECKING:
    from django.http import HttpRequest

# "bearer" as a whole word of RFC 9110's token characters, at the start of the value or of one that
# a server joined to it: two Authorization fields arrive as one, with a comma between.
_BEARER = re.compile(r"(?:\A *|, *)bearer(?![!#$%&'*+\-.^_`|~0-9a-z])", re.IGNORECASE)


def read_bearer_token(authorization: str | bytes | None) -> str | None:
    """Return the token of an ``Authorization`` header, ``None`` when it is not a bearer token.

    Raises:
        TokenMalformed: the scheme is ``Bearer``, and what follows is not one credential.
    """
    if not authorization:
        return None
    if isinstance(authorization, bytes):
        authorization = authorization.decode("latin-1")
    if authorization[:7].lower() != "bearer ":
        if _BEARER.search(authorization):
            raise TokenMalformed("the Authorization header is not one bearer credential")
        return None
    token = authorization[7:].strip(" ")
    if not token or " " in token:
        raise TokenMalformed("the Authorization header is not one bearer credential")
    return token


class ClerkAuthentication(BaseAuthentication):
    """Authenticate by Clerk session token: ``request.user``, and ``Claims`` as ``request.auth``.

    Another scheme than ``Bearer`` is left to the next authenticator; a bearer token that does not
    verify is refused, on public views too. A project's misconfiguration is raised as it is.
    """

    def authenticate(self, request: Request) -> tuple[Any, Claims] | None:
        try:
            claims = self._verify(request)
            return None if claims is None else (self._resolve_user(claims), claims)
        except TokenRejected as error:
            # DRF asks a new instance for the challenge; only the request is the same.
            _http_request(request)._clerk_auth_refusal = error  # type: ignore[attr-defined]
            raise InvalidToken(error) from None
        except KeysUnavailable as error:
            _http_request(request)._clerk_auth_outage = error.code  # type: ignore[attr-defined]
            raise AuthenticationUnavailable(error) from None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge (RFC 6750 section 3), with an error if a token was refused."""
        challenge = f'Bearer realm="{get_config().realm}"'
        error = getattr(_http_request(request), "_clerk_auth_refusal", None)
        if error is not None:
            challenge += f', error="invalid_token", error_description="{error.detail}"'
        return challenge

    def _verify(self, request: Request) -> Claims | None:
        try:
            token = read_bearer_token(_http_request(request).META.get("HTTP_AUTHORIZATION"))
        except TokenMalformed as error:
            get_verifier().note_refusal(error)
            raise
        return None if token is None else get_verifier().verify(token)

    def _resolve_user(self, claims: Claims) -> Any:
        try:
            return get_user_resolver()(claims)
        except UserInactive as error:
            get_verifier().note_refusal(error)
            raise


def _http_request(request: Request) -> HttpRequest:
    """Return Django's request under DRF's, which DRF may wrap anew."""
    return getattr(request, "_request", request)
