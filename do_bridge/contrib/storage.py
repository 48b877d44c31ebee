"""File storages that keep the tenants' files in separate folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.core.files.utils import validate_file_name

from do_bridge.tenancy.context import NoTenant, current

# The storages (their ids) whose own methods are running with names that have their folder already.
_running: ContextVar[frozenset[int]] = ContextVar("do_bridge_storages", default=frozenset())


def _in_folder(method):
    """Return a storage method that works in the tenant's folder.

    It calls the method of the storage class behind the mixin, with a name in that folder.
    """

    def call(self, name, *args, **kwargs):
        with self._in_folder(name) as inside:
            return getattr(super(TenantStorageMixin, self), method)(inside, *args, **kwargs)

    call.__name__ = method
    return call


class TenantStorageMixin:
    """Put a tenant's files into a folder of its own, in any storage class.

    ::

        class TenantS3Storage(TenantStorageMixin, S3Storage): ...

    The folder is `t/<slug>/`, or `directory/` inside directory_context(), below the storage's own location;
    names in the database do not contain it. The context at the time of each call selects the folder; without
    one, NoTenant is raised. For a name that leads out of the folder SuspiciousFileOperation is raised.
    """

    delete = _in_folder("delete")
    exists = _in_folder("exists")
    get_accessed_time = _in_folder("get_accessed_time")
    get_created_time = _in_folder("get_created_time")
    get_modified_time = _in_folder("get_modified_time")
    listdir = _in_folder("listdir")
    path = _in_folder("path")
    size = _in_folder("size")
    url = _in_folder("url")
    _open = _in_folder("_open")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A storage may look at its own location, which does not belong to a tenant.
        token = _running.set(_running.get() | {id(self)})
        try:
            super().__init__(*args, **kwargs)
        finally:
            _running.reset(token)

    def _save(self, name: str, content: Any) -> str:
        with self._in_folder(name) as inside:
            saved = super()._save(inside, content)  # type: ignore[misc]
            return saved if inside is name else saved.removeprefix(f"{self._folder()}/")

    @contextmanager
    def _in_folder(self, name: str) -> Iterator[str]:
        """Give the name in the tenant's folder.

        A method of the storage class may call another one, with a name that has the folder already.
        """
        before = _running.get()
        if id(self) in before:
            yield name
            return
        name = str(name).replace("\\", "/")  # some storages do so after they have looked for ".."
        if name not in ("", ".", "/"):
            validate_file_name(name, allow_relative_path=True)
        inside = f"{self._folder()}/{name}" if name not in ("", ".", "/") else self._folder()
        token = _running.set(before | {id(self)})
        try:
            yield inside
        finally:
            _running.reset(token)

    @staticmethod
    def _folder() -> str:
        scope = current()
        if scope.is_tenant:
            return f"t/{scope.slug}"
        if scope.is_directory:
            return "directory"
        raise NoTenant(
            "This storage keeps a folder for each tenant, and no tenant is current. Use "
            "tenant_context(slug), or directory_context() for files that belong to no tenant."
        )


class TenantFileSystemStorage(TenantStorageMixin, FileSystemStorage):
    """Store files in a folder for each tenant.

    It is `<location>/t/<slug>/`, or `<location>/directory/` inside directory_context(). URLs have the same
    folders after `base_url`.
    """
