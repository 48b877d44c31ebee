"""The middleware that makes the tenant of a request's path or host name current."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import Any

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
from .domains import domains, host_of, is_shared, label_below_tenant_domain
from .lifecycle.keeping import is_kept
from .orm.importing import import_late_modules
from .slugs import InvalidSlug
from .tenants import lookup

logger = logging.getLogger("do_bridge.tenancy")

_AFTER_PREFIX = re.compile(r"(?P<slug>[^/]+)(?P<rest>/.*)?", re.DOTALL)


class OwnDomain(str):
    """A host in place of a slug, because only D1 can tell which tenant it belongs to."""

    __slots__ = ()


class TenantMiddleware:
    """A middleware that serves requests to a tenant inside that tenant.

    These are `/t/<slug>/…`, `<slug>.<TENANT_DOMAIN>` and the tenants' own domains.

    `request.tenant` is the tenant's row or None. The path's prefix moves into the script name, so that views
    and `reverse()` work as without it. An unknown tenant is a 404 before any Durable Object is called. Below
    DIRECTORY_PATHS, directory_context() is active.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        patches.require()
        import_late_modules()
        if conf("TENANT_URLCONF"):
            import_late_modules(conf("TENANT_URLCONF"))
        # Connected here, because it must run after Django's own receiver.
        request_finished.connect(keep_urlconf, dispatch_uid="do_bridge.keep_urlconf")
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
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

    def process_exception(self, request: Any, exception: Any) -> Any:
        """Return an error page for a database that is not ready.

        It is a 503 for a schema mismatch or an expired lease, and a 404 for a deleted tenant. If the admin
        can't delete a tenant's row by itself, it shows a message instead of an error page.
        """
        if isinstance(exception, TenantGone):
            raise Http404("This tenant does not exist.") from exception
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
        """Set `request.tenant` and move the prefix.

        Returns a redirect if the slash is missing.
        """
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
        # WSGI and ASGI requests have it in META; an ASGI request also has an attribute.
        full = request.META.get("SCRIPT_NAME", "").rstrip("/") + script
        request.META["SCRIPT_NAME"] = full
        if hasattr(request, "script_name"):
            request.script_name = full
        request.path_info = rest
        request.META["PATH_INFO"] = rest
        return None


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Temporarily unavailable</title>
<meta name="viewport" content="width=device-width"><body style="font: 1rem/1.5 system-ui; margin: 3rem auto;
max-width: 40rem; padding: 0 1rem"><h1>Temporarily unavailable</h1><p>The database of this site is not ready.
Please try again in a minute.</p></body></html>"""
SECONDS_BEFORE_ANOTHER_TRY = 60


def schema_mismatch_page(request: Any, error: Any) -> Any:
    """Log the error and return the page 503.html.

    The template gets the SchemaMismatch's `reason` and `remedy`. Without that template it returns a built-in
    page.
    """
    logger.error("%s", error)
    try:
        context = {"reason": error.reason, "remedy": error.remedy}
        page = loader.get_template("503.html").render(context, request)
    except TemplateDoesNotExist:
        page = PAGE
    return HttpResponse(page, status=503, headers={"Retry-After": str(SECONDS_BEFORE_ANOTHER_TRY)})


def _unavailable(request, error):
    request.tenant = None
    return schema_mismatch_page(request, error)


def _kept_page(request, error):
    """Return a redirect with a message inside the admin, else None."""
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
max-width: 40rem; padding: 0 1rem"><h1>This took too long</h1><p>The change took longer than one database
transaction may take, so nothing was saved. Please do less at once: split the file, or select fewer
rows.</p></body></html>"""
# The kinds of the first error after the lease has expired, and of all later ones.
_LEASE_KINDS = {"lease_expired", "no_transaction"}


