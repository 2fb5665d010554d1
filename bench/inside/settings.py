"""Settings of the measured project, defaults wherever there are any; ``BENCH_*`` says what else."""

import os
from pathlib import Path

ISSUER = "https://clerk.example.com"
PARTY = "https://app.example.com"
# One that every token grants, in its organization.
PERMISSION = "org:reports:read"
# Leeway of clerk_auth, and of what else takes one.
LEEWAY_SECONDS = 5
# Among the bad tokens, the one that everybody must accept.
GOOD = "good"

WORK = Path(os.environ["BENCH_WORK"])
KEY_SERVER = os.environ.get("BENCH_KEY_SERVER", "http://127.0.0.1:9")
JWKS_URL = f"{KEY_SERVER}/.well-known/jwks.json"

SECRET_KEY = "of the benchmark, where it protects nothing"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"]
if not os.environ.get("BENCH_WITHOUT_OURS"):
    INSTALLED_APPS.append("clerk_auth")
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "bench.inside.urls"
USE_TZ = True
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if _redis_url := os.environ.get("BENCH_REDIS_URL"):
    CACHES["default"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": _redis_url,
        "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    }
CLERK_AUTH = {"ISSUER": ISSUER, "JWKS_URL": JWKS_URL, "AUTHORIZED_PARTIES": [PARTY]}
if _size := os.environ.get("BENCH_TOKEN_CACHE_SIZE"):
    CLERK_AUTH["VERIFIED_TOKEN_CACHE_SIZE"] = int(_size)
if _sink := os.environ.get("BENCH_SINK"):
    CLERK_AUTH["METRICS"] = [_sink]
    # The lines for CloudWatch go nowhere.
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"null": {"class": "logging.NullHandler"}},
        "loggers": {"clerk_auth.emf": {"handlers": ["null"]}},
    }
HAS_ROWS = bool(os.environ.get("BENCH_USERS"))
if HAS_ROWS:
    CLERK_AUTH["USER_RESOLVER"] = "clerk_auth.users.database_user"
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": WORK / f"users-{os.getpid()}.sqlite3",
            "CONN_MAX_AGE": None,
        }
    }
SIMPLE_JWT = {
    "ALGORITHM": "RS256",
    "JWK_URL": JWKS_URL,
    "ISSUER": ISSUER,
    "LEEWAY": LEEWAY_SECONDS,
    "USER_ID_CLAIM": "sub",
    "TOKEN_TYPE_CLAIM": None,
}
