"""The setting ``CLERK_AUTH``: read, judged and explained; `docs/settings.md` has every key."""

from clerk_auth.conf.config import (
    ENFORCE,
    JWKS_PATH,
    MODES,
    OBSERVE,
    Config,
    find_cache_problem,
    find_problems,
    get_config,
    is_debug,
    is_developing,
    is_observing,
    read_group,
    remember_debug,
)
from clerk_auth.conf.lifetime import derived

__all__ = [
    "ENFORCE", "JWKS_PATH", "MODES", "OBSERVE", "Config", "derived", "find_cache_problem",
    "find_problems", "get_config", "is_debug", "is_developing", "is_observing", "read_group",
    "remember_debug",
]  # fmt: skip
