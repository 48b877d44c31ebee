"""Spans and metrics of requests to the relay, through OpenTelemetry's own SDK."""

import pytest
from django.db import DatabaseError, connections, transaction

from do_bridge import batch, directory_context, tenant_context
from tests.applications.integrations.conftest import needed
from tests.applications.integrations.desk.models import Note

needed("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from do_bridge.contrib.opentelemetry import instrument  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
SECRET = "planted-4711"


@pytest.fixture
def acme(make_tenant):
    slug = make_tenant().slug
    with tenant_context(slug):
        Note.objects.count()
    return slug


@pytest.fixture
def traced(acme):
    """(the exporter of spans, the reader of metrics, the tracer)."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    undo = instrument(tracers, meters)
    yield exporter, reader, tracers.get_tracer("test")
    undo()
    tracers.shutdown()
    meters.shutdown()


def points(reader):
    """Return {metric: its points}."""
    data = reader.get_metrics_data()
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_statement_is_a_span_under_the_current_one(acme, traced):
    exporter, _, tracer = traced
    with tracer.start_as_current_span("page") as page, tenant_context(acme):
        list(Note.objects.filter(text=SECRET))
    span = exporter.get_finished_spans()[0]
    assert span.parent.span_id == page.get_span_context().span_id
    assert (span.name, span.kind) == ("batch Durable Object", SpanKind.CLIENT)
    assert dict(span.attributes) == {
        "db.system": "sqlite",
        "db.system.name": "sqlite",
        "db.namespace": f"tenant/{acme}",
        "db.operation.name": "batch",
        "db.response.returned_rows": 0,
        "do_bridge.rows_changed": 0,
        "do_bridge.engine": "durable_object",
        "do_bridge.tenant": acme,
    }
    assert 0 < span.end_time - span.start_time < 400e9


def test_batches_and_transactions_are_told_apart(acme, traced):
    exporter = traced[0]
    with directory_context(), batch():
        for text in ("a", SECRET):
            Note(text=text).save(force_insert=True)
    with tenant_context(acme), transaction.atomic(using=f"tenant/{acme}"):
        Note.objects.create(text=SECRET)
        Note.objects.update(text=SECRET)
    spans = exporter.get_finished_spans()
    assert [(span.name, span.attributes.get("db.operation.batch.size")) for span in spans] == [
        ("batch D1", 2),
        ("transaction statement Durable Object", None),
        ("transaction statement Durable Object", None),
        ("commit Durable Object", None),
    ]
    assert spans[2].attributes["do_bridge.rows_changed"] == 1


def test_d1_has_its_alias_and_no_tenant(traced):
    connections["default"].cursor().execute("SELECT 1")
    span = traced[0].get_finished_spans()[-1]
    assert (span.name, span.attributes["db.namespace"]) == ("batch D1", "default")
    assert "do_bridge.tenant" not in span.attributes


def test_a_failure_is_marked_with_the_class_alone(acme, traced, local_relay):
    with pytest.raises(DatabaseError, match="no such table"):
        connections[f"tenant/{acme}"].cursor().execute("SELECT 1 FROM missing WHERE x = %s", [SECRET])
    span = traced[0].get_finished_spans()[-1]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == span.status.description == "OperationalError"
    assert span.events == ()
    assert SECRET not in span.to_json()
    assert local_relay.token not in span.to_json()


def test_metrics_have_the_time_of_requests_and_the_sessions_and_no_tenant(acme, traced):
    with tenant_context(acme):
        Note.objects.create(text=SECRET)
    found = points(traced[1])
    (duration,) = found["db.client.operation.duration"]
    assert (duration.count, dict(duration.attributes)["do_bridge.engine"]) == (1, "durable_object")
    assert acme not in str(duration.attributes)
    sessions = {
        point.attributes["db.client.connection.state"]: point.value
        for point in found["db.client.connection.count"]
    }
    assert sessions["idle"] >= 1
    assert sessions["used"] == 0


def test_nothing_is_recorded_after_it_is_undone(acme, traced):
    from do_bridge.driver import calls

    before = len(calls._observers)
    instrument()()
    assert len(calls._observers) == before
