"""Middleware that counts the responses of a project, not only ours.

The counters of tokens do not cover them: a request without a token is refused by a permission, and
a 503 may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from clerk_auth import metrics
from clerk_auth.logs import is_keys_busy

__all__ = ["ResponseCounter"]

_APART = {401: "401", 403: "403", 503: "503"}
_LABELS = {status: _APART.get(status, f"{status // 100}xx") for status in range(200, 600)}
_counters = {label: metrics.counter(metrics.RESPONSES, label) for label in metrics.STATUSES}


class ResponseCounter(MiddlewareMixin):
    """Counts each response by class of status; put it first in ``MIDDLEWARE`` to count all."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.async_mode:
            return self.__acall__(request)
        try:
            response = cast(HttpResponseBase, self.get_response(request))
        except Exception:
            _count(request, 500)
            raise
        _count(request, response.status_code)
        return response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response = await cast(Awaitable[HttpResponseBase], self.get_response(request))
        except Exception:
            _count(request, 500)
            raise
        _count(request, response.status_code)
        return response


def _count(request: HttpRequest, status: int) -> None:
    label = "keys_busy" if is_keys_busy(request, status) else _LABELS.get(status)
    if label:
        _counters[label]()
