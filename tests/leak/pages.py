"""The site from outside: browsers of several people go from tenant to tenant, through gunicorn."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import httpx

from tests.leak.actor import Actor
from tests.leak.marks import MixUp, check, mark, owners, require

PASSWORD = "a-pass-word-of-theirs"
PUBLISHED = "The post was published."
CLOSED = "Too many attempts to log in."
_SIGNING_IN = threading.Lock()
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Unavailable(Exception):
    """The site answered that a database is out of reach, or did not answer."""


class WrongStatus(Exception):
    """The site answered with an HTTP status that the page does not have."""


class Browser:
    """One person's cookies; remembers who they are, and sees that the site does, too."""

    def __init__(self, base: str, username: str) -> None:
        self.username = username
        self.client = httpx.Client(base_url=base, timeout=60, trust_env=False)

    def get(self, path: str, *, status: int = 200) -> str:
        """Return the page; raise Unavailable, WrongStatus, or MixUp where a 403 was to come."""
        return self._sent("GET", path, status).text

    def post(self, path: str, data: dict[str, object], *, page: str) -> str:
        """Send a form with the page's token; return where the site leads then."""
        response = self._sent("POST", path, 302, data={**data, "csrfmiddlewaretoken": csrf(page)})
        return str(response.headers["location"])

    def send(self, method: str, path: str, sent: object, *, status: int) -> str:
        """Send JSON; return the answer's text. Raises as `get` does."""
        return self._sent(method, path, status, json=sent).text

    def lines(self, path: str) -> Iterator[str]:
        """Yield the lines of a page while it is sent; raises as `get` does."""
        try:
            with self.client.stream("GET", path) as response:
                if response.status_code != 200:
                    response.read()
                    raise self._wrong(f"GET {path}", 200, response)
                yield from response.iter_lines()
        except httpx.TransportError as error:
            raise Unavailable(type(error).__name__) from error

    def sign_in(self, path: str = "/accounts/login/") -> None:
        """Sign in by the form."""
        page = self.get(path)
        self.post(path, {"username": self.username, "password": PASSWORD}, page=page)

    def _sent(self, method: str, path: str, status: int, **options: object) -> httpx.Response:
        try:
            response = self.client.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unavailable(type(error).__name__) from error
        if response.status_code != status:
            raise self._wrong(f"{method} {path}", status, response)
        return response

    def _wrong(self, what: str, status: int, response: httpx.Response) -> Exception:
        """Return the error for an answer of another status than the one that was to come."""
        # 502: a user's row is in D1 and its copy could not be written.
        if response.status_code in (502, 503):
            return Unavailable(f"HTTP {response.status_code}")
        if CLOSED in response.text:
            return Unavailable("too many attempts to log in")
        error = MixUp if status == 403 else WrongStatus
        return error(f"{what} by {self.username!r}: HTTP {response.status_code}, not {status}")


def csrf(page: str) -> str:
    """Return the token of the page's form."""
    if (found := _TOKEN.search(page)) is None:
        raise MixUp("a page has no form")
    return found[1]


class People:
    """The browsers of one thread: a visitor, a member of all tenants, one of the staff."""

    def __init__(self, base: str, browser: Callable[[str, str], Browser] = Browser) -> None:
        self.base = base
        self.open = browser
        self.visitor, self.several, self.root = (browser(base, name) for name in ("", "several", "root"))
        self.signed_in = False
        # Tenants whose message about a post nobody has seen yet.
        self.waiting: set[str] = set()

    def sign_in(self) -> None:
        """Sign in those who have a name."""
        # One after the other: attempts for one name side by side are taken for guesses.
        with _SIGNING_IN:
            self.several.sign_in()
            self.root.sign_in()
        self.signed_in = True


def visited(people: People, actor: Actor, slug: str) -> int:
    check(slug, people.visitor.get(f"/t/{slug}/"))
    check(slug, people.visitor.get(f"/t/{slug}/posts/{actor.key()}/"))
    return 2


def late(people: People, actor: Actor, slug: str) -> int:
    check(slug, people.visitor.get(f"/t/{slug}/late/"))
    return 1


def streamed(people: People, actor: Actor, slug: str) -> int:
    """Two streams are read in turns."""
    other = actor.other(slug)
    one, two = (people.visitor.lines(f"/t/{of}/streamed/") for of in (slug, other))
    for own, others in zip(one, two, strict=True):
        check(slug, own)
        check(other, others)
    return 2


def cached(people: People, actor: Actor, slug: str) -> int:
    """A page and a fragment of one name are kept in all tenants."""
    for of in (slug, actor.other(slug)):
        check(of, people.visitor.get(f"/t/{of}/cached/"))
        check(of, people.visitor.get(f"/t/{of}/fragment/"))
    return 4


def gathered(people: People, actor: Actor, slug: str) -> int:
    check(slug, people.visitor.get(f"/t/{slug}/gathered/"))
    return 1


