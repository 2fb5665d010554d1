"""From claims to ``request.user``: what ``USER_RESOLVER`` may name, and how rows are found."""

from clerk_auth.users.database import (
    NUMBERED_BY_THE_DATABASE,
    LinkRefused,
    UserResolver,
    admit_user,
    check_resolver,
    convert,
    database_user,
    existing_user,
    get_link_field,
    get_user_resolver,
    is_numbered_by_the_database,
    is_unlinked,
    link,
    read_user_id,
)
from clerk_auth.users.stateless import ClerkUser, stateless_user

__all__ = [
    "NUMBERED_BY_THE_DATABASE",
    "ClerkUser",
    "LinkRefused",
    "UserResolver",
    "admit_user",
    "check_resolver",
    "convert",
    "database_user",
    "existing_user",
    "get_link_field",
    "get_user_resolver",
    "is_numbered_by_the_database",
    "is_unlinked",
    "link",
    "read_user_id",
    "stateless_user",
]
