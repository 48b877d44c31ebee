"""Follows every link of a site, within bounds and always in the same order, with Django's own test client."""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from markup import addresses, form
from same import SAME

HOST = "http://testserver"
TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "application/rss+xml")


@dataclass
class Bounds:
    """What a crawl looks at: `per_route` pages for one URL pattern and set of query names, `pages` in all.

    skip: a pattern of the paths that are left out. routes: other numbers than `per_route`, by URL pattern.
    submit: a pattern of the paths whose form is sent back as it stands.
    """

    starts: list[str]
    skip: str = r"(?!)"
    per_route: int = 4
    pages: int = 400
    routes: dict[str, int] = field(default_factory=dict)
    submit: str = r"(?!)"


@dataclass
class Page:
    """An answer: `body` is text, or the digest of bytes; `error` the end of an exception's traceback."""

    who: str
    url: str
    status: int
    location: str
    body: str
    error: str = ""


def crawl(who: str, client: Any, bounds: Bounds) -> Iterator[Page]:
    """Get the starts, then what they link to, and so on; `who` is written into the pages."""
    waiting, known, routes = deque(bounds.starts), set(bounds.starts), Counter[tuple[str, ...]]()
    skip, done = re.compile(bounds.skip), 0
    while waiting and done < bounds.pages:
        url = waiting.popleft()
        page = ask(who, url, client.get)
        done += 1
        yield page
        if page.status == 200 and re.search(bounds.submit, url) and (values := form(page.body)):
            yield ask(f"{who} submits", url, client.post, values)
        targets = [page.location] if page.location else links(page.body)
        for target in targets:
            found = local(url, target)
            if not found or found in known or skip.search(found):
                continue
            known.add(found)
            route = route_of(found)
            routes[route] += 1
            if routes[route] <= bounds.routes.get(route[0], bounds.per_route):
                waiting.append(found)


def ask(who: str, url: str, request: Callable[..., Any], *values: Any) -> Page:
    """Make a request; an exception of the view is its status 500, with the traceback's end."""
    errors: list[str] = []
    SAME.next_minute()

    def note(**_: Any) -> None:
        errors.append("".join(traceback.format_exception(*sys.exc_info())[-6:]))

    from django.core.signals import got_request_exception

    got_request_exception.connect(note)
    try:
        response = request(url, *values)
        content = b"".join(response.streaming_content) if response.streaming else response.content
    finally:
        got_request_exception.disconnect(note)
    kind = response.headers.get("Content-Type", "")
    text = kind.startswith(TEXTS)
    body = content.decode(errors="replace") if text else f"{kind} {hashlib.sha256(content).hexdigest()}"
    return Page(who, url, response.status_code, response.headers.get("Location", ""), body, "".join(errors))


def links(body: str) -> list[str]:
    """The addresses that a page of HTML, XML or JSON links to."""
    in_html = addresses(body)
    in_xml = re.findall(r"<loc>([^<]+)</loc>", body)
    in_json = re.findall(rf'"({HOST}/[^"]+)"', body)
    return [*in_html, *in_xml, *in_json]


def local(base: str, target: str) -> str:
    """The target's path and query, or "" if it is another site's or no page."""
    try:
        parts = urlsplit(urljoin(HOST + base, target.strip()))
    except ValueError:
        return ""
    if f"{parts.scheme}://{parts.netloc}" != HOST:
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


def route_of(url: str) -> tuple[str, ...]:
    """The URL pattern that serves an address, and the names of its query."""
    from django.urls import Resolver404, resolve

    parts = urlsplit(url)
    try:
        route = resolve(parts.path).route
    except Resolver404:
        route = "(none)"
    return (route, *sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}))


def as_dict(page: Page) -> dict[str, Any]:
    """A page as JSON takes it."""
    return asdict(page)
