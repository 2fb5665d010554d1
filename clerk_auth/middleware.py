"""Counts the responses of a project: what authentication alone cannot say.

A request without a token is refused by a permission, and a 503 may be anybody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from clerk_auth import metrics
from clerk_auth.logs import is_keys_busy

_APART = {401: "401", 403: "403", 503: "503"}
_LABELS = {status: _APART.get(status, f"{status // 100}xx") for status in range(200, 600)}


class ResponseCounter:
    """Counts each response by class of status; first in ``MIDDLEWARE``, it sees all of them."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._answer(request)
        try:
            response: HttpResponseBase = self._get_response(request)
        except Exception:
            _count(request, 500)
            raise
        _count(request, response.status_code)
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response: HttpResponseBase = await self._get_response(request)
        except Exception:
            _count(request, 500)
            raise
        _count(request, response.status_code)
        return response


def _count(request: HttpRequest, status: int) -> None:
    label = "keys_busy" if is_keys_busy(request, status) else _LABELS.get(status)
    if label:
        metrics.increment(metrics.RESPONSES, label)
