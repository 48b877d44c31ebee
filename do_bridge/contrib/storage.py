"""A file storage with a folder for each tenant, so that no tenant sees another's files or their names."""

from pathlib import Path

from django.core.files.storage import FileSystemStorage

from do_bridge.tenancy.context import NoTenant, current


class TenantFileSystemStorage(FileSystemStorage):
    """Keeps files in `<location>/t/<slug>/`, or in `<location>/directory/` while the directory is current.

    URLs have the same folders behind `base_url`. Whose the files are says the context at the moment of the
    call; without one NoTenant is raised. A name that leads out of the folder is refused by Django, as ever
    (SuspiciousFileOperation), and a name that another tenant uses is free.
    """

    @property
    def location(self):
        return str(Path(self.base_location).absolute() / self._folder())

    @property
    def base_url(self):
        base = super().base_url
        return base if base is None else f"{base}{self._folder()}/"

    def url(self, name):
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
            "Files are kept by tenant, and no tenant is current: use tenant_context(slug), or "
            "directory_context() for files that belong to none."
        )
