"""The guard that keeps ``clerk_auth.testing`` out of everything except test runs."""

from __future__ import annotations

import os

from django.test import utils

__all__ = ["require_test_run"]


def require_test_run() -> None:
    """Raise ``ImportError`` unless tests are running.

    They are where pytest runs (it sets ``PYTEST_VERSION`` while it does, since version 8.2) or
    Django's test environment is set up, as ``manage.py test`` does before it loads tests. That
    pytest is imported says nothing: libraries import it. Neither does ``DEBUG``.
    """
    if "PYTEST_VERSION" in os.environ:
        return
    # The state that setup_test_environment() itself looks at.
    if hasattr(utils._TestState, "saved_data"):
        return
    raise ImportError(
        "clerk_auth.testing is for tests, and no tests are running here. Import it from test "
        "modules only; they run with pytest 8.2 or later, with manage.py test, or after "
        "django.test.utils.setup_test_environment(). To try a server, make a token with "
        "manage.py clerk_token."
    )
