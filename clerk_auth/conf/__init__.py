"""The setting ``CLERK_AUTH``: read, judged and explained; `docs/settings.md` has every key."""

from clerk_auth.conf.config import (
    DEV_ISSUER,
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
    remember_debug,
)
from clerk_auth.conf.lifetime import derived

__all__ = [
    "DEV_ISSUER",
    "ENFORCE",
    "JWKS_PATH",
    "MODES",
    "OBSERVE",
    "Config",
    "derived",
    "find_cache_problem",
    "find_problems",
    "get_config",
    "is_debug",
    "is_developing",
    "is_observing",
    "remember_debug",
]
