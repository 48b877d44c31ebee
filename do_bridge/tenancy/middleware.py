"""Finds a request's tenant in its path or host name, and makes it current while the request is served."""

import logging
import re
from contextlib import contextmanager

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib import messages
from django.core.signals import request_finished
from django.db import IntegrityError
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponsePermanentRedirect,
    HttpResponseRedirect,
)
from django.template import TemplateDoesNotExist, loader
from django.urls import get_script_prefix, set_script_prefix
from django.utils.encoding import escape_uri_path

from do_bridge import patches
from do_bridge.conflicts import TransactionConflict, conflict_page
from do_bridge.tenancy.schema.errors import SchemaMismatch, TenantGone

from .addresses import path_of
from .conf import conf
from .context import keep_urlconf, request_context
from .lifecycle.keeping import is_kept
from .orm.importing import import_late_modules
from .slugs import InvalidSlug
from .tenants import lookup

logger = logging.getLogger("do_bridge.tenancy")

_AFTER_PREFIX = re.compile(r"(?P<slug>[^/]+)(?P<rest>/.*)?", re.DOTALL)


class TenantMiddleware:
    """Serves `/t/<slug>/…` and `<slug>.<TENANT_DOMAIN>` as that tenant; `request.tenant` is its row or None.

    The path's prefix becomes part of the script name, so that views and `reverse()` know nothing of it. An
    unknown tenant is a 404 before any object is reached. Below DIRECTORY_PATHS the directory is current.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response):
        patches.require()
        import_late_modules()
        if conf("TENANT_URLCONF"):
            import_late_modules(conf("TENANT_URLCONF"))
        # Here, for it has to come after Django's own.
        request_finished.connect(keep_urlconf, dispatch_uid="do_bridge.keep_urlconf")
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request):
        if self.is_async:
            return self._serve_async(request)
        slug, script, rest = find_slug(request)
        try:
            tenant = _find_tenant(slug)
        except SchemaMismatch as error:
            return _unavailable(request, error)
        if (redirect := self._start(request, tenant, script, rest)) is not None:
            return redirect
        scope = RequestScope(request, tenant)
        with scope():
            response = self.get_response(request)
        return scope.keep_while_streaming(response)

    async def _serve_async(self, request):
        slug, script, rest = find_slug(request)
        try:
            tenant = await sync_to_async(_find_tenant)(slug) if slug is not None else None
        except SchemaMismatch as error:
            return await sync_to_async(_unavailable)(request, error)
        if (redirect := self._start(request, tenant, script, rest)) is not None:
            return redirect
        scope = RequestScope(request, tenant)
        with scope():
            response = await self.get_response(request)
        return scope.keep_while_streaming(response)

    def process_exception(self, request, exception):
        """Answer 503 for another schema, a conflict or an ended lease, 404 for a tenant that is gone.

        In the admin a tenant's row that may not go alone is a message, not an error page.
        """
        if isinstance(exception, TenantGone):
            raise Http404("There is no such tenant.") from exception
        if isinstance(exception, SchemaMismatch):
            return schema_mismatch_page(request, exception)
        if isinstance(exception, IntegrityError) and is_kept(exception):
            return _kept_page(request, exception)
        if isinstance(exception, TransactionConflict):
            return conflict_page(request, exception)
        if lease_ended(exception):
            return lease_page(request, exception)
        return None

    def _start(self, request, tenant, script, rest):
        """Note the tenant on the request and move its prefix; return a redirect where a slash is missing."""
        request.tenant = tenant
        if tenant is None:
            return None
        if conf("TENANT_URLCONF"):
            request.urlconf = conf("TENANT_URLCONF")
        if script is None:
            return None
        if rest is None:
            query = request.META.get("QUERY_STRING", "")
            target = escape_uri_path(request.path + "/")
            return HttpResponsePermanentRedirect(f"{target}?{query}" if query else target)
        # Both kinds of request keep it in META; an ASGI request has an attribute besides.
        full = request.META.get("SCRIPT_NAME", "").rstrip("/") + script
        request.META["SCRIPT_NAME"] = full
        if hasattr(request, "script_name"):
            request.script_name = full
        request.path_info = rest
        request.META["PATH_INFO"] = rest
        return None


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Not available for a moment</title>
<meta name="viewport" content="width=device-width"><body style="font: 1rem/1.5 system-ui; margin: 3rem auto;
max-width: 40rem; padding: 0 1rem"><h1>Not available for a moment</h1><p>This site is being updated and its
database is not ready yet. Nothing is lost: please try again in a minute.</p></body></html>"""
SECONDS_BEFORE_ANOTHER_TRY = 60


def schema_mismatch_page(request, error):
    """Return the page that asks visitors to come back: the template 503.html, or a plain one; log why."""
    logger.error("%s", error)
    try:
        page = loader.get_template("503.html").render({}, request)
    except TemplateDoesNotExist:
        page = PAGE
    return HttpResponse(page, status=503, headers={"Retry-After": str(SECONDS_BEFORE_ANOTHER_TRY)})


