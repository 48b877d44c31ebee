"""ASGI middleware for Channels that makes a connection's tenant current."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import DisallowedHost
from django.http import Http404, HttpRequest

from do_bridge.tenancy.context import NoTenant, current_tenant, tenant_context, unset_context
from do_bridge.tenancy.middleware import find_slug
from do_bridge.tenancy.schema.errors import SchemaMismatch, TenantGone
from do_bridge.tenancy.slugs import InvalidSlug
from do_bridge.tenancy.tenants import lookup

# https://www.iana.org/assignments/websocket/websocket.xhtml
TRY_AGAIN_LATER = 1013
#: As HTTP's 404.
NOT_FOUND = 4404


class TenantConnectionMiddleware:
    """A middleware that serves each connection inside its tenant.

    These are the connections to `/t/<slug>/…` and `<slug>.<TENANT_DOMAIN>`. Put it around Channels'
    URLRouter, whose patterns then need no prefix. `scope["tenant"]` is the tenant's row or None. A connection
    to an unknown tenant is refused. A consumer of a connection without a tenant runs without one.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("websocket", "http"):
            await self.application(scope, receive, send)
            return
        try:
            slug, script, _ = find_slug(_request(scope))
            tenant = await sync_to_async(_find)(slug)
        except (Http404, DisallowedHost, TenantGone):
            await _refuse(scope, receive, send, NOT_FOUND, 404)
            return
        except SchemaMismatch:
            await _refuse(scope, receive, send, TRY_AGAIN_LATER, 503)
            return
        inner = {**scope, "tenant": tenant}
        if script is not None:
            # Channels' URLRouter takes the root path off.
            inner["root_path"] = scope.get("root_path", "").rstrip("/") + script
        # Always entered, so that nothing else is current.
        with tenant_context(tenant) if tenant is not None else unset_context():
            await self.application(inner, receive, send)


def tenant_group(name: str) -> str:
    """Return the name of a group of the current tenant.

    Use it as `group_add(tenant_group("chat"), …)`. A channel layer knows no tenants, so a plain name is the
    same group in all of them. Raises NoTenant.
    """
    slug = current_tenant()
    if slug is None:
        raise NoTenant(
            f"The group {name!r} belongs to no tenant, because none is current. Serve the consumer with "
            "TenantConnectionMiddleware, or enter tenant_context(slug)."
        )
    return f"tenant.{slug}.{name}"


def _request(scope):
    """Return a request with what chooses the tenant: the path and the host."""
    request = HttpRequest()
    request.path_info = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    host, port = (scope.get("server") or ("localhost", None))[:2]
    request.META = {"SERVER_NAME": host, "SERVER_PORT": str(port or 80)}
    for name, value in scope.get("headers", ()):
        if name in (b"host", b"x-forwarded-host"):
            request.META["HTTP_" + name.decode().upper().replace("-", "_")] = value.decode("latin1")
    return request


def _find(slug):
    """Return the tenant's row, or None for None; raise Http404 for an unknown tenant."""
    if slug is None:
        return None
    try:
        tenant = lookup.get(slug)
    except InvalidSlug:
        tenant = None
    if tenant is None:
        raise Http404("This tenant does not exist.")
    return tenant


async def _refuse(scope, receive, send, code, status):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": code})
        return
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})
