"""A file storage that keeps the tenants' files in separate folders."""

from __future__ import annotations

from pathlib import Path

from django.core.files.storage import FileSystemStorage

from do_bridge.tenancy.context import NoTenant, current


class TenantFileSystemStorage(FileSystemStorage):
    """Store files in a folder for each tenant.

    It is `<location>/t/<slug>/`, or `<location>/directory/` inside directory_context(). URLs have the same
    folders after `base_url`. The context at the time of each call selects the folder; without one, NoTenant
    is raised. For a name that leads out of the folder Django raises SuspiciousFileOperation.
    """

    @property
    def location(self) -> str:
        return str(Path(self.base_location).absolute() / self._folder())

    @property
    def base_url(self) -> str:
        base = super().base_url
        return base if base is None else f"{base}{self._folder()}/"

    def url(self, name: str) -> str:
        self.path(name)  # raises for a name that leads out
        return super().url(name)

    @staticmethod
    def _folder():
        scope = current()
        if scope.is_tenant:
            return f"t/{scope.slug}"
        if scope.is_directory:
            return "directory"
        raise NoTenant(
            "This storage keeps a folder for each tenant, and no tenant is current. Use "
            "tenant_context(slug), or directory_context() for files that belong to no tenant."
        )
