"""Usage by database and hour: counted beside requests, written by a thread and at the end."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connections

from blog.models import Post
from do_bridge import driver
from do_bridge.driver.calls import Call
from do_bridge.inspection.models import Usage
from do_bridge.inspection.usage import counting, reading, writing
from do_bridge.inspection.usage.counting import Counter
from do_bridge.inspection.usage.writing import Writer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def usage(site, settings, monkeypatch):
    """A Writer of its own, which counts what the test does, and writes when the test calls it."""
    Usage.objects.all().delete()
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"USAGE": True}
    made = Writer()
    made.counter = Counter()
    monkeypatch.setattr("do_bridge.driver.calls._observers", ((made.counter.seen, lambda: True),))
    yield made
    Usage.objects.all().delete()


def sums(alias):
    return {
        name: value
        for name, value in Usage.objects.values("calls", "writes", "rows_read", "rows_written", "database")
        .get(database=alias)
        .items()
        if name != "database"
    }


def call(**values):
    return Call("batch", "do:x", 1, **values)


def test_what_a_tenant_is_asked_is_summed_by_hour_and_for_all_tenants(usage, site):
    Post.objects.using("tenant/acme").create(title="a", content="b", user_id=site.ada.pk)
    list(Post.objects.using("tenant/acme"))
    list(Post.objects.using("tenant/globex"))
    assert usage.write()
    acme, globex, every = sums("tenant/acme"), sums("tenant/globex"), sums("*")
    assert (acme["calls"], acme["writes"], globex["writes"]) == (2, 1, 0)
    assert acme["rows_written"] >= 3
    assert every["calls"] == acme["calls"] + globex["calls"]
    assert Usage.objects.get(database="tenant/acme").start == counting.hour()


def test_a_second_write_adds_to_the_same_row_and_is_one_round_trip(usage):
    for _ in range(2):
        list(Post.objects.using("tenant/acme"))
        usage._tidied = time.monotonic()
        with driver.count_trips() as trips:
            assert usage.write()
        assert trips.count == 1
    assert sums("tenant/acme")["calls"] == 2


def test_nothing_is_written_if_nothing_was_asked_but_the_writes_themselves(usage):
    list(Post.objects.using("tenant/acme"))
    assert usage.write()
    with driver.count_trips() as trips:
        assert usage.write()
    assert trips.count == 0


def test_a_request_takes_no_round_trip_more_than_without_counting(usage, sign_in, count_trips, settings):
    client = sign_in("ada")
    client.get("/t/acme/")
    counts = []
    for on in (False, True):
        settings.DO_BRIDGE = settings.DO_BRIDGE | {"USAGE": on}
        with count_trips() as trips:
            assert client.get("/t/acme/").status_code == 200
        counts.append(trips.count)
    assert counts[0] == counts[1]


def test_switched_off_it_counts_nothing_and_starts_no_thread(settings):
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"USAGE": False}
    started = []
    counter = Counter(lambda: started.append(1))
    counter.add("tenant/acme", call())
    assert (counter.take(), started) == ({}, [])


def test_the_thread_is_started_once_and_again_in_the_child_of_a_fork(settings):
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"USAGE": True}
    started = []
    counter = Counter(lambda: started.append(1))
    for _ in range(3):
        counter.add("tenant/acme", call())
    assert len(started) == 1
    counter.forget()
    assert counter.take() == {}
    counter.add("tenant/acme", call())
    assert len(started) == 2


def test_many_threads_lose_nothing(settings):
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"USAGE": True}
    counter = Counter()
    threads = [
        threading.Thread(target=lambda: [counter.add("tenant/acme", call(rows_read=2)) for _ in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((_, figures),) = counter.take().items()
    assert figures[0] == 4000
    assert figures[2] == 8000


def test_a_d1_that_does_not_answer_harms_nothing_and_loses_nothing(usage, monkeypatch):
    list(Post.objects.using("tenant/acme"))
    with monkeypatch.context() as patched:
        patched.setitem(connections["default"].settings_dict, "HOST", "http://127.0.0.1:9")
        patched.setattr(writing, "PATIENCE", 0.3)
        assert not usage.write()
    list(Post.objects.using("tenant/acme"))
    assert usage.write()
    assert sums("tenant/acme")["calls"] == 2


def test_what_is_kept_while_d1_is_away_is_bounded(settings, monkeypatch):
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"USAGE": True}
    monkeypatch.setattr(counting, "MOST", 2)
    counter = Counter()
    for slug in "abc":
        counter.add(f"tenant/{slug}", call())
    assert len(counter.take()) == 2
    assert counter.lost == 1


def test_old_hours_become_days_old_days_go_and_a_second_process_changes_nothing(usage):
    now = datetime.now(UTC)
    rows = []
    for age, database in ((3, "tenant/acme"), (3, "tenant/globex"), (70, "tenant/acme")):
        start = counting.day(counting.hour(now)) - timedelta(days=age)
        rows += [Usage(database=database, start=start + timedelta(hours=n), calls=n) for n in range(24)]
    Usage.objects.bulk_create(rows)
    for _ in range(2):
        usage._tidied = None
        list(Post.objects.using("tenant/acme"))
        assert usage.write()
    old = Usage.objects.filter(start__lt=now - timedelta(days=2)).order_by("database")
    assert [(row.database, row.hours, row.calls) for row in old] == [
        ("tenant/acme", 24, 276),
        ("tenant/globex", 24, 276),
    ]
    days = reading.series("tenant/acme", now).days
    assert (len(days), sum(bar.calls for bar in days)) == (31, 278)


def test_a_month_costs_what_the_price_list_says(usage):
    Usage.objects.create(
        database="tenant/acme", start=counting.hour(), calls=1e6, rows_read=0, rows_written=1e6, writes=0
    )
    found = reading.month_dollars({"tenant/acme": 5e9, "tenant/globex": None})
    # Calls, their time, the Worker's CPU, rows written, storage.
    assert found["tenant/acme"] == pytest.approx(0.15 + 1e6 * 0.055 * 0.125 * 12.5e-6 + 0.02 + 1.0 + 5 * 0.2)
    assert found["tenant/globex"] == 0


SERVED = """
import os, sys, django
django.setup()
from django.db import connections
from django.core.signals import request_started
from do_bridge.inspection.inspected import Inspected
if sys.argv[1] == "serves":
    request_started.send(None)
