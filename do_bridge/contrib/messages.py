"""A message storage that keeps the tenants' messages apart."""

from django.contrib.messages.storage.cookie import CookieStorage

from do_bridge.tenancy.context import current_tenant


class TenantCookieStorage(CookieStorage):
    """Store messages in one cookie for each tenant and one for all other pages, without a round trip."""

    def __init__(self, request, *args, **kwargs):
        super().__init__(request, *args, **kwargs)
        if slug := current_tenant():
            self.cookie_name = f"{CookieStorage.cookie_name}-{slug}"
