"""A panel for django-debug-toolbar with all requests to D1 and Durable Objects.

It lists their statements.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any

from debug_toolbar.panels import Panel

from do_bridge.driver.trips import count_trips

from .observing import collect_calls


class RelayPanel(Panel):
    """The panel with the round trips, batches and SQL of all aliases.

    This includes tenants. It never shows a parameter's value. The toolbar's own SQL panel patches the
    connections that exist when a request begins, and a tenant's connection is made later.
    """

    title = "Round trips"
    template = "do_bridge/debug_toolbar.html"
    is_async = True

    @property
    def nav_subtitle(self) -> str:
        """The round trips and the time."""
        stats = self.get_stats()
        return f"{stats['trips']} in {stats['milliseconds']} ms" if stats else ""

    def process_request(self, request: Any) -> Any:
        """Count what a view sends."""
        with count_trips() as self._trips, collect_calls() as self._calls:
            response = self.get_response(request)
        # A coroutine has not begun yet.
        return self._wait(response) if iscoroutine(response) else response

    async def _wait(self, response):
        with count_trips() as self._trips, collect_calls() as self._calls:
            return await response

    def generate_stats(self, request: Any, response: Any) -> None:
        """Store what the panel shows."""
        calls = self._calls
        self.record_stats(
            {
                "trips": self._trips.count,
                "milliseconds": round(1000 * sum(call.duration for call in calls), 1),
                "statements": sum(call.statements for call in calls),
                "batches": sum(call.statements > 1 for call in calls),
                "calls": [_shown(call) for call in calls],
            }
        )


def _shown(call):
    return {
        "alias": call.name,
        "operation": call.operation,
        "replica": call.replica,
        "region": call.region,
        "milliseconds": round(1000 * call.duration, 1),
        "rows": call.rows,
        "changed": call.changed,
        "error": call.error,
        "sql": list(call.sql),
    }
