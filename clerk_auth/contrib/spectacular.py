"""OpenAPI through drf-spectacular: our security scheme, and the answers of a refused request.

The app loads this module if ``drf_spectacular`` is in ``INSTALLED_APPS``, and the scheme is then
described. To document the answers too, add ``document_refusals`` to ``POSTPROCESSING_HOOKS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent, get_class

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.contrib.responses import RESPONSES, Schema, make_components, ref

if TYPE_CHECKING:
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.openapi import AutoSchema

__all__ = ["ClerkScheme", "document_refusals"]


class ClerkScheme(OpenApiAuthenticationExtension):
    """``clerkAuth``, and a scheme of its own for each subclass of ``ClerkAuthentication``.

    drf-spectacular keeps one class per name. A subclass names its scheme with the class attribute
    ``openapi_scheme_name``, or gets ``clerkAuth`` and its own name.
    """

    target_class = "clerk_auth.authentication.ClerkAuthentication"
    match_subclasses = True
    # A project's own extension for its subclass goes first.
    priority = -1

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self.name = _scheme_name(get_class(target))

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Clerk's session token, as `getToken()` returns it. It lives for 60 "
            "seconds: ask for it before each request.",
        }


def document_refusals(
    result: Schema, generator: SchemaGenerator, request: object, public: bool
) -> Schema:
    """Add 401, 403 and 503 to each operation that one of our schemes secures.

    A status that the project has documented itself, by its number or as a range, stays as it is.
    Where a token is optional there is no 403: a bad token is still refused, but no permission
    requires one.
    """
    secured = [
        operation
        for path in result["paths"].values()
        for operation in path.values()
        if _is_secured(operation, generator.registry)
    ]
    if not secured:
        return result
    for kind, components in make_components().items():
        for name, component in components.items():
            # Registered as well: drf-spectacular's hook for enums builds the components anew.
            generator.registry.register_on_missing(
                ResolvedComponent(name=name, type=kind, schema=component, object=name)
            )
            result["components"].setdefault(kind, {}).setdefault(name, component)
    for operation in secured:
        responses = operation["responses"]
        for status, name in RESPONSES.items():
            is_documented = status in responses or f"{status[0]}XX" in responses
            if not is_documented and not (status == "403" and {} in operation["security"]):
                responses[status] = ref("responses", name)
    return result


def _scheme_name(cls: type[Any]) -> str:
    own = vars(cls).get("openapi_scheme_name")
    if own:
        return str(own)
    if cls is ClerkAuthentication:
        return "clerkAuth"
    namesakes = {
        other for other in _subclasses(ClerkAuthentication) if other.__name__ == cls.__name__
    }
    # All of them are named with their module: which one is first depends on the order of imports.
    module = f".{cls.__module__}." if len(namesakes) > 1 else ""
    return f"clerkAuth{module}{cls.__name__}"


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _is_secured(operation: Schema, registry: ComponentRegistry) -> bool:
    alternatives = operation.get("security", [])
    return any(_is_ours(name, registry) for schemes in alternatives for name in schemes)


def _is_ours(name: str, registry: ComponentRegistry) -> bool:
    """Tell whether a scheme is of our class, or of one below it; a project may describe its own."""
    try:
        cls = registry[name, ResolvedComponent.SECURITY_SCHEMA].object
    except KeyError:  # written into the settings: no authenticator stands behind it
        return False
    return inspect.isclass(cls) and issubclass(cls, ClerkAuthentication)
