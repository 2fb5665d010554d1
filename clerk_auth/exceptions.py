"""Errors of verification as Django REST framework answers them: ``{"detail", "code"}``."""

from __future__ import annotations

import math

from rest_framework import status
from rest_framework.exceptions import APIException, AuthenticationFailed, ErrorDetail

from clerk_auth.core.errors import ClerkAuthError, KeysUnavailable, TokenRejected


class InvalidToken(AuthenticationFailed):
    """401: the token was refused. The body holds a fixed sentence and the code, nothing else."""

    def __init__(self, error: TokenRejected) -> None:
        super().__init__(_body(error), error.code)


class AuthenticationUnavailable(APIException):
    """503: nobody can say whether the token is good; ``wait`` becomes ``Retry-After``."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE

    def __init__(self, error: KeysUnavailable) -> None:
        super().__init__(_body(error), error.code)
        self.wait = math.ceil(error.retry_after)


def _body(error: ClerkAuthError) -> dict[str, str]:
    return {"detail": ErrorDetail(error.detail, error.code), "code": error.code}
