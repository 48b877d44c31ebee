"""The parts of `benchmarks.distance`: the proxy's delay and counting, the PostgreSQL of its own, the plot."""

import socket
import threading
import time
from contextlib import ExitStack
from xml.etree import ElementTree

import psycopg
import pytest

from benchmarks import chart, distance
from benchmarks.far import Far
from tests import postgres


@pytest.fixture
def echo():
    """The port of a server that sends back what it is sent, and twice what ends with '!'."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            while data := connection.recv(1000):
                connection.sendall(data)
                if data.endswith(b"!"):
                    connection.sendall(data)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def exchange(connection, data, answer=None):
    connection.sendall(data)
    received = b""
    while len(received) < len(answer or data):
        received += connection.recv(1000)
    return received


def test_opening_a_connection_and_each_answered_request_is_a_round_trip(echo):
    with Far(echo) as far, socket.create_connection(("127.0.0.1", far.port)) as client:
        for _ in range(3):
            assert exchange(client, b"hello") == b"hello"
        assert far.trips == 4
        assert exchange(client, b"two!", b"two!two!") == b"two!two!"
        assert far.trips == 5


def test_a_goodbye_that_nobody_answers_is_no_round_trip(echo):
    with Far(echo) as far:
        with socket.create_connection(("127.0.0.1", far.port)) as client:
            exchange(client, b"hello")
        with socket.create_connection(("127.0.0.1", far.port)) as client:
            exchange(client, b"again")
        assert far.trips == 4


def test_each_direction_takes_the_delay_and_opening_takes_a_round_trip(echo):
    with Far(echo) as far:
        far.delay = 0.05
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", far.port)) as client:
            exchange(client, b"hello")
            assert time.monotonic() - start >= 4 * far.delay
            start = time.monotonic()
            exchange(client, b"again")
            assert time.monotonic() - start >= 2 * far.delay


def test_a_machine_without_postgresql_is_measured_without_it_and_the_reason_is_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(postgres, "_PLACES", tmp_path)
    with pytest.raises(postgres.NoPostgres, match="PostgreSQL is not in"), ExitStack() as stack:
        distance.postgres_databases(stack)


@pytest.mark.skipif(bool(postgres.reason_to_skip()), reason=postgres.reason_to_skip())
def test_a_measurement_has_two_databases_with_postgresqls_own_settings_behind_the_proxy():
    with ExitStack() as stack:
        entries = distance.postgres_databases(stack)
        for _, entry, _ in entries:
            address = f"host=127.0.0.1 port={entry['PORT']} user={entry['USER']} dbname={entry['NAME']}"
            with psycopg.connect(address) as connection:
                assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert [entry["NAME"] for _, entry, _ in entries] == ["kept", "opened"]
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(address)


def test_the_plot_has_a_panel_for_each_page_and_a_line_for_each_database():
    lines = {name: [(0, 1.0), (20, 47.0)] for name in ("D1", "PostgreSQL")}
    text = chart.panels({"visitor": lines, "member": lines}, "ms")
    drawn = ElementTree.fromstring(text)  # noqa: S314 - our own
    assert len(drawn.findall(".//{*}polyline")) == 4
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"visitor", "member", "D1", "PostgreSQL", "50"} <= set(texts)


def test_the_report_says_which_pages_need_more_round_trips_than_postgres():
    measured = distance.Measured()
    for name in (distance.OBJECT, distance.D1, distance.OPTIMISTIC, distance.KEPT):
        for work in (*distance.PAGES, *distance.STATEMENTS):
            measured.add(name, work, 0, 3.0 if name == distance.OBJECT else 1.0, 1)
    measured.trips[distance.D1, "member"] = [2, 2, 3]
    text = distance.report(measured, {0: 1}, [])
    assert "`get()` on an object: 3.00 × (target ≤ 1.5 ×: **missed**)" in text
    assert "Pages with more round trips than PostgreSQL: member on D1." in text
