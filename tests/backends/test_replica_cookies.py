"""The cookies that keep D1's bookmarks from one request to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signing
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.cache import patch_cache_control
from lagging import Browser, serve, sessions

from do_bridge.contrib import replicas
from do_bridge.contrib.replicas import (
    COOKIE,
    SALT,
    digest,
)
from do_bridge.driver.replicas import FIRST_PRIMARY


def test_a_request_that_reads_nothing_of_d1_sets_none(lagging: Any) -> None:
    browser = Browser()
    browser.send(lambda request: HttpResponse())
    assert browser.cookies == {}


def test_it_is_set_once_for_what_was_seen_and_is_not_readable_for_scripts(newer: Any) -> None:
    browser = Browser()
    response = browser.send(lambda request: HttpResponse(newer()))
    [morsel] = response.cookies.values()
    assert (morsel["httponly"], morsel["max-age"], morsel["samesite"]) == (True, 86_400, "Lax")
    assert len(morsel.value) < 250
    browser.read(newer)
    assert browser.set == []


def test_those_of_two_tabs_do_not_overwrite_each_other_on_the_stand_in(newer: Any) -> None:
    browser = Browser()
    browser.read(newer)
    slow = serve(lambda request: HttpResponse(newer()), cookies=browser.cookies)
    browser.read(lambda: newer.rows.create(name="mine"), "POST")
    # The answer to the request that began first comes last.
    browser.take(slow)
    assert browser.read(newer) == ["mine", "new", "old"]
    assert len(browser.cookies) == 1


def test_two_writes_that_cross_each_other_are_both_seen_on_the_stand_in(newer: Any) -> None:
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
def test_one_that_cannot_be_trusted_leads_to_the_primary_on_the_stand_in(newer: Any, text: str) -> None:
    browser = Browser({COOKIE + "3": text})
    browser.send(lambda request: HttpResponse())
    assert text not in browser.cookies.values()
    assert browser.read(newer) == ["new", "old"]


def test_one_that_has_expired_leads_to_the_primary_on_the_stand_in(
    newer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser()
    assert browser.read(newer) == ["old"]
    monkeypatch.setattr(replicas, "MAX_AGE", -1)
    assert browser.read(newer) == ["new", "old"]


@pytest.mark.parametrize("prefix", ["__Host-", "__Secure-", ""])
def test_they_have_the_prefix_of_the_sessions_cookie(newer: Any, settings: Any, prefix: str) -> None:
    settings.SESSION_COOKIE_NAME = prefix + "session"
    settings.SESSION_COOKIE_SECURE = True
    browser = Browser()
    response = browser.send(lambda request: HttpResponse(newer()))
    [(name, morsel)] = response.cookies.items()
    assert name.startswith(prefix + COOKIE)
    assert morsel["secure"]
    newer.rows.create(name="mine")
    with_more = browser.send(lambda request: HttpResponse(newer.rows.create(name="more")), "POST")
    deleted = with_more.cookies[name]
    assert (deleted["max-age"], bool(deleted["secure"])) == (0, prefix != "")
    assert browser.read(newer) == ["mine", "more", "new", "old"]


def test_cookies_of_others_are_left_alone(newer: Any) -> None:
    browser = Browser({COOKIE + "16": "theirs", COOKIE + "x": "theirs", "d1_bookmark": "theirs"})
    assert browser.read(newer) == ["old"]
    assert len(browser.cookies) == 4


def test_a_bookmark_of_another_database_is_not_used(newer: Any) -> None:
    text = signing.dumps({digest("d1:another"): "99999999-lagging"}, salt=SALT)
    assert Browser({COOKIE + "0": text}).read(newer) == ["old"]


@pytest.mark.parametrize("bookmark", ["ffffffff-foreign", "f" * 300, "f f", "é"])
def test_a_bookmark_that_is_refused_leads_to_the_primary_once_on_the_stand_in(
    lagging: Any, newer: Any, frames: list[Any], bookmark: str
) -> None:
    foreign = {digest("d1:" + lagging.settings_dict["NAME"]): bookmark}
    browser = Browser({COOKIE + "0": signing.dumps(foreign, salt=SALT)})
    assert browser.read(newer) == ["new", "old"]
    assert sessions(frames) == [bookmark, FIRST_PRIMARY]
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
def test_a_response_for_shared_caches_gets_none(newer: Any, control: Any, is_set: bool) -> None:
    def view(request: Any) -> Any:
        response = HttpResponse(newer())
        patch_cache_control(response, **control)
        return response

    browser = Browser()
    browser.send(view)
    assert bool(browser.set) is is_set


@pytest.mark.parametrize(
    ("headers", "is_set"),
    [
        ({"CDN-Cache-Control": "max-age=60", "Cache-Control": "no-cache"}, False),
        ({"Cloudflare-CDN-Cache-Control": "public", "Cache-Control": "private"}, False),
        ({"Surrogate-Control": "max-age=60"}, False),
        ({"CDN-Cache-Control": "no-store", "Cache-Control": "max-age=60"}, False),
        ({"CDN-Cache-Control": "no-store"}, True),
        ({"Expires": "Fri, 01 Jan 2100 00:00:00 GMT"}, False),
        ({"Expires": "Fri, 01 Jan 2100 00:00:00 GMT", "Cache-Control": "private"}, True),
        ({"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, True),
        ({"Expires": "0"}, True),
        ({"Cache-Control": 'max-age=60, ext="a, private, b"'}, False),
    ],
)
def test_whatever_header_lets_a_shared_cache_store_a_response_counts(
    newer: Any, headers: dict[str, str], is_set: bool
) -> None:
    browser = Browser()
    browser.send(lambda request: HttpResponse(newer(), headers=headers))
    assert bool(browser.set) is is_set


def test_a_cache_that_may_guess_is_told_that_the_response_depends_on_cookies(newer: Any) -> None:
    browser = Browser()
    response = browser.send(lambda request: HttpResponse(newer(), headers={"Vary": "Accept"}))
    assert response["Vary"] == "Accept, Cookie"
    response = browser.send(lambda request: HttpResponse(newer()))
    assert (browser.set, response.has_header("Vary")) == ([], False)


def test_the_rest_of_a_stream_is_read_from_the_primary_on_the_stand_in(newer: Any) -> None:
    browser = Browser()
    response = browser.send(lambda request: _stream(newer))
    assert b"".join(response.streaming_content) == b"newold"


def test_after_a_stream_that_may_write_the_primary_is_read_on_the_stand_in(newer: Any) -> None:
    browser = Browser()
    response = browser.send(lambda request: _stream(lambda: [newer.rows.create(name="late").name]), "POST")
    assert b"".join(response.streaming_content) == b"late"
    assert browser.read(newer) == ["late", "new", "old"]


def _names(response: Any) -> set[str]:
    return {name for name, morsel in response.cookies.items() if morsel["max-age"] != 0}


def _stream(read: Any) -> Any:
    """A response that calls `read()` when it is sent."""

    def parts() -> Iterator[str]:
        yield from read()

    return StreamingHttpResponse(parts())
