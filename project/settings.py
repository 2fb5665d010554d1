"""Settings of the demo project, read from the environment; the defaults are those of production."""

import os
import warnings
from pathlib import Path

from django.core.management.utils import get_random_secret_key

from project.environment import read_caches, read_clerk_auth, read_flag, read_list, read_text

BASE_DIR = Path(__file__).resolve().parent.parent

# A random key serves one process. Workers must share one: it signs what they share in the cache.
SECRET_KEY = read_text(os.environ, "DJANGO_SECRET_KEY") or get_random_secret_key()
DEBUG = read_flag(os.environ, "DJANGO_DEBUG") or False
ALLOWED_HOSTS = read_list(os.environ, "DJANGO_ALLOWED_HOSTS") or ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "clerk_auth",
    "project",
]
MIDDLEWARE = [
    # First: it counts what the others answer, too.
    "clerk_auth.middleware.ResponseCounter",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": read_text(os.environ, "DJANGO_DB_PATH") or BASE_DIR / "db.sqlite3",
    }
}
CACHES = read_caches(os.environ)
# Absent where nothing is configured: migrations and the like need no Clerk instance.
if clerk_auth := read_clerk_auth(os.environ):
    CLERK_AUTH = clerk_auth

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["clerk_auth.authentication.ClerkAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 20,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
if DEBUG:
    REST_FRAMEWORK["DEFAULT_RENDERER_CLASSES"] += ["rest_framework.renderers.BrowsableAPIRenderer"]
SPECTACULAR_SETTINGS = {
    "TITLE": "Uploads behind Clerk",
    "VERSION": "1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "clerk_auth.contrib.spectacular.document_refusals",
    ],
    # Schema and Swagger UI are public, and look at no token.
    "SERVE_AUTHENTICATION": [],
    "SERVE_INCLUDE_SCHEMA": False,
    # From drf-spectacular-sidecar: the page loads nothing from elsewhere, and asks no validator.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "tryItOutEnabled": True,
        "validatorUrl": None,
    },
}
# Keeps one upload in memory, and never more of it than is taken.
FILE_UPLOAD_HANDLERS = ["project.uploads.body.BoundedUploadHandler"]

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
# DJANGO_HTTPS=0 is for runs on loopback, where nothing terminates TLS.
_https = read_flag(os.environ, "DJANGO_HTTPS")
SECURE_SSL_REDIRECT = not DEBUG if _https is None else _https
# Probes and scrapers speak plain HTTP to the process itself.
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_SSL_REDIRECT else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_SSL_REDIRECT
if read_flag(os.environ, "DJANGO_PROXY_SSL_HEADER"):
    # Only behind a proxy that removes this header from what clients send.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# What a scraper of /metrics must bring; without it there is no such page.
METRICS_TOKEN = read_text(os.environ, "METRICS_TOKEN")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"without_keys_busy": {"()": "clerk_auth.logs.WithoutKeysBusy"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # Django's logger loses its own handlers here: root has one.
    "loggers": {
        "clerk_auth": {"level": "INFO"},
        "django": {"level": "INFO"},
        # An anonymous caller can cause these: they are counted, and are not errors of the API.
        "django.request": {"level": "ERROR", "filters": ["without_keys_busy"]},
    },
}

if read_flag(os.environ, "JWT_SIGNATURE_VERIFICATION_ENABLED") is False:
    warnings.warn(
        "JWT_SIGNATURE_VERIFICATION_ENABLED is ignored: signatures are always verified. "
        "Remove the variable.",
        stacklevel=1,
    )
