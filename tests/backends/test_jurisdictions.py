"""Aliases in a jurisdiction, on a stand-in for the platform's, which the local runtime does not have."""

import re

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import override_settings
from engine_aliases import settings_for
from shelf import Author, tables

from do_bridge import driver
from do_bridge.backends.remote_sqlite import creation


@pytest.fixture
def made(local_worker, django_db_blocker):
    """made(jurisdiction, name): a wrapper under an alias of its own, whose database is one for tests."""
    aliases = []

    def made(jurisdiction, name="test/backends/placed"):
        alias = f"placed{len(aliases)}"
        settings = {**settings_for("durable_object", local_worker), "NAME": name}
        settings["OPTIONS"] = {"jurisdiction": jurisdiction}
        connections.settings[alias] = settings
        aliases.append(alias)
        creation._test_names.add(name)
        return connections[alias]

    with django_db_blocker.unblock(), override_settings(DATABASE_ROUTERS=[]):
        yield made
        for alias in aliases:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]


def test_two_aliases_of_one_name_have_rows_of_their_own_on_a_stand_in(made):
    places = {None: made(None), "eu": made("eu"), "us": made("us")}
    for jurisdiction, connection in places.items():
        connection.creation.empty(connection.settings_dict["NAME"])
        with tables(connection):
            Author.objects.using(connection.alias).create(name=jurisdiction or "nowhere")
            names = Author.objects.using(connection.alias).values_list("name", flat=True)
            assert list(names) == [jurisdiction or "nowhere"]
    databases = [connection.connection.database for connection in places.values()]
    bare = "do:test/backends/placed"
    assert databases == [bare, f"{bare}@eu", f"{bare}@us"]


def test_the_rows_are_in_the_object_of_the_jurisdiction_and_in_no_other_on_a_stand_in(made, relay):
    connection = made("eu", "test/backends/placed-once")
    connection.creation.empty("test/backends/placed-once")
    with tables(connection):
        Author.objects.using(connection.alias).create(name="Ada")
        count = "SELECT count(*) FROM sqlite_master WHERE name = 'shelf_author'"
        found = {
            place: driver.connect(relay, f"do:test/backends/placed-once{place}").execute(count).fetchone()
            for place in ("", "@eu", "@us")
        }
    assert found == {"": (0,), "@eu": (1,), "@us": (0,)}


@pytest.mark.parametrize(
    ("name", "jurisdiction", "message"),
    [
        ("main", "ue", "'jurisdiction'] is 'ue'. Use one of 'eu', 'us', 'fedramp', 'fedramp-high', or leave"),
        ("main", "EU", "'jurisdiction'] is 'EU'. Use one of"),
        ("main@eu", None, "'NAME'] has an '@', which separates a jurisdiction. Write the name alone"),
        ("main@eu", "eu", "'NAME'] has an '@'"),
    ],
)
def test_a_jurisdiction_that_cannot_be_meant_is_refused_before_anything_is_sent(
    made, name, jurisdiction, message, trips
):
    connection = made(jurisdiction, name)
    with pytest.raises(ImproperlyConfigured, match=re.escape(message)):
        connection.get_connection_params()
    assert trips.count == 0


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_jurisdiction_is_none(made, empty):
    assert made(empty).object_name() == "test/backends/placed"


def test_a_test_run_keeps_two_jurisdictions_of_one_name_apart(made):
    one, two, same = made("eu", "shop"), made("us", "shop"), made("eu", "shop")
    signatures = [connection.creation.test_db_signature() for connection in (one, two, same)]
    assert signatures[0] != signatures[1]
    assert signatures[0] == signatures[2]
    assert one.creation.key() != two.creation.key()


def test_a_connection_in_a_jurisdiction_is_known_to_be_a_test_databases(made):
    connection = made("eu")
    connection.ensure_connection()
    # A second look, at the connection that is open.
    connection.ensure_connection()
    connection.settings_dict["NAME"] = "precious"
    with pytest.raises(ImproperlyConfigured, match="may not connect to the configured database"):
        connection.ensure_connection()
