"""Middleware that shows a response's round trips in the browser's tools."""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed

from do_bridge.driver.trips import count_trips

from .observing import collect_calls


class ServerTimingMiddleware:
    """A middleware that sets the header `Server-Timing` while DEBUG is on.

    The header is `Server-Timing: relay;dur=12.3;desc="5 round trips"`. Put it first. What a streaming
    response sends later is not counted.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        if not settings.DEBUG:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self.is_async:
            return self._serve_async(request)
        with count_trips() as trips, collect_calls() as calls:
            response = self.get_response(request)
        return _with_header(response, trips.count, calls)

    async def _serve_async(self, request):
        with count_trips() as trips, collect_calls() as calls:
            response = await self.get_response(request)
        return _with_header(response, trips.count, calls)


def _with_header(response, trips, calls):
    milliseconds = 1000 * sum(call.duration for call in calls)
    own = f'relay;dur={milliseconds:.1f};desc="{trips} round trips"'
    before = response.headers.get("Server-Timing")
    response.headers["Server-Timing"] = f"{before}, {own}" if before else own
    return response