with Inspected("acme").connect(10) as connection:
    connection.execute("SELECT 1")
with Inspected().connect(10) as connection:
    connection.execute("SELECT 1")
if sys.argv[1] == "forks":
    request_started.send(None)
    if os.fork() == 0:
        sys.exit()
    os.wait()
print("ended")
"""


@pytest.fixture
def configured():
    """The configured D1 of subprocesses, migrated; returns what it has counted."""
    environment = os.environ | {"COUNT_USAGE": "True"}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--database", "default", "--verbosity", "0"],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    values = connections["default"].settings_dict

    def read(sql="SELECT sum(calls) FROM do_bridge_inspection_usage WHERE database = 'tenant/acme'"):
        database = f"d1:{os.environ['CLOUDFLARE_DATABASE_ID']}"
        with driver.connect(driver.relay(values["HOST"], values["PASSWORD"]), database) as connection:
            return (connection.execute(sql).fetchone() or (None,))[0]

    read("DELETE FROM do_bridge_inspection_usage RETURNING 1")
    return lambda: read() or 0


@pytest.mark.parametrize(("how", "count"), [("serves", 1), ("forks", 1), ("works", 0)])
def test_a_process_writes_at_its_end_if_it_has_served_and_its_fork_adds_nothing(configured, how, count):
    done = subprocess.run(
        [sys.executable, "-c", SERVED, how],
        cwd=ROOT,
        env=os.environ | {"COUNT_USAGE": "True", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "ended" in done.stdout
    assert configured() == count


def test_gunicorn_writes_what_it_counted_when_it_is_told_to_stop(configured):
    from do_bridge.relay.ports import free_port
    from tests.infra.test_gunicorn import status_of, wait_until

    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env=os.environ | {"COUNT_USAGE": "True", "LOG_LEVEL": "INFO"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: status_of(f"http://127.0.0.1:{port}/") == 200)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    values = connections["default"].settings_dict
    database = f"d1:{os.environ['CLOUDFLARE_DATABASE_ID']}"
    with driver.connect(driver.relay(values["HOST"], values["PASSWORD"]), database) as connection:
        sql = "SELECT sum(calls) FROM do_bridge_inspection_usage WHERE database = 'default'"
        assert (connection.execute(sql).fetchone()[0] or 0) >= 1, errors
