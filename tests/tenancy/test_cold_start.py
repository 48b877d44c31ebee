"""What a process, a session or an object that has just begun costs: connections opened and trips made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from tests.driver.proxy import Proxy

ROOT = Path(__file__).parents[2]

# Works on the databases of the test run, which another process does not know.
FRESH = """
import json, os, django
django.setup()
from django.conf import settings
for alias, name in json.loads(os.environ["NAMES"]).items():
    settings.DATABASES[alias]["NAME"] = name
from django.test import Client
from blog.models import Post
from do_bridge import driver
from do_bridge.tenancy import tenant_context
slug, work = os.environ["SLUG"], os.environ["WORK"]
if work == "query in one place":
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"JURISDICTION_FIELD": None, "LOCATION_FIELD": None}
with driver.count_trips() as trips:
    if work == "page":
        assert Client().get(f"/t/{slug}/").status_code == 200
    else:
        with tenant_context(slug):
            assert not Post.objects.exists()
print(trips.count)
"""


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize(("work", "trips"), [("query in one place", 1), ("query", 2), ("page", 2)])
def test_a_fresh_process_opens_one_connection_and_makes_no_trip_but_for_its_queries(
    acme, local_worker, work, trips
):
    names = {alias: settings.DATABASES[alias]["NAME"] for alias in ("default", "tenant")}
    with Proxy(local_worker.port) as proxy:
        environment = {
            **os.environ,
            "RELAY_URL": proxy.url,
            "NAMES": json.dumps(names),
            "SLUG": acme.slug,
            "WORK": work,
        }
        made = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FRESH],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        # The tenant's row in D1 comes before the page's own query, and brings the tenant's place. A query
        # without the row asks for the place alone, if the project has places.
        assert int(made.stdout) == trips
        assert proxy.accepted == 1


def test_an_object_that_sleeps_is_woken_by_the_query_itself(own_worker):
    worker = own_worker().start()
    transport = RelayTransport(worker.url, worker.token)
    connection = driver.connect(transport, "do:test/sleeper")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    # A new runtime: neither the Worker nor the object is in memory, and the session is lost.
    worker.kill()
    worker.start()
    for statement in ("SELECT id FROM t", "INSERT INTO t VALUES (1)"):
        with driver.count_trips() as trips:
            connection.execute(statement)
        assert trips.count == 1
    transport.close()
