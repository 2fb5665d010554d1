"""What Prometheus gets, and nobody else."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.integration

TOKEN = "only-for-this-test"


@pytest.fixture(autouse=True)
def _project(settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.METRICS_TOKEN = TOKEN


def scrape(authorization: str = f"Bearer {TOKEN}"):
    return Client(headers={"Authorization": authorization} if authorization else {}).get("/metrics")


def test_scraper_with_the_token_is_answered_without_a_redirect():
    answer = scrape()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in answer.headers["Cache-Control"]
    assert b"# HELP python_info" in answer.content


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"],
)
def test_nobody_else_is(authorization):
    assert scrape(authorization).status_code == 403


@pytest.mark.parametrize("token", [None, ""])
@pytest.mark.parametrize("authorization", ["", "Bearer None", "Bearer "])
def test_there_is_no_page_without_the_setting(authorization, token, settings):
    settings.METRICS_TOKEN = token
    assert scrape(authorization).status_code == 404


def test_page_is_read_alone():
    assert Client(headers={"Authorization": f"Bearer {TOKEN}"}).post("/metrics").status_code == 405
