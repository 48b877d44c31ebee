"""A connector for django-dbbackup that writes dumps as SQLite files.

It dumps D1, Durable Objects and tenants.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from dbbackup.db.base import BaseDBConnector
from dbbackup.utils import filename_generate
from django.core.management.base import CommandError
from django.db import DatabaseError

from do_bridge.backends.sqlite_file.filling import CountsDiffer
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.backends.sqlite_file.loading import NotEmpty, load_database
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.creation import add_row
from do_bridge.tenancy.lifecycle.transfer.dump_shared import dump_database
from do_bridge.tenancy.lifecycle.transfer.load import TenantExists, load_tenant
from do_bridge.tenancy.schema.fingerprint import META_TABLE
from do_bridge.tenancy.slugs import alias_slug
from do_bridge.tenancy.tenants import is_registered, no_such_tenant

#: Bytes of a dump that are kept in memory; larger ones are in a temporary file.
IN_MEMORY = 10_000_000


class DumpConnector(BaseDBConnector):  # type: ignore[misc, unused-ignore]
    """Name it in DBBACKUP_CONNECTOR_MAPPING for both engines of this package.

    `dbbackup -d tenant/acme` dumps that tenant's database. `dbrestore` loads a file into an empty database:
    of a tenant as `tenant_load` does, of another alias as `load_sqlite` does. Expected failures raise
    CommandError.
    """

    extension = "sqlite3"

    def generate_filename(self, server_name: str | None = None) -> Any:
        """Return a file name that contains the whole alias.

        A shorter name would be ambiguous, because a tenant may be named as another alias is.
        """
        return filename_generate(self.extension, self.database_name.replace("/", "-"), server_name)

    def create_dump(self) -> Any:
        """Return an open temporary file with the dump."""
        self._refuse_template()
        if self.exclude:
            raise CommandError("--exclude-tables is not supported, because a dump contains all tables.")
        slug = alias_slug(self.database_name)
        with _failures(f"{self.database_name!r} was not dumped"), _temporary() as path:
            # Reading it would make an empty object.
            if slug is not None and not is_registered(slug):
                raise CommandError(no_such_tenant(slug))
            dump_database(self.database_name, path)
            # django-dbbackup closes it.
            file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
            with path.open("rb") as source:
                shutil.copyfileobj(source, file)
        file.seek(0)
        return file

    def restore_dump(self, dump: Any) -> None:
        """Load the dump into the alias's empty database."""
        self._refuse_template()
        slug = alias_slug(self.database_name)
        with _failures(f"{self.database_name!r} was not restored"), _temporary() as path:
            with path.open("wb") as target:
                shutil.copyfileobj(dump, target)
            if slug is not None:
                load_tenant(slug, path, then=lambda lease: add_row(lease, "", {}))
                return
            # django-dbbackup finds a file by a part of its name.
            if _is_of_tenant(path):
                raise CommandError(
                    f"The file is the dump of a tenant, and {self.database_name!r} is not a tenant's "
                    "database. Name the file with --input-filename."
                )
            load_database(self.database_name, path)

    def _refuse_template(self):
        databases = tenant_databases()
        if databases is not None and self.database_name == databases.template:
            raise CommandError(
                f"{self.database_name!r} is only the template for the tenants' databases. Set "
                "DBBACKUP_DATABASES = ['default'], and name a tenant with -d tenant/<slug>. `manage.py "
                "tenant_backup` backs up all tenants."
            )


@contextlib.contextmanager
def _temporary():
    with tempfile.TemporaryDirectory(prefix="dbbackup-") as folder:
        yield Path(folder) / "dump.sqlite3"


@contextlib.contextmanager
def _failures(what):
    """Raise expected errors as CommandError, which is printed on one line."""
    try:
        yield
    except (UnfitFile, NotEmpty, TenantExists, CountsDiffer, DatabaseError, OSError, sqlite3.Error) as error:
        raise CommandError(f"{what}: {error}") from error


def _is_of_tenant(path):
    with contextlib.closing(sqlite3.connect(path)) as file:
        query = "SELECT 1 FROM sqlite_master WHERE name = ?"
        return file.execute(query, [META_TABLE]).fetchone() is not None
