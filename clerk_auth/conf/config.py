"""The setting ``CLERK_AUTH``: one dict, read into a frozen ``Config`` for each Clerk instance.

Every key is described in ``docs/settings.md``. A setting that is unknown, malformed or out of
range is a problem: system checks report all of them, and the first use raises them as
``ImproperlyConfigured``. Nothing is ignored, and nothing is read from the environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

from django.core.checks import CheckMessage

from clerk_auth.conf import aliases, instance, problems, readers
from clerk_auth.conf.aliases import INSTANCES, read_instances
from clerk_auth.conf.declarations import INHERITED, PROCESS, read_declared, setting
from clerk_auth.core.claims import DEFAULT_INSTANCE
from clerk_auth.core.keys import VerifyingKey
from clerk_auth.core.tokens import Policy
from clerk_auth.error_reports import hide_locals

__all__ = [
    "DEFAULT_INSTANCE", "DEV_HOST", "ENFORCE", "GROUPS", "JWKS_PATH", "MODES", "OBSERVE", "Config",
    "find_configs", "get_path", "read_configs",
]  # fmt: skip

# Whether the verdict decides about the request, or is only noted.
ENFORCE, OBSERVE = MODES = ("enforce", "observe")
DEV_HOST = "clerk.localhost"
JWKS_PATH = "/.well-known/jwks.json"
# The settings of a wing: the key of its dict, and the path of its dataclass of declared settings,
# which is imported where that key is present or the wing asks.
GROUPS: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings in force, defaults filled in. Durations are in seconds.

    Each field is one key, with its reader, default, range and the first words of its row in
    ``docs/settings.md``, in that page's order; but for the last two, which say whose they are.
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
        readers.number(0, 60), 5, "Clock skew allowed on `exp`, `nbf` and `iat`.", scope=INHERITED
    )
    uncategorized_token_max_seconds: float = setting(
        readers.number(0, 10**9), 3600, "How far ahead `exp` may be without a session's category."
    )
    accept_pending: bool = setting(
        readers.read_flag, False, "Accept sessions that still have tasks to do."
    )
    max_token_bytes: int = setting(
        readers.integer(1), 16384, "A longer credential is refused unread.", scope=INHERITED
    )
    cache_alias: str = setting(
        readers.read_text,
        "default",
        "The Django cache that holds the shared key set.",
        range="an alias in `CACHES`",
        scope=INHERITED,
    )
    jwks_refresh_seconds: float = setting(
        readers.number(60),
        300,
        "A set older than this is refreshed in the background, and used meanwhile.",
        range="60 to half of `JWKS_MAX_AGE_SECONDS`",
        scope=INHERITED,
    )
    jwks_max_age_seconds: float = setting(
        readers.number(120, 86400), 86400, "A set older than this is never used.", scope=INHERITED
    )
    jwks_local_seconds: float = setting(
        readers.number(1),
        15,
        "How often a process that has requests looks at the shared copy.",
        range="1 to `JWKS_REFRESH_SECONDS`",
        scope=INHERITED,
    )
    jwks_cooldown_seconds: int = setting(
        readers.integer(1),
        30,
        "At most one fetch that a token forces per this time.",
        scope=INHERITED,
    )
    jwks_timeout_seconds: float = setting(
        readers.number(1, 30),
        4,
        "Budget of one fetch, from connecting to the last byte.",
        scope=INHERITED,
    )
    verified_token_cache_size: int = setting(
        readers.integer(0), 4096, "How many verified tokens a process remembers.", scope=INHERITED
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
        scope=PROCESS,
    )
    metrics: tuple[str, ...] = setting(
        readers.read_dotted_paths, (), "Sinks, which export what is counted.", scope=PROCESS
    )
    realm: str = setting(readers.read_realm, "api", "The realm in `WWW-Authenticate`.")
    health_details: bool = setting(
        readers.read_flag,
        False,
        "Show the readiness endpoint's details to every caller.",
        scope=PROCESS,
    )
    instance: str = DEFAULT_INSTANCE
    is_one_of_several: bool = False

    @property
    def label(self) -> str | None:
        """The instance as metrics and logs name it; ``None`` where there is only one."""
        return self.instance if self.is_one_of_several else None

    @property
    def path(self) -> str:
        """What stands before its keys in messages."""
        return get_path(self.instance)

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
            instance=self.instance,
            is_one_of_several=self.is_one_of_several,
        )


@hide_locals
def read_configs(values: object, *, debug: bool) -> Mapping[str, Config]:
    """Read the setting, by alias; ``ImproperlyConfigured`` names every problem and its remedy.

    What is wrong with one instance stops all: a project runs as it is meant, or not at all.
    """
    configs, found = find_configs(values, debug=debug)
    if found:
        raise problems.unusable(*found)
    return configs


def get_path(alias: str) -> str:
    """Return what stands before the keys of an instance in messages."""
    return "" if alias == DEFAULT_INSTANCE else f"{INSTANCES}.{alias}."


def find_configs(values: object, *, debug: bool) -> tuple[dict[str, Config], list[CheckMessage]]:
    """Return each instance by alias and every problem; the former only where there is none."""
    top, found = read_declared(Config, values, groups=[*GROUPS, INSTANCES])
    if not isinstance(values, Mapping):
        return {}, found
    reads, found = {DEFAULT_INSTANCE: top}, [*found, *aliases.find_misnamed(values)]
    for alias, own in read_instances(values).items():
        group = f"{INSTANCES}.{alias}"
        reads[alias], more = read_declared(Config, own, group=group, groups=GROUPS, top=top)
        found += more
    if not found:
        for alias, read in reads.items():
            others = None if read is top else top
            found += problems.find_conflicts(read, others, get_path(alias), debug=debug)
    if found:
        return {}, found
    is_one_of_several = len(reads) > 1
    configs = {
        alias: Config(**_fill_in(read, alias), instance=alias, is_one_of_several=is_one_of_several)
        for alias, read in reads.items()
    }
    return configs, [*_find_twins(configs)]


def _find_twins(configs: Mapping[str, Config]) -> Iterator[CheckMessage]:
    """Yield a problem for each instance that an earlier one could be taken for."""
    for config, other in ((b, a) for a, b in combinations(configs.values(), 2)):
        alike = {
            "issuer": not set(config.issuers).isdisjoint(other.issuers),
            "key": not set(_thumbprints(config)).isdisjoint(_thumbprints(other)),
            "JWKS_URL": config.jwks_url is not None and config.jwks_url == other.jwks_url,
        }
        for what in [name for name, is_alike in alike.items() if is_alike][:1]:
            yield problems.same_instance(config.path.rstrip("."), what, other.instance)


def _thumbprints(config: Config) -> list[str]:
    return [key.thumbprint for key in config.jwt_keys]


def _fill_in(read: dict[str, Any], alias: str) -> dict[str, Any]:
    """Add what follows from other settings; ``jwks_url`` is ``None`` where nothing is fetched."""
    own_host = DEV_HOST if alias == DEFAULT_INSTANCE else f"{alias}.{DEV_HOST}"
    domain = read["frontend_api"] or read["publishable_key"]
    issuers = read["issuers"] or (f"https://{domain or own_host}",)
    jwt_keys = () if read["dev_mode"] else read["jwt_keys"]
    url = read["jwks_url"] or f"https://{domain}{JWKS_PATH}"
    jwks_url = None if read["dev_mode"] or jwt_keys else url
    return {**read, "issuers": issuers, "jwt_keys": jwt_keys, "jwks_url": jwks_url}
