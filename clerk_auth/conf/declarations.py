"""How a setting is declared, once: as a field of a frozen dataclass.

:class:`~clerk_auth.conf.config.Config` is such a class. A wing has one of its own, for the dict
that stands under the name of its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.core.checks import CheckMessage

from clerk_auth.conf import problems
from clerk_auth.conf.readers import Reader, Refused
from clerk_auth.conf.secrets import SECRET_MESSAGE, holds_secret

__all__ = ["INHERITED", "OWN", "PROCESS", "Setting", "declared", "read_declared", "setting"]

# What a setting at the top level is to the instances beside it: never theirs, theirs unless they
# set it, or the whole process's.
OWN, INHERITED, PROCESS = "own", "inherited", "process"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting; its row in ``docs/settings.md`` says the same.

    A key whose default is ``None`` may be absent; its field then has the value ``absent``. ``help``
    begins the row. ``range`` is the reader's if it is not given, and ``key`` the field's name in
    capital letters. ``scope`` is ``OWN``, ``INHERITED`` or ``PROCESS``.
    """

    read: Reader[Any]
    default: Any
    help: str
    range: str = ""
    absent: Any = None
    key: str = ""
    scope: str = OWN


def setting(*known: Any, **more: Any) -> Any:
    """Declare a field as a setting; the arguments are those of :class:`Setting`."""
    return field(metadata={"setting": Setting(*known, **more)})


def declared(cls: type[Any]) -> dict[str, tuple[str, Setting]]:
    """Return the fields of ``cls`` and their settings, by the keys of the settings."""
    named = [(item.name, found) for item in fields(cls) if (found := item.metadata.get("setting"))]
    return {found.key or name.upper(): (name, found) for name, found in named}


def read_declared(
    cls: type[Any],
    values: object,
    *,
    group: str = "",
    groups: Iterable[str] = (),
    top: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[CheckMessage]]:
    """Read ``values`` into the fields of ``cls``, and list every problem with them.

    ``values`` are the dict ``CLERK_AUTH``, or the one under its key ``group``; ``groups`` are keys
    that are read elsewhere. An instance beside the top level has from ``top``, which was read of
    that, what it inherits and what is the process's.
    """
    if not isinstance(values, Mapping):
        return {}, [problems.not_a_dict(group)]
    prefix = f"{group}." if group else ""
    known = declared(cls)
    found = problems.find_unknown(values, [*known, *groups], prefix)
    read: dict[str, Any] = {}
    for key, (name, declaration) in known.items():
        if top is not None and declaration.scope == PROCESS and key in values:
            found.append(problems.not_of_an_instance(prefix + key))
            continue
        if declaration.scope != OWN and key not in values and top and name in top:
            read[name] = top[name]
            continue
        value = values.get(key, declaration.default)
        if value is declaration.default:
            read[name] = declaration.absent if value is None else value
            continue
        try:
            read[name] = declaration.read(value)
            if holds_secret(value):
                raise Refused(SECRET_MESSAGE, "")
        except Refused as refused:
            found.append(problems.malformed(prefix + key, value, refused))
    return read, found
