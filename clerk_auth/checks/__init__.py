"""System checks by subject; importing this registers them."""

from clerk_auth.checks import caches, settings, users  # noqa: F401
