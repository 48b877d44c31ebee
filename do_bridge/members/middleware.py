"""The middleware that makes `request.user` the tenant's copy of the user."""

from __future__ import annotations

from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.utils.functional import SimpleLazyObject

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.replicated.users import as_copy


class TenantUserMiddleware:
    """Make `request.user` belong to the tenant's database inside a tenant.

    Put it after Django's AuthenticationMiddleware. It reads nothing: `request.user` keeps the values of D1's
    row, password and permissions included, and is saved in D1. The row in the tenant's Durable Object is
    created or refreshed together with the first row that refers to it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        # For an asynchronous handler this returns its coroutine; nothing here has to be awaited.
        _take_copy(request)
        return self.get_response(request)


def _take_copy(request):
    tenant = getattr(request, "tenant", None)
    if tenant is None or not hasattr(request, "user"):
        return
    alias = tenant_alias(tenant.slug)
    request.user = SimpleLazyObject(partial(_copied, request.user, alias))
    if hasattr(request, "auser"):
        request.auser = partial(_copied_later, request.auser, alias)


def _copied(user, alias):
    # This evaluates the lazy object that Django's middleware has set.
    return as_copy(user, alias)


async def _copied_later(auser, alias):
    return as_copy(await auser(), alias)
