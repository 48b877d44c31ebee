"""A message storage that keeps the tenants' messages apart."""

from __future__ import annotations

from typing import Any

from django.contrib.messages.storage.cookie import CookieStorage

from do_bridge.tenancy.context import current_tenant


class TenantCookieStorage(CookieStorage):
    """Store messages in a cookie for each tenant, without a round trip.

    All other pages share one more cookie.
    """

    def __init__(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        if slug := current_tenant():
            self.cookie_name = f"{CookieStorage.cookie_name}-{slug}"
