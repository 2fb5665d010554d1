"""The setting ``CLERK_AUTH``: one dict, read into a frozen ``Config`` when it is first needed.

Every key is described in ``docs/settings.md``. A setting that is unknown, malformed or out of
range is a problem: system checks report all of them, and the first use raises them as
``ImproperlyConfigured``. Nothing is ignored, and nothing is read from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from clerk_auth.conf import instance, problems, readers
from clerk_auth.conf.declarations import read_declared, setting
from clerk_auth.conf.lifetime import derived
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import Policy
from clerk_auth.error_reports import hide_locals

__all__ = [
    "DEV_ISSUER", "ENFORCE", "GROUPS", "JWKS_PATH", "MODES", "OBSERVE", "Config",
    "find_cache_problem", "find_problems", "get_config", "is_debug", "is_developing",
    "is_observing", "read_group", "remember_debug",
]  # fmt: skip

# Whether the verdict decides about the request, or is only noted.
ENFORCE, OBSERVE = MODES = ("enforce", "observe")
DEV_ISSUER = "https://clerk.localhost"
JWKS_PATH = "/.well-known/jwks.json"
# The settings of a wing: the key of its dict, and the path of its dataclass of declared settings,
# which is imported where that key is present or the wing asks.
GROUPS: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings in force, defaults filled in. Durations are in seconds.

    Each field is one key, with its reader, default, range and the first words of its row in
    ``docs/settings.md``, in that page's order.
    """

    frontend_api: str | None = setting(
        instance.read_domain, None, "The domain of your Clerk instance."
    )
    publishable_key: str | None = setting(
        instance.read_publishable_key, None, "The same domain, decoded from your front end's key."
    )
    issuers: tuple[str, ...] = setting(
        instance.read_issuers, None, "The exact `iss` of accepted tokens.", key="ISSUER"
    )
    jwks_url: str | None = setting(instance.read_url, None, "Where the key set is.")
    jwt_keys: tuple[VerifyingKey, ...] = setting(
        instance.read_jwt_keys, None, "The instance's public key as PEM.", key="JWT_KEY", absent=()
    )
    authorized_parties: tuple[str, ...] = setting(
        instance.read_parties, (), "Origins of your front ends: `azp` must be one of them."
    )
    azp_policy: str = setting(
        readers.choice("required", "if_present"),
        "required",
        'With parties set, `"required"` refuses a token without `azp`.',
    )
    audience: tuple[str, ...] = setting(
        readers.read_audience, None, "When set, `aud` must hold one of these.", absent=()
    )
    leeway_seconds: float = setting(
        readers.number(0, 60), 5, "Clock skew allowed on `exp`, `nbf` and `iat`."
    )
    uncategorized_token_max_seconds: float = setting(
        readers.number(0, 10**9), 3600, "How far ahead `exp` may be without a session's category."
    )
    accept_pending: bool = setting(
        readers.read_flag, False, "Accept sessions that still have tasks to do."
    )
    max_token_bytes: int = setting(
        readers.integer(1), 16384, "A longer credential is refused unread."
    )
    cache_alias: str = setting(
        readers.read_text,
        "default",
        "The Django cache that holds the shared key set.",
        range="an alias in `CACHES`",
    )
    jwks_refresh_seconds: float = setting(
        readers.number(60),
        300,
        "A set older than this is refreshed in the background, and used meanwhile.",
        range="60 to half of `JWKS_MAX_AGE_SECONDS`",
    )
    jwks_max_age_seconds: float = setting(
        readers.number(120, 86400), 86400, "A set older than this is never used."
    )
    jwks_local_seconds: float = setting(
        readers.number(1),
        15,
        "How often a process that has requests looks at the shared copy.",
        range="1 to `JWKS_REFRESH_SECONDS`",
    )
    jwks_cooldown_seconds: int = setting(
        readers.integer(1), 30, "At most one fetch that a token forces per this time."
    )
    jwks_timeout_seconds: float = setting(
        readers.number(1, 30), 4, "Budget of one fetch, from connecting to the last byte."
    )
    verified_token_cache_size: int = setting(
        readers.integer(0), 4096, "How many verified tokens a process remembers."
    )
    user_resolver: str = setting(
        readers.read_dotted_path,
        "clerk_auth.users.stateless_user",
        "Who `request.user` is.",
        range="`(Claims) -> user`",
    )
    user_id_field: str | None = setting(
        readers.read_text,
        None,
        "The field of your user model that holds Clerk's user id.",
        range="a unique field",
    )
    user_id_claim: str = setting(
        readers.read_id_claim, "sub", "The claim whose value `USER_ID_FIELD` holds."
    )
    user_fields: Mapping[str, str] = setting(
        readers.read_names, MappingProxyType({}), "Which claims are kept in which fields of a row."
    )
    mode: str = setting(
        readers.choice(*MODES), ENFORCE, '`"observe"` lets the other authenticators decide.'
    )
    dev_mode: bool = setting(
        readers.read_flag,
        False,
        "Take the keys of the local issuer in place of Clerk's.",
        range="only with `DEBUG`",
    )
    metrics: tuple[str, ...] = setting(
        readers.read_dotted_paths, (), "Sinks, which export what is counted."
    )
    realm: str = setting(readers.read_realm, "api", "The realm in `WWW-Authenticate`.")
    health_details: bool = setting(
        readers.read_flag, False, "Show the readiness endpoint's details to every caller."
    )

    @property
    def policy(self) -> Policy:
        """What a token must satisfy."""
        return Policy(
            issuers=frozenset(self.issuers),
            authorized_parties=frozenset(self.authorized_parties),
            party_required=self.azp_policy == "required",
            audiences=frozenset(self.audience),
            leeway_seconds=self.leeway_seconds,
            accept_pending=self.accept_pending,
            max_token_bytes=self.max_token_bytes,
            kid_required=not self.jwt_keys,
            uncategorized_token_max_seconds=self.uncategorized_token_max_seconds,
        )

    @classmethod
    @hide_locals
    def from_mapping(cls, values: object, *, debug: bool) -> Config:
        """Read the setting; ``ImproperlyConfigured`` names every problem and its remedy."""
        read, found = _read(values, debug=debug)
        if found:
            raise problems.unusable(*found)
        return cls(**_fill_in(read))


