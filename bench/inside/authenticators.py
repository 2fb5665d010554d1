"""The subjects as options of a DRF view, by name; each verifies when it is first asked."""

from __future__ import annotations

import os
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from bench.inside.settings import PERMISSION
from bench.inside.subjects import BY_NAME


class Caller:
    """The least that a hand-written class makes of a token."""

    is_authenticated = True

    def __init__(self, claims: dict[str, Any]) -> None:
        self.pk = claims["sub"]


class Nothing(BaseAuthentication):
    """Costs what DRF itself does for any class."""

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        return Caller({"sub": "user_of_nobody"}), None


class _Verifier:
    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def verify(self) -> Any:
        return BY_NAME[self._name].make()


class HandWritten(BaseAuthentication):
    """Around a function that verifies: what an article about DRF and JWT shows."""

    verifier: _Verifier

    def authenticate(self, request: Request) -> tuple[Caller, dict[str, Any]] | None:
        header = get_authorization_header(request).split()
        if len(header) != 2 or header[0].lower() != b"bearer":
            return None
        try:
            claims = self.verifier.verify(header[1].decode("ascii"))
        except Exception as error:
            raise AuthenticationFailed("Invalid token.") from error
        return Caller(claims), claims

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _written_around(name: str) -> type[HandWritten]:
    return type(HandWritten.__name__, (HandWritten,), {"verifier": _Verifier(name)})


VIEW_OPTIONS: dict[str, dict[str, Any]] = {"open": {"authentication_classes": []}}
if not os.environ.get("BENCH_WITHOUT_OURS"):
    from clerk_auth.authentication import ClerkAuthentication

    VIEW_OPTIONS["ours"] = {"authentication_classes": [ClerkAuthentication]}
if not (os.environ.get("BENCH_WITHOUT_OURS") or os.environ.get("BENCH_ONLY_OURS")):
    from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication

    # An earlier package may have none.
    if find_spec("clerk_auth.permissions"):
        from clerk_auth.permissions import HasPermission

        VIEW_OPTIONS["ours_permission"] = {
            "authentication_classes": [ClerkAuthentication],
            "permission_classes": [HasPermission(PERMISSION)],
        }
    others = {
        "nothing": Nothing,
        **{name: _written_around(name) for name in ("pyjwt", "pyjwkclient")},
        "simplejwt": JWTStatelessUserAuthentication,
        **{name: _written_around(name) for name in ("sdk_pem", "sdk_jwks")},
    }
    VIEW_OPTIONS |= {name: {"authentication_classes": [one]} for name, one in others.items()}
# They share one verifier.
OURS = ("ours", "ours_permission")
TITLES = {
    "open": "open view",
    "nothing": "a class that does nothing",
    "ours": BY_NAME["ours"].title,
    "ours_permission": "clerk_auth and `HasPermission`",
    **{name: BY_NAME[name].title for name in VIEW_OPTIONS if name in BY_NAME},
}
