"""Environment variables, read as settings. One that is unset or empty is absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.core.exceptions import ImproperlyConfigured

Environment = Mapping[str, str]

_FLAGS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def read_text(environment: Environment, name: str) -> str | None:
    """Return the text of a variable; ``None`` if it is absent."""
    return environment.get(name, "").strip() or None


def read_flag(environment: Environment, name: str) -> bool | None:
    """Return the boolean of a variable; ``None`` if it is absent.

    Raises:
        ImproperlyConfigured: a spelling other than 1/0, true/false, yes/no, on/off.
    """
    text = read_text(environment, name)
    if text is None:
        return None
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ImproperlyConfigured(
            f"The environment variable {name} is a boolean: use one of {', '.join(_FLAGS)}."
        ) from None


def read_list(environment: Environment, name: str) -> list[str] | None:
    """Return the entries of a comma-separated variable; ``None`` if it is absent.

    Raises:
        ImproperlyConfigured: an entry is empty, as after a trailing comma.
    """
    text = read_text(environment, name)
    if text is None:
        return None
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise ImproperlyConfigured(
            f"The environment variable {name} is a comma-separated list, and has an empty entry."
        )
    return entries


_CLERK_AUTH: dict[str, tuple[str, Callable[[Environment, str], object]]] = {
    "FRONTEND_API": ("CLERK_FRONTEND_API", read_text),
    "PUBLISHABLE_KEY": ("CLERK_PUBLISHABLE_KEY", read_text),
    "ISSUER": ("CLERK_ISSUER", read_list),
    "JWKS_URL": ("CLERK_JWKS_URL", read_text),
    "JWT_KEY": ("CLERK_JWT_KEY", read_text),
    "AUTHORIZED_PARTIES": ("CLERK_AUTHORIZED_PARTIES", read_list),
    "AUDIENCE": ("CLERK_AUDIENCE", read_list),
    "MODE": ("CLERK_AUTH_MODE", read_text),
    "DEV_MODE": ("AUTH_DEV_MODE", read_flag),
    "METRICS": ("CLERK_METRICS", read_list),
}


def read_clerk_auth(environment: Environment) -> dict[str, object]:
    """Return the setting ``CLERK_AUTH``; an absent variable leaves its key out."""
    values = {key: read(environment, name) for key, (name, read) in _CLERK_AUTH.items()}
    return {key: value for key, value in values.items() if value is not None}


def read_caches(environment: Environment) -> dict[str, dict[str, object]]:
    """Return the setting ``CACHES``: Redis when ``REDIS_URL`` names one, else this process."""
    url = read_text(environment, "REDIS_URL")
    if url is None:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "OPTIONS": {
                # The default serializer is pickle: who can write to Redis could run code here.
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
                # Seconds. Without them a Redis that hangs would hang its callers.
                "SOCKET_CONNECT_TIMEOUT": 0.5,
                "SOCKET_TIMEOUT": 1,
            },
        }
    }
