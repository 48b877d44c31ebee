"""Reads of D1 from replicas, over a stand-in of D1 whose replica lags: see worker/test/lagging.ts."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from lagging import Browser, replicated, sessions
from shelf import Author, Book, tables

from do_bridge import agather, gather
from do_bridge.contrib.replicas import (
    ReplicaMiddleware,
    primary,
)
from do_bridge.driver.replicas import FIRST_PRIMARY, FIRST_UNCONSTRAINED
from tests import forking

VISITOR = Path(__file__).with_name("visitor.py")


def test_a_new_visitor_reads_from_the_replica_of_the_stand_in(newer: Any) -> None:
    assert Browser().read(newer) == ["old"]


def test_outside_of_a_request_nothing_is_ever_stale_on_the_stand_in(newer: Any, frames: list[Any]) -> None:
    assert newer() == ["new", "old"]
    assert sessions(frames) == [None]


def test_a_visitor_reads_own_writes_in_the_request_and_in_later_ones_on_the_stand_in(authors: Any) -> None:
    browser = Browser()
    assert browser.read(authors) == ["old"]

    def write_and_read() -> Any:
        authors.rows.create(name="mine")
        return authors()

    assert browser.read(write_and_read) == ["mine", "old"]
    assert browser.read(authors) == ["mine", "old"]
    assert Browser().read(authors) == ["old"]


def test_a_visitor_never_sees_less_than_before_on_the_stand_in(newer: Any) -> None:
    browser = Browser()

    def read_newest() -> Any:
        with primary():
            return newer()

    assert browser.read(newer) == ["old"]
    assert browser.read(read_newest) == ["new", "old"]
    assert browser.read(newer) == ["new", "old"]


def test_each_request_takes_as_many_trips_as_without_replicas(
    newer: Any, count_trips: Any, lagging: Any
) -> None:
    from do_bridge import driver

    def read_twice_and_write() -> Any:
        newer()
        newer.rows.filter(name="new").update(name="newest")
        return newer()

    newer()
    with driver.count_trips() as plain:
        read_twice_and_write()
    newer.rows.filter(name="newest").update(name="new")
    browser = Browser()
    with driver.count_trips() as counted:
        browser.read(read_twice_and_write)
    assert counted.count == plain.count == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_unsafe_request_reads_the_newest_on_the_stand_in(
    newer: Any, frames: list[Any], method: str
) -> None:
    browser = Browser()
    assert browser.read(newer, method) == ["new", "old"]
    assert sessions(frames) == [FIRST_PRIMARY]
    assert browser.read(newer) == ["new", "old"]


def test_a_block_reads_the_newest_on_the_stand_in_and_what_follows_is_no_older(newer: Any) -> None:
    def in_block() -> Any:
        with transaction.atomic(using=newer.rows.db):
            return newer()

    browser = Browser()
    assert browser.read(lambda: [newer(), in_block(), newer()]) == [["old"], ["new", "old"], ["new", "old"]]
    assert browser.read(newer) == ["new", "old"]


def test_a_block_that_is_rolled_back_leaves_no_older_reads_behind_on_the_stand_in(newer: Any) -> None:
    def write_and_roll_back() -> Any:
        try:
            with transaction.atomic(using=newer.rows.db):
                newer.rows.create(name="gone")
                seen = newer()
                raise RuntimeError
        except RuntimeError:
            return set(seen) >= {"new", "old"}, set(newer()) >= {"new", "old"}

    browser = Browser()
    assert browser.read(write_and_roll_back) == (True, True)
    assert set(browser.read(newer)) >= {"new", "old"}


def test_a_write_that_fails_is_followed_by_the_newest_on_the_stand_in(lagging: Any, newer: Any) -> None:
    key = newer.rows.get(name="new").pk

    def create_or_get() -> Any:
        # As get_or_create() does: the replica lacks the row, so it is created, which fails.
        if newer.rows.filter(pk=key).exists():
            return "was there"
        try:
            newer.rows.create(pk=key, name="new")
        except IntegrityError:
            return newer.rows.get(pk=key).name

    assert Browser().read(create_or_get) == "new"
    assert Browser().read(lambda: newer.rows.get_or_create(pk=key, defaults={"name": "other"})[1]) is False


def test_a_replica_without_the_latest_migration_is_no_error_on_the_stand_in(
    lagging: Any, newer: Any, frames: list[Any]
) -> None:
    lagging.connection.execute("ALTER TABLE shelf_author RENAME COLUMN name TO title")

    def read() -> Any:
        with lagging.cursor() as cursor:
            cursor.execute("SELECT title FROM shelf_author ORDER BY title")
            return [title for (title,) in cursor.fetchall()]

    frames.clear()
    assert Browser().read(read) == ["new", "old"]
    assert sessions(frames) == [FIRST_UNCONSTRAINED, FIRST_PRIMARY]
    lagging.connection.execute("ALTER TABLE shelf_author RENAME COLUMN title TO name")


def test_reads_of_one_round_trip_and_of_prefetches_go_on_from_the_same_bookmark_on_the_stand_in(
    lagging: Any, newer: Any, frames: list[Any]
) -> None:
    books = Book.objects.using(lagging.alias)

    def read() -> Any:
        return gather(newer.rows.order_by("name").prefetch_related("book_set"), books.count)

    (rows, count) = Browser().read(read)
    assert ([row.name for row in rows], count) == (["old"], 0)
    first, *rest = sessions(frames)
    assert first == FIRST_UNCONSTRAINED
    assert len(rest) == 1
    assert rest[0].endswith("-lagging")


def test_all_reads_of_one_round_trip_to_the_primary_are_the_newest_on_the_stand_in(newer: Any) -> None:
    names = newer.rows.order_by("name").values_list("name", flat=True)

    def read() -> Any:
        with primary():
            return gather(names.all(), names.filter(name__gt=""), newer.rows.count)

    browser = Browser()
    assert browser.read(read) == [["new", "old"], ["new", "old"], 2]
    assert browser.read(newer) == ["new", "old"]


def test_asynchronous_requests_keep_the_order_on_the_stand_in(lagging: Any, newer: Any) -> None:
    async def go(view: Any, method: str, cookies: dict[str, str]) -> Any:
        request = RequestFactory().generic(method, "/")
        request.COOKIES.update(cookies)
        return await ReplicaMiddleware(view)(request)

    browser, found = Browser(), []

    async def read(request: Any) -> Any:
        [names] = await agather(newer.rows.order_by("name").values_list("name", flat=True))
        found.append(names)
        return HttpResponse()

    async def write(request: Any) -> Any:
        await newer.rows.acreate(name="third")
        return HttpResponse()

    for view, method in ((read, "GET"), (write, "POST"), (read, "GET")):
        browser.take(asyncio.run(go(view, method, browser.cookies)))
    assert found == [["old"], ["new", "old", "third"]]


def test_two_requests_at_once_are_two_visits(newer: Any) -> None:
    inside, done = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        inside.wait(30)
        try:
            seen.append(Browser().read(newer))
        finally:
            connections.close_all()
            done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def slow() -> Any:
        newer.rows.create(name="mine")
        inside.set()
        done.wait(30)
        return newer()

    assert Browser().read(slow) == ["mine", "new", "old"]
    thread.join()
    assert seen == [["old"]]


def test_a_thread_of_a_views_own_reads_from_the_primary_on_the_stand_in(newer: Any) -> None:
    seen: list[Any] = []

    def read_in_thread() -> None:
        def work() -> None:
            seen.append(newer())
            connections.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    Browser().read(read_in_thread)
    assert seen == [["new", "old"]]


def test_a_thread_in_a_copy_of_the_context_belongs_to_the_visit_on_the_stand_in(newer: Any) -> None:
    browser, seen = Browser(), []

    def work() -> None:
        seen.append(newer())
        newer.rows.create(name="mine")
        connections.close_all()

    def write_in_thread() -> None:
        thread = threading.Thread(target=contextvars.copy_context().run, args=[work])
        thread.start()
        thread.join()

    browser.read(write_in_thread)
    assert (seen, browser.read(newer)) == ([["old"]], ["mine", "new", "old"])


def test_primary_decorates_functions_and_coroutine_functions_on_the_stand_in(newer: Any) -> None:
    @primary()
    def read() -> Any:
        return newer()

    @primary()
    async def aread() -> Any:
        [names] = await agather(newer.rows.order_by("name").values_list("name", flat=True))
        return names

    assert Browser().read(read) == ["new", "old"]
    assert Browser().read(lambda: asyncio.run(aread())) == ["new", "old"]


def test_primary_decorates_no_generator() -> None:
    def one_by_one() -> Any:
        yield 1

    with pytest.raises(TypeError, match="can't decorate a generator function"):
        primary()(one_by_one)


def test_primary_blocks_may_be_nested_and_left_by_an_error_on_the_stand_in(newer: Any) -> None:
    def read() -> Any:
        found = []
        with primary():
            with pytest.raises(ValueError, match="inside"), primary():
                raise ValueError("inside")
            found.append(newer.rows.filter(name="new").exists())
        return [*found, newer.rows.count()]

    assert Browser().read(read) == [True, 2]


class TestProcesses:
    """Two processes of a site, which share nothing but the secret key."""

    def send(self, lagging: Any, requests: list[tuple[str, str]], cookies: Any) -> Any:
        values = lagging.settings_dict
        orders = {
            "url": values["HOST"],
            "token": str(values["PASSWORD"]),
            "database": values["NAME"],
            "cookies": cookies,
            "requests": requests,
        }
        done = forking.run([VISITOR], text=json.dumps(orders))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def test_a_visitor_reads_own_writes_and_never_less_than_before_on_the_stand_in(
        self, newer: Any, lagging: Any
    ) -> None:
        first = self.send(lagging, [("GET", ""), ("POST", "mine"), ("GET", "")], {})
        assert first["answers"] == [["old"], ["mine", "new", "old"], ["mine", "new", "old"]]
        second = self.send(lagging, [("GET", "")], first["cookies"])
        assert second["answers"] == [["mine", "new", "old"]]
        stranger = self.send(lagging, [("GET", "")], {})
        assert stranger["answers"] == [["old"]]


def test_on_the_real_runtime_a_request_sends_constraints_and_keeps_the_bookmark(
    local_worker: Any, django_db_blocker: Any, frames: list[Any]
) -> None:
    with django_db_blocker.unblock(), replicated("d1", local_worker) as alias, tables(alias):
        rows = Author.objects.using(alias.alias)
        browser = Browser()
        frames.clear()
        browser.read(lambda: [rows.count(), rows.create(name="x"), rows.count()])
        browser.read(rows.count)
        # So a page that reads nothing new sets a cookie, which it does not in production.
        assert browser.set
        browser.read(rows.count)
        assert browser.set
    first, write, second, later = sessions(frames)[:4]
    assert (first, write) == (FIRST_UNCONSTRAINED, FIRST_PRIMARY)
    assert second <= later  # Here each request advances it.
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){2}-[0-9a-f]{32}", later)


def test_the_log_names_a_replica_that_has_answered_on_the_stand_in(
    newer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "do_bridge.queries"):
        # Metered reads tell who has served them from their second run on.
        Browser().read(lambda: [newer(), newer()])
        newer()
    records = [record for record in caplog.records if record.name == "do_bridge.queries"]
    assert [(record.replica, record.region) for record in records] == [  # type: ignore[attr-defined]
        (None, None),
        (True, "WEUR"),
        (None, None),
    ]
    assert "by a replica (WEUR)" in records[1].getMessage()


def test_the_doctor_tells_who_has_served_on_the_stand_in(lagging: Any) -> None:
    from do_bridge.doctor.databases import Database
    from do_bridge.doctor.probe import D1
    from do_bridge.doctor.probes.replicas import d1_session

    transport = lagging.get_transport()
    found = d1_session(Database(D1, "d1:" + lagging.settings_dict["NAME"], lambda: transport, "0123"))
    assert found == {"served in a session": "a replica, WEUR"}
