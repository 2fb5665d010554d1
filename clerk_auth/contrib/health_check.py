"""The readiness of this process as a check of django-health-check 4."""

from __future__ import annotations

import dataclasses
import time

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from clerk_auth.health import read_readiness


@dataclasses.dataclass
class ClerkKeys(HealthCheck):  # type: ignore[misc]
    """Fail only while nobody can be let in; reads memory, as ``clerk_auth.health.ready`` does.

    Degraded is healthy: the library's view answers 500 to warnings too.
    """

    async def run(self) -> None:
        readiness = read_readiness(now=time.time())
        if not readiness.is_ready:
            raise ServiceUnavailable(readiness.status)
