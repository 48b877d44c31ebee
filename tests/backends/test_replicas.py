"""Reads of D1 from replicas, over a stand-in of D1 whose replica lags: see worker/test/lagging.ts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signing
from django.db import IntegrityError, connections, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.utils.cache import patch_cache_control
from lagging import Browser, lagging_worker, replicate, replicated, serve
from shelf import Author, Book, tables

from do_bridge import agather, gather
from do_bridge.contrib import replicas
from do_bridge.contrib.replicas import COOKIE, SALT, ReplicaMiddleware, digest, primary
from do_bridge.driver.replicas import FIRST_PRIMARY, FIRST_UNCONSTRAINED

BOTH = ["d1", "d1_optimistic"]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with lagging_worker(tmp_path_factory.mktemp("lagging")) as running:
        yield running


@pytest.fixture(params=BOTH)
def lagging(request: pytest.FixtureRequest, worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection to a database with the author "old", whose replica has nothing newer."""
    with (
        django_db_blocker.unblock(),
        replicated(request.param, worker) as connection,
        tables(connection),
    ):
        Author.objects.using(connection.alias).create(name="old")
        replicate(worker)
        yield connection


@pytest.fixture
def authors(lagging: Any) -> Any:
    """The names of all authors, as a function that reads them."""

    def read() -> list[str]:
        return list(Author.objects.using(lagging.alias).order_by("name").values_list("name", flat=True))

    read.rows = Author.objects.using(lagging.alias)  # type: ignore[attr-defined]
    return read


@pytest.fixture
def newer(authors: Any) -> Any:
    """The same, after somebody has written the author "new"."""
    authors.rows.create(name="new")
    return authors


def sessions(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame.get("session") for frame in frames]


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


def test_asynchronous_requests_keep_the_order_on_the_stand_in(newer: Any) -> None:
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


class TestCookies:
    """What is kept from one request to the next."""

    def test_a_request_that_reads_nothing_of_d1_sets_none(self, lagging: Any) -> None:
        browser = Browser()
        browser.send(lambda request: HttpResponse())
        assert browser.cookies == {}

    def test_it_is_set_once_for_what_was_seen_and_is_not_readable_for_scripts(self, newer: Any) -> None:
        browser = Browser()
        response = browser.send(lambda request: HttpResponse(newer()))
        [morsel] = response.cookies.values()
        assert (morsel["httponly"], morsel["max-age"], morsel["samesite"]) == (True, 86_400, "Lax")
        assert len(morsel.value) < 250
        browser.read(newer)
        assert browser.set == []

    def test_those_of_two_tabs_do_not_overwrite_each_other_on_the_stand_in(self, newer: Any) -> None:
        browser = Browser()
        browser.read(newer)
        slow = serve(lambda request: HttpResponse(newer()), cookies=browser.cookies)
        browser.read(lambda: newer.rows.create(name="mine"), "POST")
        # The answer to the request that began first comes last.
        browser.take(slow)
        assert browser.read(newer) == ["mine", "new", "old"]
        assert len(browser.cookies) == 1

    def test_two_writes_that_cross_each_other_are_both_seen_on_the_stand_in(self, newer: Any) -> None:
        browser = Browser()
        browser.read(newer)

        def write(request: Any) -> HttpResponse:
            return HttpResponse(newer.rows.create(name="mine"))

        earlier = serve(write, "POST", browser.cookies)
        later = serve(write, "POST", browser.cookies)
        while _names(later) == _names(earlier):  # One of sixteen pairs shares a name.
            later = serve(write, "POST", browser.cookies)
        browser.take(later)
        browser.take(earlier)
        assert len(browser.cookies) == 2
        assert browser.read(newer) == newer()
        assert len(browser.cookies) == 1

    @pytest.mark.parametrize(
        "text",
        [
            "forged",
            "",
            signing.dumps({"00000000": "x"}, salt="another"),
            signing.dumps({"00000000": "x"}, key="another site's", salt=SALT),
            "x" * 5000,
        ],
        ids=["forged", "empty", "of another use", "of another site", "too long"],
    )
    def test_one_that_cannot_be_trusted_leads_to_the_primary_on_the_stand_in(
        self, newer: Any, text: str
    ) -> None:
        browser = Browser({COOKIE + "3": text})
        browser.send(lambda request: HttpResponse())
        assert text not in browser.cookies.values()
        assert browser.read(newer) == ["new", "old"]

    def test_one_that_has_expired_leads_to_the_primary_on_the_stand_in(
        self, newer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = Browser()
        assert browser.read(newer) == ["old"]
        monkeypatch.setattr(replicas, "MAX_AGE", -1)
        assert browser.read(newer) == ["new", "old"]

    def test_cookies_of_others_are_left_alone(self, newer: Any) -> None:
        browser = Browser({COOKIE + "9": "theirs", COOKIE + "x": "theirs", "d1_bookmark": "theirs"})
        assert browser.read(newer) == ["old"]
        assert len(browser.cookies) == 4

    def test_a_bookmark_of_another_database_is_not_used(self, newer: Any) -> None:
        text = signing.dumps({digest("d1:another"): "99999999-lagging"}, salt=SALT)
        assert Browser({COOKIE + "0": text}).read(newer) == ["old"]

    def test_a_bookmark_that_d1_refuses_leads_to_the_primary_once_on_the_stand_in(
        self, lagging: Any, newer: Any, frames: list[Any]
    ) -> None:
        foreign = {digest("d1:" + lagging.settings_dict["NAME"]): "ffffffff-foreign"}
        browser = Browser({COOKIE + "0": signing.dumps(foreign, salt=SALT)})
        assert browser.read(newer) == ["new", "old"]
        assert sessions(frames) == ["ffffffff-foreign", FIRST_PRIMARY]
        frames.clear()
        assert browser.read(newer) == ["new", "old"]
        assert len(sessions(frames)) == 1

    @pytest.mark.parametrize(
        ("control", "is_set"),
        [
            ({"public": True}, False),
            ({"max_age": 60}, False),
            ({"s_maxage": 60}, False),
            ({"max_age": 60, "private": True}, True),
            ({"max_age": 0}, True),
            ({"no_cache": True, "no_store": True, "max_age": 9}, True),
        ],
    )
    def test_a_response_for_shared_caches_gets_none(self, newer: Any, control: Any, is_set: bool) -> None:
        def view(request: Any) -> Any:
            response = HttpResponse(newer())
            patch_cache_control(response, **control)
            return response

        browser = Browser()
        browser.send(view)
        assert bool(browser.set) is is_set

    def test_the_rest_of_a_stream_is_read_from_the_primary_on_the_stand_in(self, newer: Any) -> None:
        browser = Browser()
        response = browser.send(lambda request: _stream(newer))
        assert b"".join(response.streaming_content) == b"newold"

    def test_after_a_stream_that_may_write_the_primary_is_read_on_the_stand_in(self, newer: Any) -> None:
        browser = Browser()
        response = browser.send(
            lambda request: _stream(lambda: [newer.rows.create(name="late").name]), "POST"
        )
        assert b"".join(response.streaming_content) == b"late"
        assert browser.read(newer) == ["late", "new", "old"]


def _names(response: Any) -> set[str]:
    return {name for name, morsel in response.cookies.items() if morsel["max-age"] != 0}


def _stream(read: Any) -> Any:
    """A response that calls `read()` when it is sent."""

    def parts() -> Iterator[str]:
        yield from read()

    return StreamingHttpResponse(parts())
