"""The answers to a refused request as OpenAPI components: plain data, for version 3.0 and later.

Their bodies are those of ``docs/errors.md``; the step-up error is what Clerk's documentation on
reverification describes.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from clerk_auth.core.authorization import LEVELS, PERMISSION_DENIED, PRESETS, REFUSALS
from clerk_auth.core.errors import OUTAGES, REJECTIONS

__all__ = ["RESPONSES", "Schema", "make_components", "ref"]

Schema = dict[str, Any]

# HTTP status -> name of the response.
RESPONSES = {"401": "ClerkUnauthorized", "403": "ClerkForbidden", "503": "ClerkUnavailable"}


def ref(kind: str, name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def make_components() -> dict[str, dict[str, Schema]]:
    """Return the components by kind and name, new ones at each call."""
    string = {"type": "string"}
    # A permission of another package has no code.
    refusal = _object(detail=string, code=ref("schemas", "ClerkPermissionCode"), optional={"code"})
    return {
        "responses": {
            "ClerkUnauthorized": {
                "description": "The token was refused, or there was none.",
                "headers": {
                    "WWW-Authenticate": {
                        "description": "RFC 6750: `Bearer`, with an `error` if there was a token.",
                        "schema": string,
                    }
                },
                "content": _json("ClerkUnauthorized"),
            },
            "ClerkForbidden": {
                "description": "The token is good, and its user may not do this.",
                "content": _json("ClerkForbidden"),
            },
            "ClerkUnavailable": {
                "description": "The token cannot be checked now: wait, and repeat.",
                "headers": {
                    "Retry-After": {
                        "description": "Seconds to wait.",
                        "schema": {"type": "integer", "minimum": 1},
                    }
                },
                "content": _json("ClerkUnavailable"),
            },
        },
        # Enums of codes are components: the hook for enums would rename a project's own ``code``.
        "schemas": {
            "ClerkRejectionCode": _enum(*(error.code for error in REJECTIONS)),
            "ClerkPermissionCode": _enum(*REFUSALS, PERMISSION_DENIED),
            "ClerkOutageCode": _enum(*(error.code for error in OUTAGES)),
            # Without a credential the body is REST framework's own, and has no code.
            "ClerkUnauthorized": _object(
                detail=string, code=ref("schemas", "ClerkRejectionCode"), optional={"code"}
            ),
            "ClerkForbidden": {"oneOf": [refusal, ref("schemas", "ClerkReverification")]},
            "ClerkUnavailable": _object(detail=string, code=ref("schemas", "ClerkOutageCode")),
            "ClerkReverification": _object(clerk_error=_step_up()),
        },
    }


def _step_up() -> Schema:
    """Return the error upon which Clerk's front end opens its step-up dialog."""
    config = _object(level=_enum(*LEVELS), afterMinutes={"type": "number", "minimum": 0})
    return _object(
        type=_enum("forbidden"),
        reason=_enum("reverification-error"),
        metadata=_object(reverification={"oneOf": [_enum(*PRESETS), config]}),
    )


def _enum(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _object(*, optional: Set[str] = frozenset(), **properties: Schema) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": ref("schemas", name)}}
