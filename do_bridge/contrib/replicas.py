"""The middleware that lets a request's reads use D1's read replicas.

Reads of databases with `OPTIONS["replicas"]` then go to the nearest replica. A visitor never sees an older
version than before: signed cookies keep D1's bookmarks from one request to the next.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.conf import settings
from django.core import signing
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_http_date_safe

from do_bridge.backends.d1.replicas import OnPrimary, Visit, visiting
from do_bridge.tenancy.conf import conf

__all__ = ["ReplicaMiddleware", "primary"]

#: The beginning of the cookies' names; the number of a slot follows.
COOKIE = "d1_bookmark_"
SALT = "do_bridge.contrib.replicas"
#: Seconds for which a bookmark is kept. A replica that is further behind would be out of order.
MAX_AGE = 86_400
#: Responses of one visitor that cross each other must not overwrite each other's bookmarks, so each new
#: bookmark has a slot of its own, which the next request empties. Two of them rarely share one.
SLOTS = 16
#: A cookie has some 170 characters for each database.
LONGEST = 4096
#: Each is obeyed by some caches: https://developers.cloudflare.com/cache/concepts/cdn-cache-control/
CACHE_HEADERS = ("Cache-Control", "CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control")
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
#: Models of these applications are read from the primary, because work in progress depends on their rows.
OWN = "do_bridge"
SESSIONS = "do_bridge_sessions"
_NOT_A_MODEL = (
    "DO_BRIDGE['PRIMARY_MODELS'] names {!r}, which is not a model. Write 'app.Model', 'AUTH_USER_MODEL', or "
    "the name of a setting in DO_BRIDGE that names a model."
)


def primary() -> OnPrimary:
    """Read D1 from its primary, so that no change of others is missed.

    Use it with `with`, or as a decorator of functions and coroutine functions (not generators).
    """
    return OnPrimary()


class ReplicaMiddleware:
    """Serve reads of D1 from replicas, each visitor's in order.

    Put it first in MIDDLEWARE. A request with an unsafe method reads from the primary, and so does what a
    streaming response reads later.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        if not replica_databases():
            raise MiddlewareNotUsed("No database has OPTIONS['replicas'].")
        self.get_response = get_response
        self.tables = PrimaryTables()
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self.is_async:
            return self._serve_async(request)
        cookies = Cookies(request)
        with visiting(self._visit(request, cookies)) as visit:
            response = self.get_response(request)
        return cookies.put(response, visit, is_safe=request.method in SAFE)

    async def _serve_async(self, request):
        cookies = Cookies(request)
        with visiting(self._visit(request, cookies)) as visit:
            response = await self.get_response(request)
        return cookies.put(response, visit, is_safe=request.method in SAFE)

    def _visit(self, request, cookies):
        names = {digest(name): name for name in replica_databases()}
        known = {names[key]: text for key, text in cookies.bookmarks.items() if key in names}
        return Visit(
            known,
            reads_primary=request.method not in SAFE,
            needs_primary=self.tables.are_in,
        )


class Cookies:
    """The bookmarks of one visitor, by the digests of the databases' names.

    A visitor with a cookie that cannot be trusted reads from the primary, where the bookmark is "".
    """

    def __init__(self, request: Any) -> None:
        self.names = cookie_names()
        self.received = {name: request.COOKIES[name] for name in self.names if name in request.COOKIES}
        self.bookmarks: dict[str, str] = {}
        self.is_trusted = True
        for text in self.received.values():
            try:
                self._add(_read(text))
            except signing.BadSignature:
                # Forged, expired, or signed with another key: that visitor may have seen anything.
                self.is_trusted = False
        if not self.is_trusted:
            self.bookmarks = _unknown()

    def _add(self, bookmarks):
        for key, text in bookmarks.items():
            self.bookmarks[key] = newest(self.bookmarks.get(key, text), text)

    def put(self, response: Any, visit: Visit, *, is_safe: bool) -> Any:
        """Set a cookie if the visitor has seen something new.

        Delete those that it replaces.
        """
        reached = {digest(name): text for name, text in visit.bookmarks().items()}
        if getattr(response, "streaming", False) and not is_safe:
            # What it writes later is not known yet.
            reached.update(_unknown())
        after = self.bookmarks | reached
        if is_safe and is_shared(response):
            return response
        if after == self.bookmarks and len(self.received) < 2 and self.is_trusted:
            return response
        # A cache may also store what has no header about it.
        patch_vary_headers(response, ["Cookie"])
        text = signing.dumps(after, salt=SALT)
        name = self._free_name(after)
        options = {"path": settings.SESSION_COOKIE_PATH, "domain": settings.SESSION_COOKIE_DOMAIN}
        for old in self.received.keys() - {name}:
            response.delete_cookie(old, samesite=settings.SESSION_COOKIE_SAMESITE, **options)
        response.set_cookie(
            name,
            text,
            max_age=MAX_AGE,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite=settings.SESSION_COOKIE_SAMESITE,
            **options,
        )
        return response

    def _free_name(self, bookmarks):
        start = zlib.crc32(json.dumps(bookmarks, sort_keys=True).encode())
        names = [self.names[(start + step) % SLOTS] for step in range(SLOTS)]
        # Another response may delete those that came with this request.
        return next((name for name in names if name not in self.received), names[0])


