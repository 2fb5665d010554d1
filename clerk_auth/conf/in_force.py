"""The settings in force: read once, forgotten when a test changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from clerk_auth.conf import problems
from clerk_auth.conf.aliases import read_instances
from clerk_auth.conf.config import (
    DEFAULT_INSTANCE,
    GROUPS,
    OBSERVE,
    Config,
    find_configs,
    get_path,
    read_configs,
)
from clerk_auth.conf.declarations import read_declared
from clerk_auth.conf.lifetime import derived
from clerk_auth.error_reports import hide_locals

__all__ = [
    "find_cache_problem", "find_problems", "get_aliases", "get_config", "is_debug",
    "is_developing", "is_observing", "read_group", "remember_debug",
]  # fmt: skip


@hide_locals
def read_group(key: str, alias: str = DEFAULT_INSTANCE) -> Any:
    """Return a wing's settings for an instance, its defaults where that does not have the key.

    ``ImproperlyConfigured`` names every problem and its remedy.
    """
    cls, read, found = _read_group(key, alias)
    if found:
        raise problems.unusable(*found)
    return cls(**read)


def _read_group(key: str, alias: str) -> tuple[type[Any], dict[str, Any], list[CheckMessage]]:
    cls, values = import_string(GROUPS[key]), _get_values(alias)
    top = None if alias == DEFAULT_INSTANCE else _read_group(key, DEFAULT_INSTANCE)[1]
    return cls, *read_declared(cls, values.get(key, {}), group=get_path(alias) + key, top=top)


@derived
def _get_configs() -> Mapping[str, Config]:
    return read_configs(_get_setting(), debug=is_debug())


@derived
def get_config(alias: str = DEFAULT_INSTANCE) -> Config:
    """Return the configuration of an instance; ``ImproperlyConfigured`` if there is none."""
    configs = _get_configs()
    if alias not in configs:
        raise problems.no_instance(alias, configs)
    return configs[alias]


@derived
def get_aliases() -> tuple[str, ...]:
    """Return the aliases of all instances, the default first, whatever is wrong with them."""
    return DEFAULT_INSTANCE, *read_instances(_get_values())


def is_developing() -> bool:
    """Tell whether ``DEV_MODE`` is on and may be, whatever is wrong with the other settings."""
    return _get_values().get("DEV_MODE") is True and is_debug()


@derived
def is_observing(alias: str = DEFAULT_INSTANCE) -> bool:
    """Tell whether an instance's ``MODE`` says so, whatever is wrong with the other settings."""
    return bool(_get_values(alias).get("MODE") == OBSERVE)


def find_problems() -> list[CheckMessage]:
    """List what is wrong with the settings in force, for the system checks."""
    found = find_configs(_get_setting(), debug=is_debug())[1]
    for alias in get_aliases():
        for key in filter(_get_values(alias).__contains__, GROUPS):
            found = [*found, *_read_group(key, alias)[2]]
    return found


def _get_setting() -> object:
    return getattr(settings, "CLERK_AUTH", {})


def _get_values(alias: str = DEFAULT_INSTANCE) -> Mapping[Any, Any]:
    values = _get_setting()
    if alias != DEFAULT_INSTANCE and isinstance(values, Mapping):
        values = read_instances(values).get(alias)
    return values if isinstance(values, Mapping) else {}


def find_cache_problem(config: Config) -> CheckMessage | None:
    """Tell when keys would be shared through a cache that is not there.

    Without it every process would fetch for itself, in silence.
    """
    configured: object = settings.CACHES
    caches = configured if isinstance(configured, Mapping) else {}
    if config.jwks_url is None or config.cache_alias in caches:
        return None
    return problems.no_cache(caches, config.path)


# Django's test runner turns DEBUG off after start-up, without a signal; an explicit override
# sends one, and counts for as long as it lasts.
_debug = [False]


def remember_debug() -> None:
    """Note ``DEBUG`` as it stands when the apps are ready."""
    _debug[0] = bool(settings.DEBUG)


def is_debug() -> bool:
    """Tell whether the project started with ``DEBUG``, or a test overrides it."""
    return _debug[-1]


@receiver(setting_changed, dispatch_uid="clerk_auth.conf.in_force")
def _note_debug(*, setting: str, value: object, enter: bool, **_: object) -> None:
    if setting != "DEBUG":
        return
    if enter:
        _debug.append(bool(value))
    elif len(_debug) > 1:
        _debug.pop()
