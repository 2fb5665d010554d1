"""Real session tokens for a project's own tests, accepted on the path that every token takes.

Nothing is patched: tests change ``CLERK_AUTH``, so that the keys come from a throw-away issuer of
this process. Its tokens are worth nothing under any other settings. ``docs/testing.md`` has an
example. Outside a test run this is an ``ImportError``, ``DEBUG`` or not: what a server imports must
not depend on it.
"""

from clerk_auth.testing.guard import require_test_run

require_test_run()

# After the guard: outside a test run, nothing else of this package is loaded.
from clerk_auth.issuer.local import ABSENT  # noqa: E402
from clerk_auth.issuer.standin import Answer, StandInClerk  # noqa: E402
from clerk_auth.testing.client import ClerkAPIClient  # noqa: E402
from clerk_auth.testing.instance import override_clerk_auth  # noqa: E402
from clerk_auth.testing.tokens import BadTokens, clerk_claims, clerk_token  # noqa: E402

__all__ = [
    "ABSENT", "Answer", "BadTokens", "ClerkAPIClient", "StandInClerk", "clerk_claims",
    "clerk_token", "override_clerk_auth",
]  # fmt: skip
