"""The setting ``CLERK_AUTH``: one dict, read into a frozen ``Config`` when it is first needed.

Every key is described in ``docs/settings.md``. A setting that is unknown, malformed or out of
range is a problem: system checks report all of them, and the first use raises them as
``ImproperlyConfigured``. Nothing is ignored, and nothing is read from the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.dispatch import receiver

from clerk_auth.conf import problems, readers, redaction
from clerk_auth.conf.lifetime import derived
from clerk_auth.core.error_reports import hide_locals
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import Policy

# Whether the verdict decides about the request, or is only noted.
ENFORCE, OBSERVE = MODES = ("enforce", "observe")
DEV_ISSUER = "https://clerk.localhost"
JWKS_PATH = "/.well-known/jwks.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings in force, defaults filled in. Durations are in seconds.

    ``jwks_url`` is ``None`` when ``jwt_keys`` or the development issuer stand in for it.
    """

    issuers: tuple[str, ...]
    jwks_url: str | None
    jwt_keys: tuple[VerifyingKey, ...]
    authorized_parties: tuple[str, ...]
    azp_policy: str
    audience: tuple[str, ...]
    leeway_seconds: float
    accept_pending: bool
    uncategorized_token_max_seconds: float
    max_token_bytes: int
    cache_alias: str
    jwks_refresh_seconds: float
    jwks_max_age_seconds: float
    jwks_local_seconds: float
    jwks_cooldown_seconds: int
    jwks_timeout_seconds: float
    verified_token_cache_size: int
    user_resolver: str
    user_id_field: str | None
    user_id_claim: str
    user_fields: Mapping[str, str]
    mode: str
    dev_mode: bool
    metrics: tuple[str, ...]
    realm: str
    health_details: bool

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
        config, found = _read(values, debug=debug)
        if config is None:
            raise problems.unusable(*found)
        return config


@derived
def get_config() -> Config:
    """Return the configuration in force; ``ImproperlyConfigured`` if there is none."""
    return Config.from_mapping(getattr(settings, "CLERK_AUTH", {}), debug=is_debug())


def is_developing() -> bool:
    """Tell whether ``DEV_MODE`` is on and may be, whatever is wrong with the other settings."""
    values = getattr(settings, "CLERK_AUTH", {})
    return isinstance(values, Mapping) and values.get("DEV_MODE") is True and is_debug()


@derived
def is_observing() -> bool:
    """Tell whether ``MODE`` says so, whatever is wrong with the other settings."""
    values = getattr(settings, "CLERK_AUTH", {})
    return isinstance(values, Mapping) and values.get("MODE") == OBSERVE


def find_problems() -> list[CheckMessage]:
    """List what is wrong with the settings in force, for the system checks."""
    return _read(getattr(settings, "CLERK_AUTH", {}), debug=is_debug())[1]


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


# key: (reader, default). A key whose default is ``None`` may be absent.
_READERS: dict[str, tuple[Callable[[object], Any], Any]] = {
    "FRONTEND_API": (readers.read_domain, None),
    "PUBLISHABLE_KEY": (readers.read_publishable_key, None),
    "ISSUER": (readers.read_issuers, None),
    "JWKS_URL": (readers.read_url, None),
    "JWT_KEY": (readers.read_jwt_keys, None),
    "AUTHORIZED_PARTIES": (readers.read_parties, ()),
    "AZP_POLICY": (readers.choice_reader("required", "if_present"), "required"),
    "AUDIENCE": (readers.read_audience, None),
    "LEEWAY_SECONDS": (readers.number_reader(0, 60), 5),
    "ACCEPT_PENDING": (readers.read_flag, False),
    "UNCATEGORIZED_TOKEN_MAX_SECONDS": (readers.number_reader(0, 10**9), 3600),
    "MAX_TOKEN_BYTES": (readers.number_reader(1, whole=True), 16384),
    "CACHE_ALIAS": (readers.read_text, "default"),
    "JWKS_REFRESH_SECONDS": (readers.number_reader(60), 300),
    "JWKS_MAX_AGE_SECONDS": (readers.number_reader(120, 86400), 86400),
    "JWKS_LOCAL_SECONDS": (readers.number_reader(1), 15),
    "JWKS_COOLDOWN_SECONDS": (readers.number_reader(1, whole=True), 30),
    "JWKS_TIMEOUT_SECONDS": (readers.number_reader(1, 30), 4),
    "VERIFIED_TOKEN_CACHE_SIZE": (readers.number_reader(0, whole=True), 4096),
    "USER_RESOLVER": (readers.read_dotted_path, "clerk_auth.users.stateless_user"),
    "USER_ID_FIELD": (readers.read_text, None),
    "USER_ID_CLAIM": (readers.read_id_claim, "sub"),
    "USER_FIELDS": (readers.read_names, MappingProxyType({})),
    "MODE": (readers.choice_reader(*MODES), ENFORCE),
    "DEV_MODE": (readers.read_flag, False),
    "METRICS": (readers.read_dotted_paths, ()),
    "REALM": (readers.read_realm, "api"),
    "HEALTH_DETAILS": (readers.read_flag, False),
}


def _read(values: object, *, debug: bool) -> tuple[Config | None, list[CheckMessage]]:
    if not isinstance(values, Mapping):
        return None, [problems.not_a_dict()]
    found = problems.find_unknown(values, _READERS)
    read: dict[str, Any] = {}
    for key, (reader, default) in _READERS.items():
        value = values.get(key, default)
        if value is default:
            read[key] = default
            continue
        try:
            read[key] = reader(value)
            if redaction.holds_secret(value):
                raise readers.Refused(redaction.SECRET_MESSAGE, "")
        except readers.Refused as refused:
            found.append(problems.malformed(key, value, refused))
    if not found:
        found = problems.find_conflicts(read, debug=debug)
    return (None if found else _build(read)), found


def _build(read: dict[str, Any]) -> Config:
    domain = read["FRONTEND_API"] or read["PUBLISHABLE_KEY"]
    issuers = read["ISSUER"] or ((f"https://{domain}",) if domain else (DEV_ISSUER,))
    static = read["DEV_MODE"] or read["JWT_KEY"]
    fields = {
        key.lower(): read[key]
        for key in _READERS
        if key not in {"FRONTEND_API", "PUBLISHABLE_KEY", "ISSUER", "JWT_KEY"}
    }
    fields["jwks_url"] = None if static else read["JWKS_URL"] or f"https://{domain}{JWKS_PATH}"
    fields["audience"] = read["AUDIENCE"] or ()
    return Config(
        issuers=issuers,
        jwt_keys=() if read["DEV_MODE"] else read["JWT_KEY"] or (),
        **fields,
    )
