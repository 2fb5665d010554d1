"""The readiness of this process as a check of django-health-check 4."""

from __future__ import annotations

import dataclasses
import time

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from clerk_auth.health import read_readiness

__all__ = ["ClerkKeys"]


@dataclasses.dataclass
class ClerkKeys(HealthCheck):  # type: ignore[misc]
    """Fail only while no token can be verified; reads memory, as ``clerk_auth.health.ready`` does.

    A degraded process passes, and a partial one: the library's view answers 500 to warnings too.
    """

    async def run(self) -> None:
        readiness = read_readiness(now=time.time())
        if not readiness.is_ready:
            raise ServiceUnavailable(readiness.status)
