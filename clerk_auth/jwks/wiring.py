"""From the settings to the key source that they ask for."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import caches

from clerk_auth.conf import Config, find_cache_problem
from clerk_auth.conf.problems import unusable
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.document import fetch_document
from clerk_auth.jwks.fleet import Fleet
from clerk_auth.jwks.flight import Fetch
from clerk_auth.jwks.source import StaticKeySource

__all__ = ["KeySource", "make_cached_source", "make_source"]

# Where a verifier gets its keys.
KeySource = StaticKeySource | CachedKeySource


def make_source(config: Config) -> KeySource:
    """Make the source that the settings ask for; ``ImproperlyConfigured`` without its cache."""
    if problem := find_cache_problem(config):
        raise unusable(problem)
    if config.dev_mode:
        # Lazily: other workers need none of what makes keys and tokens.
        from clerk_auth.issuer.development import load_local_issuer

        return StaticKeySource((load_local_issuer(config.issuers[0]).verifying_key,))
    if config.jwks_url is None:
        return StaticKeySource(config.jwt_keys, ignore_kid=True)
    url, timeout_seconds = config.jwks_url, config.jwks_timeout_seconds
    return make_cached_source(config, lambda: fetch_document(url, timeout_seconds).body)


def make_cached_source(config: Config, fetch: Fetch) -> CachedKeySource:
    """Make the source that shares what ``fetch`` returns through the cache."""
    fleet = Fleet(lambda: caches[config.cache_alias], config, secret_key=settings.SECRET_KEY)
    return CachedKeySource(config, fetch, fleet)
