"""Gives requests inside a tenant the tenant's URLs."""

from django.conf import settings

from do_bridge.tenancy import current_tenant


class TenantUrlconfMiddleware:
    """Stands after TenantMiddleware, which has said whose request it is."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if current_tenant():
            request.urlconf = settings.TENANT_URLCONF
        return self.get_response(request)
