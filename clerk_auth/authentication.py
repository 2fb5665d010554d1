"""The authentication class for Django REST framework."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from clerk_auth.conf import DEFAULT_INSTANCE, ENFORCE, OBSERVE, get_config, is_observing
from clerk_auth.core.claims import Claims
from clerk_auth.core.credential import read_bearer_token
from clerk_auth.core.errors import ClerkAuthError, KeysUnavailable, TokenMalformed, TokenRejected
from clerk_auth.error_reports import hide_locals
from clerk_auth.exceptions import AuthenticationUnavailable, InvalidToken
from clerk_auth.logs import defects, log
from clerk_auth.users import resolve_user
from clerk_auth.verifier import choose_instance, get_verifier

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["ClerkAuthentication", "claims_of", "read_bearer_token", "read_claims"]


@hide_locals
def claims_of(request: Request | HttpRequest) -> Claims | None:
    """Return the claims of the caller, ``None`` unless Clerk authenticated them.

    It takes REST framework's request, or Django's under it once a view of REST framework has
    authenticated it. ``None`` is the answer for a caller who came in by a session or by
    another authenticator, and for an anonymous one. Where REST framework has not authenticated yet,
    it does so now, and raises what that raises.
    """
    return read_claims(request)


def read_claims(request: Any) -> Claims | None:
    """Return what :func:`claims_of` does, for those who ask on each request."""
    claims = getattr(request, "auth", None)
    if not isinstance(claims, Claims):
        return None
    user = getattr(request, "user", None)
    return claims if getattr(user, "is_authenticated", None) is True else None


class ClerkAuthentication(BaseAuthentication):
    """Authenticate by Clerk session token: ``request.user``, and ``Claims`` as ``request.auth``.

    Another scheme than ``Bearer`` is left to the next authenticator; a bearer token that does not
    verify is refused, on public views too. A project's misconfiguration is raised as it is.

    With ``MODE`` observe it authenticates and refuses no caller, and raises nothing: verdicts are
    counted and logged, and responses are those of the view's other authenticators.

    A subclass accepts the tokens of another ``instance``, an alias in ``INSTANCES``, or of several
    ``instances``. Then the issuer that the token names chooses among them, the first where it is
    none of theirs, and that instance judges the token by all its rules.
    """

    instance: ClassVar[str] = DEFAULT_INSTANCE
    instances: ClassVar[tuple[str, ...]] = ()

    # Locals below this frame are tokens and claims: no error report shows them.
    @hide_locals
    def authenticate(self, request: Request) -> tuple[Any, Claims] | None:
        alias = self._choose(request) if self.instances else self.instance
        if is_observing(alias):
            self._observe(request, alias)
            return None
        try:
            claims = self._verify(request, alias)
            return None if claims is None else (self._resolve_user(claims), claims)
        except TokenRejected as error:
            # DRF asks a new instance for the challenge; only the request is the same.
            _http_request(request)._clerk_auth_refusal = error  # type: ignore[attr-defined]
            _forget_frames(error)
            raise InvalidToken(error) from None
        except KeysUnavailable as error:
            _http_request(request)._clerk_auth_outage = error.code  # type: ignore[attr-defined]
            _forget_frames(error)
            raise AuthenticationUnavailable(error) from None

    def authenticate_header(self, request: Request) -> str | None:
        """Return the challenge (RFC 6750 section 3), with an error if a token was refused.

        While observing it is that of the view's next authenticator.
        """
        alias = self._choose(request)
        if is_observing(alias):
            return _challenge_of_others(request)
        challenge = f'Bearer realm="{get_config(alias).realm}"'
        error = getattr(_http_request(request), "_clerk_auth_refusal", None)
        if error is not None:
            challenge += f', error="invalid_token", error_description="{error.detail}"'
        return challenge

    def _choose(self, request: Request) -> str:
        """Return the alias of the instance that judges the request."""
        first, *others = self.instances or (self.instance,)
        try:
            token = read_bearer_token(_http_request(request).META.get("HTTP_AUTHORIZATION"))
            return choose_instance(token, self.instances) if token and others else first
        except TokenMalformed:
            return first
        except ImproperlyConfigured:
            if is_observing(first):
                return first
            raise

    def _observe(self, request: Request, alias: str) -> None:
        """Count and log what enforcing would say; whatever happens, the request goes on."""
        try:
            self._verify(request, alias, OBSERVE)
        except ClerkAuthError:
            pass  # a verdict, and noted
        except Exception as error:
            if defects.admit(type(error).__name__) is not None:
                log(logging.ERROR, "observation_failed", error=type(error).__name__)

    def _verify(self, request: Request, alias: str, mode: str = ENFORCE) -> Claims | None:
        try:
            token = read_bearer_token(_http_request(request).META.get("HTTP_AUTHORIZATION"))
        except TokenMalformed as error:
            get_verifier(alias).note_refusal(error, mode=mode)
            raise
        return None if token is None else get_verifier(alias).verify(token, mode=mode)

    def _resolve_user(self, claims: Claims) -> Any:
        try:
            return resolve_user(claims)
        except TokenRejected as error:
            get_verifier(claims.instance).note_refusal(error)
            raise


def _forget_frames(error: ClerkAuthError) -> None:
    """Cut off what led to an error, which outlives the request in signals and trackers.

    Its frames hold the token.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _http_request(request: Request) -> HttpRequest:
    """Return Django's request under DRF's, which DRF may wrap anew."""
    return getattr(request, "_request", request)


def _challenge_of_others(request: Request) -> str | None:
    """Return the challenge that REST framework would give, were no class in the list that observes.

    It asks new instances, and so does this. Their errors are theirs, with us or without.
    """
    view = getattr(request, "parser_context", {}).get("view")
    authenticators: list[BaseAuthentication] = view.get_authenticators() if view else []
    # Another class that asks us on its own behalf must not be asked in turn.
    if not authenticators or not isinstance(authenticators[0], ClerkAuthentication):
        return None
    others = (other for other in authenticators if not _observes(other, request))
    first = next(others, None)
    return first.authenticate_header(request) if first else None


def _observes(authenticator: BaseAuthentication, request: Request) -> bool:
    if not isinstance(authenticator, ClerkAuthentication):
        return False
    return is_observing(authenticator._choose(request))
