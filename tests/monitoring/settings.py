"""The demo, with keys that are due to expire as soon as they are fetched, and an eager search."""

from project.settings import *  # noqa: F403
from project.settings import CLERK_AUTH

CLERK_AUTH |= {"JWKS_MAX_AGE_SECONDS": 11 * 3600, "JWKS_COOLDOWN_SECONDS": 1}
