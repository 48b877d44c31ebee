"""Keeps the messages of one tenant from being shown on another's next page."""

from django.contrib.messages.storage.cookie import CookieStorage

from do_bridge.tenancy.context import current_tenant


class TenantCookieStorage(CookieStorage):
    """One cookie for the directory and one for each tenant; none of them takes a trip to D1."""

    def __init__(self, request, *args, **kwargs):
        super().__init__(request, *args, **kwargs)
        if slug := current_tenant():
            self.cookie_name = f"{CookieStorage.cookie_name}-{slug}"