def _unavailable(request, error):
    request.tenant = None
    return schema_mismatch_page(request, error)


def _kept_page(request, error):
    """Return the redirect to the admin's page that the request came from, with a message; None elsewhere."""
    match = request.resolver_match
    if match is None or match.app_name != "admin":
        return None
    messages.error(request, str(error), fail_silently=True)
    path = request.path
    return HttpResponseRedirect(
        path.removesuffix("delete/") + "change/" if path.endswith("/delete/") else path
    )


LEASE_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>This took too long</title>
<meta name="viewport" content="width=device-width"><body style="font: 1rem/1.5 system-ui; margin: 3rem auto;
max-width: 40rem; padding: 0 1rem"><h1>This took too long</h1><p>One transaction of the database has too
little time for it, and was undone. Do less at once: split the file, or choose fewer rows.</p></body>
</html>"""
# What the first statement after the lease says, and what every later one does.
_LEASE_KINDS = {"lease_expired", "no_transaction"}


def lease_ended(exception):
    """Say whether an exception, or one that it came from, tells of a transaction that its lease has ended."""
    seen = set()
    while exception is not None and id(exception) not in seen:
        seen.add(id(exception))
        if getattr(exception, "kind", None) in _LEASE_KINDS:
            return True
        exception = exception.__cause__ or exception.__context__
    return False


def lease_page(request, error):
    """Return the page that says what helps: the template lease_expired.html, or a plain one; log the cure."""
    logger.error(
        "%s: a transaction took longer than its lease and was rolled back. Write in bulk, do less in one "
        "request, or raise OPTIONS['lease'] of the database (25 s at most). %s",
        request.path,
        error,
    )
    try:
        page = loader.get_template("lease_expired.html").render({}, request)
    except TemplateDoesNotExist:
        page = LEASE_PAGE
    return HttpResponse(page, status=503)


def find_slug(request):
    """Return (slug or None, script, rest): what stands in a slug's place, and the path's two parts."""
    domain = conf("TENANT_DOMAIN").partition(":")[0].lower()
    if domain:
        host = request.get_host().partition(":")[0].lower().removesuffix(".")
        if host.endswith("." + domain):
            return host[: -len(domain) - 1], None, None
    prefix = conf("TENANT_PATH")
    if not request.path_info.startswith(prefix):
        return None, None, None
    match = _AFTER_PREFIX.fullmatch(request.path_info[len(prefix) :])
    if match is None:
        return None, None, None
    return match["slug"], prefix + match["slug"], match["rest"]


def _find_tenant(slug):
    """Return the tenant's row, None for None; raise Http404 for a slug that is no tenant's, valid or not."""
    if slug is None:
        return None
    try:
        tenant = lookup.get(slug)
    except InvalidSlug:
        tenant = None
    if tenant is None:
        raise Http404("There is no such tenant.")
    return tenant


class RequestScope:
    """The context of one request, entered for its view and again for each piece that it streams."""

    def __init__(self, request, tenant):
        self.request = request
        self.tenant = tenant
        self.script_prefix = request.META.get("SCRIPT_NAME", "").rstrip("/") + "/"
        own = path_of(tenant.slug) if tenant is not None else ""
        #: The part of it that is the server's.
        self.base = self.script_prefix.removesuffix(own)
        self.directory = tenant is None and request.path_info.startswith(tuple(conf("DIRECTORY_PATHS")))

    @contextmanager
    def __call__(self):
        before = get_script_prefix()
        # Also where it changes nothing: an earlier request may have left a block open in this thread.
        with request_context(self.tenant, self.directory, self.base, self.request):
            set_script_prefix(self.script_prefix)
            try:
                yield
            finally:
                set_script_prefix(before)

    def keep_while_streaming(self, response):
        """Let what `response` streams run in this context: it is read after the middleware has returned."""
        needed = self.tenant is not None or self.directory
        if needed and getattr(response, "streaming", False) and not isinstance(response, FileResponse):
            # Not Django's own wrapper of an async one, which would leave its closing to the event loop.
            pieces = response._iterator if response.is_async else response.streaming_content
            wrap = self._each_async if response.is_async else self._each
            # What a generator does in the end, for a visitor who has gone too, is done here as well.
            response._resource_closers[:] = map(self._within, response._resource_closers)
            response.streaming_content = wrap(pieces)
        return response

    def _within(self, work):
        def working():
            with self():
                return work()

        return working

    # The context is left between two pieces: a generator's caller would see it otherwise.

    def _each(self, pieces):
        iterator = iter(pieces)
        while True:
            with self():
                try:
                    piece = next(iterator)
                except StopIteration:
                    return
            yield piece

    async def _each_async(self, pieces):
        iterator = aiter(pieces)
        try:
            while True:
                with self():
                    try:
                        piece = await anext(iterator)
                    except StopAsyncIteration:
                        return
                yield piece
        finally:
            if hasattr(iterator, "aclose"):
                with self():
                    await iterator.aclose()
