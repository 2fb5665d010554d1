"""Our errors as Django REST framework answers them: 401 and 503 of verification, 403 of step-up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    ErrorDetail,
    PermissionDenied,
)

from clerk_auth.core.authorization import REVERIFICATION_REQUIRED, read_reverification
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


class ReverificationRequired(PermissionDenied):
    """403: the user must prove again who they are. Clerk's front end reads the body.

    ``reverification`` is a preset, or a mapping with ``level`` and ``afterMinutes`` (Clerk,
    "Reverification"); ``ValueError`` for anything else.
    """

    default_code = REVERIFICATION_REQUIRED

    def __init__(self, reverification: str | Mapping[str, Any]) -> None:
        super().__init__()
        read_reverification(reverification)
        metadata = reverification if isinstance(reverification, str) else dict(reverification)
        # Set, not passed on: what is passed on comes out as text, numbers too.
        self.detail: Any = {
            "clerk_error": {
                "type": "forbidden",
                "reason": "reverification-error",
                "metadata": {"reverification": metadata},
            }
        }

    def get_codes(self) -> str:
        return self.default_code

    def get_full_details(self) -> dict[str, Any]:
        return {"message": self.detail, "code": self.default_code}


def _body(error: ClerkAuthError) -> dict[str, str]:
    return {"detail": ErrorDetail(error.detail, error.code), "code": error.code}