def _read(values: object, *, debug: bool) -> tuple[dict[str, Any], list[CheckMessage]]:
    read, found = read_declared(Config, values, groups=GROUPS)
    return read, found or problems.find_conflicts(read, debug=debug)


def _fill_in(read: dict[str, Any]) -> dict[str, Any]:
    """Add what follows from other settings; ``jwks_url`` is ``None`` where nothing is fetched."""
    domain = read["frontend_api"] or read["publishable_key"]
    issuers = read["issuers"] or (f"https://{domain}" if domain else DEV_ISSUER,)
    jwt_keys = () if read["dev_mode"] else read["jwt_keys"]
    url = read["jwks_url"] or f"https://{domain}{JWKS_PATH}"
    jwks_url = None if read["dev_mode"] or jwt_keys else url
    return {**read, "issuers": issuers, "jwt_keys": jwt_keys, "jwks_url": jwks_url}


@hide_locals
def read_group(key: str) -> Any:
    """Return a wing's settings, its defaults where ``CLERK_AUTH`` does not have its key.

    ``ImproperlyConfigured`` names every problem and its remedy.
    """
    cls, read, found = _read_group(key)
    if found:
        raise problems.unusable(*found)
    return cls(**read)


def _read_group(key: str) -> tuple[type[Any], dict[str, Any], list[CheckMessage]]:
    cls = import_string(GROUPS[key])
    return cls, *read_declared(cls, _get_values().get(key, {}), group=key)


@derived
def get_config() -> Config:
    """Return the configuration in force; ``ImproperlyConfigured`` if there is none."""
    return Config.from_mapping(_get_setting(), debug=is_debug())


def is_developing() -> bool:
    """Tell whether ``DEV_MODE`` is on and may be, whatever is wrong with the other settings."""
    return _get_values().get("DEV_MODE") is True and is_debug()


@derived
def is_observing() -> bool:
    """Tell whether ``MODE`` says so, whatever is wrong with the other settings."""
    return bool(_get_values().get("MODE") == OBSERVE)


def find_problems() -> list[CheckMessage]:
    """List what is wrong with the settings in force, for the system checks."""
    found = _read(_get_setting(), debug=is_debug())[1]
    for key in filter(_get_values().__contains__, GROUPS):
        found = [*found, *_read_group(key)[2]]
    return found


def _get_setting() -> object:
    return getattr(settings, "CLERK_AUTH", {})


def _get_values() -> Mapping[Any, Any]:
    values = _get_setting()
    return values if isinstance(values, Mapping) else {}


def find_cache_problem(config: Config) -> CheckMessage | None:
    """Tell when keys would be shared through a cache that is not there.

    Without it every process would fetch for itself, in silence.
    """
    configured: object = settings.CACHES
    caches = configured if isinstance(configured, Mapping) else {}
    if config.jwks_url is None or config.cache_alias in caches:
        return None
    return problems.no_cache(caches)


# Django's test runner turns DEBUG off after start-up, without a signal; an explicit override
# sends one, and counts for as long as it lasts.
_debug = [False]


def remember_debug() -> None:
    """Note ``DEBUG`` as it stands when the apps are ready."""
    _debug[0] = bool(settings.DEBUG)


def is_debug() -> bool:
    """Tell whether the project started with ``DEBUG``, or a test overrides it."""
    return _debug[-1]


@receiver(setting_changed, dispatch_uid="clerk_auth.conf.config")
def _note_debug(*, setting: str, value: object, enter: bool, **_: object) -> None:
    if setting != "DEBUG":
        return
    if enter:
        _debug.append(bool(value))
    elif len(_debug) > 1:
        _debug.pop()
