"""Makes `request.user` the tenant's copy of whoever is signed in, inside a tenant."""

from functools import partial

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.utils.functional import SimpleLazyObject

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.replicated.users import as_copy


class TenantUserMiddleware:
    """Stands behind Django's AuthenticationMiddleware; D1's pages keep D1's user.

    Nothing is read for it: the copy has the values of D1's row, so passwords and permissions are D1's, and is
    saved there. The object gets or refreshes its row when something is to refer to it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request):
        # A coroutine where the handler is asynchronous: nothing here waits for anything.
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
    # Evaluates the lazy object that Django's middleware has set.
    return as_copy(user, alias)


async def _copied_later(auser, alias):
    return as_copy(await auser(), alias)
