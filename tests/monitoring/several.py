"""The demo with a second Clerk instance, whose keys are due to expire as soon as they are fetched.

Its tokens are a small part of all.
"""

import os

from project.settings import *  # noqa: F403
from project.settings import CLERK_AUTH, REST_FRAMEWORK

_STAFF = {
    "ISSUER": os.environ.get("CLERK_STAFF_ISSUER", "https://clerk.staff.example.com"),
    "JWKS_URL": os.environ.get("CLERK_STAFF_JWKS_URL", "https://clerk.staff.example.com/jwks"),
    "AUTHORIZED_PARTIES": CLERK_AUTH.get("AUTHORIZED_PARTIES", []),
    "JWKS_MAX_AGE_SECONDS": 11 * 3600,
    "JWKS_COOLDOWN_SECONDS": 1,
}
CLERK_AUTH |= {"INSTANCES": {"staff": _STAFF}}
REST_FRAMEWORK |= {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tests.monitoring.authentication.AnybodyAuthentication"]
}
