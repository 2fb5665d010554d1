"""Our errors as Django REST framework answers them: 401 and 503 of verification, 403 of step-up.

Every error of ``clerk_auth.core.errors`` can be imported from here as well.
"""

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

from clerk_auth.core import errors
from clerk_auth.core.authorization import REVERIFICATION_REQUIRED, read_reverification
from clerk_auth.core.errors import *  # noqa: F403

__all__ = ["AuthenticationUnavailable", "InvalidToken", "ReverificationRequired"]
__all__ += errors.__all__


class _Code(ErrorDetail):
    """The code beside a sentence, in the body of one error; as a leaf it is empty.

    Handlers of other packages make an error of each leaf that is not empty: of this body, one.
    """

    def __bool__(self) -> bool:
        return False


class _WithCode(APIException):
    """An error with one code, whose body holds it beside the sentence."""

    def __init__(self, error: errors.ClerkAuthError) -> None:
        super().__init__(error.detail, error.code)
        # Set, not passed on: what is passed on becomes an ``ErrorDetail`` like any other.
        self.detail: Any = {
            "detail": ErrorDetail(error.detail, error.code),
            "code": _Code(error.code, error.code),
        }

    def get_codes(self) -> str:
        return str(self.detail["code"])

    def get_full_details(self) -> dict[str, Any]:
        return {"message": self.detail["detail"], "code": self.get_codes()}


class InvalidToken(_WithCode, AuthenticationFailed):
    """401: the token was refused. The body holds a fixed sentence and the code, nothing else."""


class AuthenticationUnavailable(_WithCode):
    """503: the token cannot be checked without keys; ``wait`` becomes ``Retry-After``."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE

    def __init__(self, error: errors.KeysUnavailable) -> None:
        super().__init__(error)
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
        error = {
            "type": "forbidden",
            "reason": "reverification-error",
            "metadata": {"reverification": metadata},
        }
        # Set, not passed on: REST framework turns what is passed on into strings, numbers too.
        self.detail: Any = _with_codes({"clerk_error": error}, self.default_code)

    def get_codes(self) -> str:
        return self.default_code

    def get_full_details(self) -> dict[str, Any]:
        return {"message": self.detail, "code": self.default_code}


class _CodedInteger(int):
    code: str


class _CodedFloat(float):
    code: str


def _with_codes(value: Any, code: str) -> Any:
    """Return ``value`` with a code at each leaf, as other packages look for; numbers stay numbers.

    ``value`` is made of dicts, strings and numbers.
    """
    if isinstance(value, dict):
        return {name: _with_codes(inner, code) for name, inner in value.items()}
    if isinstance(value, str):
        return ErrorDetail(value, code)
    number = _CodedInteger(value) if isinstance(value, int) else _CodedFloat(value)
    number.code = code
    return number