def recognised(people: People, actor: Actor, slug: str) -> int:
    """The site knows each person as who they are, in each tenant."""
    for browser in (people.several, people.root, people.visitor):
        told = browser.get(f"/t/{slug}/who/")
        require(slug, f'"{browser.username}"' in told and f'"{slug}"' in told, f"the site says {told}")
    return 3


def noted(people: People, actor: Actor, slug: str) -> int:
    """What a session keeps for a tenant is there in that tenant."""
    people.several.get(f"/t/{slug}/noted/?note={mark(slug)}")
    other = actor.other(slug)
    found = people.several.get(f"/t/{other}/noted/")
    require(other, owners(found) <= {other}, "a session's note strayed")
    return 2


def published(people: People, actor: Actor, slug: str) -> int:
    """The message about a post waits for its tenant, whatever is visited meanwhile."""
    path, other = f"/t/{slug}/posts/new/", actor.other(slug)
    fields = {"title": f"{mark(slug)} {actor.token()}", "content": mark(slug)}
    target = people.several.post(path, fields, page=people.several.get(path))
    people.waiting.add(slug)
    require(slug, target.startswith(f"/t/{slug}/posts/"), "a new post is elsewhere")
    between = people.several.get(f"/t/{other}/")
    check(other, between)
    own = PUBLISHED not in between or other in people.waiting
    require(other, own, "shows a message of another tenant")
    people.waiting.discard(other)
    page = people.several.get(target)
    people.waiting.discard(slug)
    check(slug, page)
    require(slug, PUBLISHED in page and fields["title"] in page, "does not show its own post and message")
    return 5


def edited(people: People, actor: Actor, slug: str) -> int:
    path = f"/t/{slug}/admin/blog/post/{actor.key()}/change/"
    page = people.root.get(path)
    check(slug, page)
    fields = {"title": f"{mark(slug)} {actor.token()}", "content": mark(slug), "user": actor.cast.own[slug]}
    fields |= {"published_at_0": "2026-01-01", "published_at_1": "12:00:00"}
    target = people.root.post(path, fields, page=page)
    require(slug, target.startswith(f"/t/{slug}/admin/"), "the admin leads elsewhere")
    between = people.root.get(f"/t/{actor.other(slug)}/admin/")
    require(slug, mark(slug) not in between, "another tenant's admin shows its log or message")
    check(slug, people.root.get(target))
    return 4


def administered(people: People, actor: Actor, slug: str) -> int:
    check(slug, people.root.get(f"/t/{slug}/admin/blog/post/"))
    history = people.root.get(f"/t/{slug}/admin/blog/post/{actor.key()}/history/")
    require(slug, owners(history) <= {slug}, "a history shows another tenant's")
    log = people.root.get(f"/t/{slug}/admin/admin/logentry/")
    require(slug, owners(log) <= {slug}, "the log shows another tenant's")
    check(slug, people.root.get(f"/t/{slug}/admin/accounts/user/?q=mark"))
    return 4


def completed(people: People, actor: Actor, slug: str) -> int:
    """An autocomplete offers the tenant's people alone."""
    query = "term=mark&app_label=blog&model_name=post&field_name=user"
    check(slug, people.root.get(f"/t/{slug}/admin/autocomplete/?{query}"))
    return 1


def listed(people: People, actor: Actor, slug: str) -> int:
    """The API gives a member of the tenant its own people."""
    check(slug, people.several.get(f"/t/{slug}/api/users"))
    return 1


def kept_out(people: People, actor: Actor, slug: str) -> int:
    """A tenant's own member signs in there and is nobody in the next."""
    browser, other = people.open(people.base, f"own-{slug}"), actor.other(slug)
    browser.sign_in(f"/t/{slug}/accounts/login/")
    check(slug, browser.get(f"/t/{slug}/posts/new/"))
    browser.get(f"/t/{other}/posts/new/", status=403)
    browser.get(f"/t/{other}/api/users", status=403)
    return 4


def failed(people: People, actor: Actor, slug: str) -> int:
    """A page that fails in its transaction leaves no row, and the next page is right."""
    title = f"{mark(slug)} {actor.token()}"
    people.several.get(f"/t/{slug}/failing/?title={title}", status=500)
    other = actor.other(slug)
    check(other, people.several.get(f"/t/{other}/"))
    found = people.several.get(f"/t/{slug}/")
    require(slug, title not in found, "a failed page left its row")
    return 3


OPERATIONS: dict[Callable[[People, Actor, str], int], int] = {
    visited: 12,
    late: 3,
    streamed: 4,
    cached: 3,
    gathered: 3,
    recognised: 3,
    noted: 2,
    published: 3,
    edited: 2,
    administered: 2,
    completed: 2,
    listed: 3,
    kept_out: 1,
    failed: 1,
}