def cookie_names() -> list[str]:
    """Return the names of the cookies, with the prefix of the session's cookie.

    Browsers take names with `__Host-` and `__Secure-` from this site alone.
    """
    prefixes = ("__Host-", "__Secure-")
    prefix = next((prefix for prefix in prefixes if settings.SESSION_COOKIE_NAME.startswith(prefix)), "")
    return [f"{prefix}{COOKIE}{slot}" for slot in range(SLOTS)]


def _read(text):
    """Return the bookmarks of a cookie. Raises BadSignature."""
    if len(text) > LONGEST:
        raise signing.BadSignature("The cookie is too long.")
    return signing.loads(text, salt=SALT, max_age=MAX_AGE)


def _unknown():
    """Return the bookmarks of a visitor of whom nothing is known."""
    return {digest(name): "" for name in replica_databases()}


def newest(one: str, other: str) -> str:
    """Return the newer of two bookmarks; the unknown one, "", is newer than any."""
    return max(one, other) if one and other else ""


def digest(database: str) -> str:
    """Return a short name for a database, so that no bookmark is used for another one."""
    return hashlib.sha256(database.encode()).hexdigest()[:8]


def is_shared(response: Any) -> bool:
    """Return whether a shared cache may store a response with its cookies."""
    if any(_lets_share(response.get(header, "")) for header in CACHE_HEADERS):
        return True
    expires = parse_http_date_safe(response.get("Expires", ""))
    return "Cache-Control" not in response and expires is not None and expires > time.time()


def _lets_share(header):
    """Return whether a header like Cache-Control lets shared caches store it."""
    found = {part.strip().lower() for part in re.sub('"[^"]*"', "", header).split(",")}
    if found & {"private", "no-store", "no-cache"}:
        return False
    found -= {"max-age=0", "s-maxage=0"}
    return any(part == "public" or part.startswith(("max-age=", "s-maxage=")) for part in found)


def replica_databases() -> list[str]:
    """Return the driver's names of the databases with OPTIONS["replicas"]."""
    return [
        f"d1:{values['NAME']}"
        for values in settings.DATABASES.values()
        if values.get("OPTIONS", {}).get("replicas") and values.get("NAME")
    ]


class PrimaryTables:
    """The tables that are always read from the primary.

    Those of this package, wherever a statement names them; and those of DO_BRIDGE["PRIMARY_MODELS"] in a
    FROM clause, so that a list of rows may join its users' names.
    """

    def __init__(self) -> None:
        own = (config for config in apps.get_app_configs() if config.name.split(".")[0] == OWN)
        models = [
            model for config in own if config.label != SESSIONS for model in config.get_models(True, True)
        ]
        self.words = [
            '"django_migrations"',
            *(f'"{model._meta.db_table}"' for model in models),
            *(f'FROM "{table}"' for model in primary_models() for table in _tables_of(model)),
        ]

    def are_in(self, statements: Sequence[Any]) -> bool:
        """Return whether one of the statements reads such a table."""
        return any(word in statement.sql for statement in statements for word in self.words)


def _tables_of(model):
    """Yield the table of a model, and those between it and its many-to-many relations."""
    yield model._meta.db_table
    for field in model._meta.local_many_to_many:
        yield field.m2m_db_table()


def primary_models() -> Iterator[Any]:
    """Yield the installed models that DO_BRIDGE["PRIMARY_MODELS"] names.

    Raises ImproperlyConfigured for a name that cannot be a model.
    """
    for label in conf("PRIMARY_MODELS"):
        name = _named_by_setting(label) if label.isupper() else label
        app, dot, model = (name or "").partition(".")
        if name == label and not (dot and model):
            raise ImproperlyConfigured(_NOT_A_MODEL.format(label))
        if app not in apps.app_configs:
            continue  # an application that this project does not use
        try:
            yield apps.get_model(app, model)
        except LookupError as error:
            # A setting that names no model has a check of its own.
            if name == label:
                raise ImproperlyConfigured(_NOT_A_MODEL.format(label)) from error


def _named_by_setting(name):
    if name == "AUTH_USER_MODEL":
        return settings.AUTH_USER_MODEL
    try:
        return conf(name)
    except KeyError:
        raise ImproperlyConfigured(_NOT_A_MODEL.format(name)) from None
