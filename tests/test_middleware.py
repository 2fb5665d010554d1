"""Every response is counted once, as what the client got, whoever made it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import django
import pytest
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.log import configure_logging
from django.views.decorators.csrf import csrf_exempt

from clerk_auth import metrics
from clerk_auth.middleware import ResponseCounter
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.test_authentication import Public, WhoAmI

MIDDLEWARE = "clerk_auth.middleware.ResponseCounter"


def answer(request: HttpRequest, status: int) -> HttpResponse:
    return HttpResponse(status=status)


async def answer_async(request: HttpRequest, status: int) -> HttpResponse:
    return HttpResponse(status=status)


def fail(request: HttpRequest, name: str) -> HttpResponse:
    raise {"missing": Http404, "denied": PermissionDenied, "defect": ZeroDivisionError}[name]


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"a", b"b"]))


urlpatterns = [
    path("status/<int:status>", answer),
    path("async/<int:status>", answer_async),
    path("fail/<str:name>", fail),
    path("stream", stream),
    path("me", csrf_exempt(WhoAmI.as_view())),
    path("public", Public.as_view()),
]


@pytest.fixture(autouse=True)
def _project(settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [MIDDLEWARE, "django.middleware.common.CommonMiddleware"]
    settings.ADMINS = (
        ["admin@example.com"] if django.VERSION >= (6,) else [("", "admin@example.com")]
    )
    # Django 6.1 asks for it; before, the test runner's own setting says the same.
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def counted() -> dict[str, float]:
    """Return the responses by label, without those that never were."""
    return {
        label: total
        for (name, *labels), total in metrics.totals().items()
        for label in labels
        if name == metrics.RESPONSES and total
    }


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (199, None),
        (200, "2xx"),
        (299, "2xx"),
        (300, "3xx"),
        (399, "3xx"),
        (400, "4xx"),
        (401, "401"),
        (402, "4xx"),
        (403, "403"),
        (404, "4xx"),
        (499, "4xx"),
        (500, "5xx"),
        (502, "5xx"),
        (503, "503"),
        (504, "5xx"),
        (599, "5xx"),
    ],
)
def test_each_status_has_its_label(status, label, client):
    assert client.get(f"/status/{status}").status_code == status
    assert counted() == ({label: 1} if label else {})


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("/fail/missing", "4xx"),
        ("/fail/denied", "403"),
        ("/fail/defect", "5xx"),
        ("/no-such-page", "4xx"),
    ],
)
def test_exception_is_counted_as_what_django_answers(target, label, client):
    client.get(target)
    assert counted() == {label: 1}


def test_answers_of_the_middleware_inside_are_counted(settings, client):
    settings.MIDDLEWARE = [MIDDLEWARE, "django.middleware.security.SecurityMiddleware"]
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/status/200").status_code == 301
    assert counted() == {"3xx": 1}


def test_stream_is_not_read(client):
    response = client.get("/stream")
    assert counted() == {"2xx": 1}
    assert response.getvalue() == b"ab"


@pytest.mark.parametrize(
    ("target", "label"),
    [("/async/401", "401"), ("/status/503", "503"), ("/fail/defect", "5xx"), ("/stream", "2xx")],
)
def test_async_server_counts_the_same(target, label):
    client = AsyncClient(raise_request_exception=False)
    asyncio.run(client.get(target))
    assert counted() == {label: 1}


def raise_error(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


async def raise_error_async(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


async def call_async() -> None:
    await ResponseCounter(raise_error_async)(HttpRequest())


@pytest.mark.parametrize(
    "call",
    [lambda: ResponseCounter(raise_error)(HttpRequest()), lambda: asyncio.run(call_async())],
    ids=["sync", "async"],
)
def test_exception_that_nobody_made_an_answer_of_is_an_error_of_ours(call):
    with pytest.raises(ZeroDivisionError):
        call()
    assert counted() == {"5xx": 1}


# What an anonymous caller causes


@pytest.fixture
def busy(configured) -> Iterator[str]:
    """The header of a token with an unknown key id, while others wait for theirs."""
    source = get_verifier().source
    get_verifier().verify(configured.signer.token(azp=PARTY))
    slots = source._desk.places["key_id"]
    while slots.acquire(blocking=False):
        pass
    payload = configured.signer.session_payload(azp=PARTY)
    return "Bearer " + configured.signer.sign(payload, {"kid": "ins_nobody"})


def test_busy_answer_is_counted_apart_from_outages(busy, client):
    response = client.get("/me", headers={"Authorization": busy})
    assert (response.status_code, response.json()["code"]) == (503, "keys_busy")
    assert counted() == {"keys_busy": 1}


def test_outage_is_no_busy_answer(configured, client):
    configured.stop()
    token = configured.signer.token(azp=PARTY)
    response = client.get("/me", headers={"Authorization": "Bearer " + token})
    assert (response.status_code, response.json()["code"]) == (503, "keys_unavailable")
    assert counted() == {"503": 1}


def test_401_is_counted_with_a_token_and_without_one(configured, client):
    assert client.get("/me").status_code == 401
    assert client.get("/public", headers={"Authorization": "Bearer x"}).status_code == 401
    assert counted() == {"401": 2}


FILTERS = {"without_keys_busy": {"()": "clerk_auth.logs.WithoutKeysBusy"}}
ON_THE_LOGGER = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": FILTERS,
    "loggers": {"django.request": {"filters": ["without_keys_busy"]}},
}
ON_THE_HANDLER = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": FILTERS,
    "handlers": {
        "mail_admins": {
            "class": "django.utils.log.AdminEmailHandler",
            "level": "ERROR",
            "filters": ["without_keys_busy"],
        }
    },
    "loggers": {"django": {"handlers": ["mail_admins"], "level": "INFO"}},
}
UNFILTERED = {"version": 1, "disable_existing_loggers": False}


@pytest.fixture
def log_as(settings) -> Iterator[None]:
    """Configures logging as Django does at start-up, and puts the project's back."""

    def configure(logging_setting: dict) -> None:
        logging.getLogger("django.request").filters.clear()
        configure_logging("logging.config.dictConfig", logging_setting)

    project = settings.LOGGING
    yield configure
    configure(project)


@pytest.mark.parametrize(
    ("logged_as", "mails"),
    [
        pytest.param(UNFILTERED, 1, id="without-the-filter"),
        pytest.param(ON_THE_LOGGER, 0, id="filter-on-the-logger"),
        pytest.param(ON_THE_HANDLER, 0, id="filter-on-the-handler"),
    ],
)
def test_filter_mails_no_busy_answer(logged_as, mails, busy, client, log_as):
    log_as(logged_as)
    client.get("/me", headers={"Authorization": busy})
    assert len(mail.outbox) == mails


@pytest.mark.parametrize("logged_as", [ON_THE_LOGGER, ON_THE_HANDLER], ids=["logger", "handler"])
@pytest.mark.parametrize("target", ["/status/503", "/fail/defect"])
def test_filter_lets_every_other_error_through(target, logged_as, client, log_as):
    log_as(logged_as)
    client.get(target)
    assert len(mail.outbox) == 1
