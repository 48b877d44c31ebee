"""A test client whose requests go to one tenant."""

from __future__ import annotations

from typing import Any

from django.test import Client

from do_bridge.tenancy.addresses import path_of


class TenantClient(Client):
    """Django's test client, which adds the tenant's path to a path without it.

    So `client.get("/posts/")` and `client.get(reverse("posts"))` are the same page inside the tenant.
    """

    def __init__(self, slug: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tenant_path = "/" + path_of(slug)

    def generic(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        """Make a request of any kind."""
        if "://" not in path and not path.startswith(self.tenant_path):
            path = self.tenant_path + path.removeprefix("/")
        return super().generic(method, path, *args, **kwargs)
