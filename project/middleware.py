"""Gives requests inside a tenant the tenant's URLs."""

from django.conf import settings

from do_bridge.tenancy import current_tenant
from do_bridge.tenancy.middleware import load_urlconf


class TenantUrlconfMiddleware:
    """Stands after TenantMiddleware, which has said whose request it is."""

    def __init__(self, get_response):
        load_urlconf(settings.TENANT_URLCONF)
        self.get_response = get_response

    def __call__(self, request):
        if current_tenant():
            request.urlconf = settings.TENANT_URLCONF
        return self.get_response(request)