def lease_ended(exception: Any) -> Any:
    """Return whether an exception or one of its causes reports an expired lease."""
    seen = set()
    while exception is not None and id(exception) not in seen:
        seen.add(id(exception))
        if getattr(exception, "kind", None) in _LEASE_KINDS:
            return True
        exception = exception.__cause__ or exception.__context__
    return False


def lease_page(request: Any, error: Any) -> Any:
    """Log the remedy and return the page lease_expired.html.

    Without that template it returns a built-in page.
    """
    logger.error(
        "%s: a transaction took longer than its lease and was rolled back. Write in bulk, do less in one "
        "request, or raise OPTIONS['lease'] of the database (25 seconds at most). The error was: %s",
        request.path,
        error,
    )
    try:
        page = loader.get_template("lease_expired.html").render({}, request)
    except TemplateDoesNotExist:
        page = LEASE_PAGE
    return HttpResponse(page, status=503)


def find_slug(request: Any) -> Any:
    """Return (slug or None, script prefix, rest of the path).

    The slug is not validated yet. It is an OwnDomain if the request's host is not the site's own.
    """
    if conf("TENANT_DOMAIN") or conf("DOMAIN_MODEL"):
        host = host_of(request)
        if not is_shared(host):
            if (label := label_below_tenant_domain(host)) is not None:
                return label, None, None
            if conf("DOMAIN_MODEL"):
                return OwnDomain(host), None, None
    prefix = conf("TENANT_PATH")
    if not request.path_info.startswith(prefix):
        return None, None, None
    match = _AFTER_PREFIX.fullmatch(request.path_info[len(prefix) :])
    if match is None:
        return None, None, None
    return match["slug"], prefix + match["slug"], match["rest"]


def _find_tenant(slug):
    """Return the tenant's row, or None for None.

    Raises Http404 for an invalid or unknown slug, and for an unknown host.
    """
    if slug is None:
        return None
    if isinstance(slug, OwnDomain):
        host, slug = slug, domains.get(slug)
        if slug is None:
            raise Http404(f"No site is served at {host}.")
    try:
        tenant = lookup.get(slug)
    except InvalidSlug:
        tenant = None
    if tenant is None:
        raise Http404("This tenant does not exist.")
    return tenant


class RequestScope:
    """The context of one request.

    It is entered for the view, and for each chunk of a streaming response.
    """

    def __init__(self, request: Any, tenant: Any) -> None:
        self.request = request
        self.tenant = tenant
        self.script_prefix = request.META.get("SCRIPT_NAME", "").rstrip("/") + "/"
        own = path_of(tenant.slug) if tenant is not None else ""
        #: The server's own part of the script prefix.
        self.base = self.script_prefix.removesuffix(own)
        self.directory = tenant is None and request.path_info.startswith(tuple(conf("DIRECTORY_PATHS")))

    @contextmanager
    def __call__(self) -> Any:
        before = get_script_prefix()
        # Entered even for an unset context, because an earlier request may have left a block open.
        with request_context(self.tenant, self.directory, self.base, self.request):
            set_script_prefix(self.script_prefix)
            try:
                yield
            finally:
                set_script_prefix(before)

    def keep_while_streaming(self, response: Any) -> Any:
        """Run the iterator of a streaming response in this context.

        Returns the response. The server reads it after the middleware has returned.
        """
        needed = self.tenant is not None or self.directory
        if needed and getattr(response, "streaming", False) and not isinstance(response, FileResponse):
            # Not Django's wrapper of an async iterator, which leaves closing it to the event loop.
            pieces = response._iterator if response.is_async else response.streaming_content
            wrap = self._each_async if response.is_async else self._each
            # A generator's clean-up runs in this context too, even if the client has disconnected.
            response._resource_closers[:] = map(self._within, response._resource_closers)
            response.streaming_content = wrap(pieces)
        return response

    def _within(self, work):
        def working():
            with self():
                return work()

        return working

    # The context is left between two chunks, because the caller of the generator must not see it.

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
