"""Permission classes for Django REST framework that read the verified claims of the caller."""

from clerk_auth.permissions.classes import (
    HasFeature,
    HasPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOfInstance,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from clerk_auth.permissions.composition import ClerkPermission

__all__ = [
    "ClerkPermission", "HasFeature", "HasPermission", "HasPlan", "HasRole", "IsNotImpersonated",
    "IsOfInstance", "IsOrganizationMember", "IsOwner", "RequiresReverification",
]  # fmt: skip
