"""User models as projects have them, each for ``AUTH_USER_MODEL``."""
