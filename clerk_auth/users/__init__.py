"""From claims to ``request.user``: the resolvers that ``USER_RESOLVER`` may name.

What needs the database is imported when it is first used: a worker whose users have no rows loads
none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from clerk_auth.users.resolvers import (
    UserResolver,
    admit_user,
    aresolve_user,
    check_resolver,
    get_user_resolver,
    resolve_user,
)
from clerk_auth.users.stateless import ClerkUser, stateless_user

if TYPE_CHECKING:
    from clerk_auth.users.database import (
        NUMBERED_BY_THE_DATABASE,
        database_user,
        existing_user,
        is_numbered_by_the_database,
        read_user_id,
    )
    from clerk_auth.users.linking import LinkRefused, link
else:
    _MODULES = {"LinkRefused": "linking", "link": "linking"}

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'database')}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "NUMBERED_BY_THE_DATABASE", "ClerkUser", "LinkRefused", "UserResolver", "admit_user",
    "aresolve_user", "check_resolver", "database_user", "existing_user", "get_user_resolver",
    "is_numbered_by_the_database", "link", "read_user_id", "resolve_user", "stateless_user",
]  # fmt: skip
