"""The setting ``CLERK_AUTH``: read, judged and explained; `docs/settings.md` has every key."""

from clerk_auth.conf import config, in_force
from clerk_auth.conf.config import *  # noqa: F403 - its names are the face of the package
from clerk_auth.conf.in_force import *  # noqa: F403
from clerk_auth.conf.lifetime import derived

__all__ = ["derived"]
__all__ += config.__all__
__all__ += in_force.__all__
