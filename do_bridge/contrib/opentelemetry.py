"""OpenTelemetry spans and metrics for requests to the relay and to D1's API.

Each request has a span. The metrics are of time and sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from do_bridge.driver.calls import Call, observe
from do_bridge.driver.transports.relay_pool import session_counts
from do_bridge.tenancy.slugs import alias_slug
from do_bridge.version import __version__

NAME = "do_bridge"
#: What `operation` of a call is in a span's name.
OPERATIONS = {"tx": "transaction statement"}


def instrument(tracer_provider: Any = None, meter_provider: Any = None) -> Callable[[], None]:
    """Make spans and metrics of all requests of this process.

    Return a function that undoes this. Call it once, after the SDK is configured. A span has the attributes
    `db.system`, `db.namespace` (the alias), `db.operation.name`, `db.operation.batch.size`,
    `db.response.returned_rows`, `do_bridge.rows_changed`, `do_bridge.tenant` and `error.type`. None has a
    parameter's value or SQL.
    """
    tracer = trace.get_tracer(NAME, __version__, tracer_provider)
    meter = metrics.get_meter(NAME, __version__, meter_provider)
    duration = meter.create_histogram(
        "db.client.operation.duration", unit="s", description="Time of requests to D1 and Durable Objects"
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.count", [_sessions], unit="{connection}", description="Relay sessions"
    )

    def record(call: Call) -> None:
        attributes = _attributes(call)
        duration.record(call.duration, _of_metric(attributes))
        end = time.time_ns()
        start = end - int(call.duration * 1e9)
        name = f"{OPERATIONS.get(call.operation, call.operation)} {_system_name(call)}"
        span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=start)
        if call.error:
            span.set_status(Status(StatusCode.ERROR, call.error))
        span.end(end)

    return observe(record)


def _attributes(call):
    attributes = {
        "db.system": "sqlite",
        "db.system.name": "sqlite",
        "db.namespace": call.name,
        "db.operation.name": call.operation,
        "db.response.returned_rows": call.rows,
        "do_bridge.rows_changed": call.changed,
        "do_bridge.engine": "d1" if call.database.startswith("d1:") else "durable_object",
    }
    if call.statements > 1:
        attributes["db.operation.batch.size"] = call.statements
    if slug := alias_slug(call.name):
        attributes["do_bridge.tenant"] = slug
    if call.error:
        attributes["error.type"] = call.error
    return attributes


def _of_metric(attributes):
    """Return the attributes that have few values.

    A metric for each tenant would make a time series for each.
    """
    names = ("db.system.name", "db.operation.name", "do_bridge.engine", "error.type")
    return {name: attributes[name] for name in names if name in attributes}


def _system_name(call):
    return "D1" if call.database.startswith("d1:") else "Durable Object"


def _sessions(options: Any) -> Iterable[metrics.Observation]:
    used, idle = session_counts()
    yield metrics.Observation(used, {"db.client.connection.state": "used"})
    yield metrics.Observation(idle, {"db.client.connection.state": "idle"})
