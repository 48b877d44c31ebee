"""Backups in a Django storage, with a folder for each run.

A folder has a compressed dump of each database.
"""

import gzip
import hashlib
import json
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.core.files.base import ContentFile, File
from django.core.files.storage import InvalidStorageError, storages
from django.core.management.base import CommandError
from django.utils.timezone import now

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.transfer.dump_shared import dump_database
from do_bridge.tenancy.slugs import alias_slug, tenant_alias

FORMAT = 1
PLAN, MANIFEST, SHARED = "plan.json", "manifest.json", "shared"
_TENANTS = "tenants"
_STAMP = "%Y-%m-%dT%H-%M-%SZ"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", re.ASCII)
_CHUNK = 1 << 20


class Damaged(Exception):
    """A file of a backup is missing, or is not the one that was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of one database in a backup.

    `sha256` and `bytes` are those of the compressed file.
    """

    database: str
    file: str
    bytes: int
    sha256: str
    tables: int
    rows: int
    #: Whether all rows are of one moment.
    consistent: bool
    #: Rows whose foreign key points at a row that is not in the file.
    dangling: int
    #: When the dump began, in ISO 8601.
    at: str


def open_storage(alias):
    """Return the storage STORAGES[alias]. Raises CommandError without one."""
    try:
        return storages[alias]
    except InvalidStorageError as error:
        raise CommandError(
            f"STORAGES has no storage {alias!r}, where backups are written. Add it to STORAGES, or name "
            "another one with --storage."
        ) from error


class Backup:
    """One run: its folder in a storage."""

    def __init__(self, storage, name):
        self.storage = storage
        self.name = name

    @property
    def moment(self):
        """When the run was started."""
        return datetime.strptime(self.name, _STAMP).replace(tzinfo=UTC)

    @classmethod
    def start(cls, storage, wanted):
        """Make a new run for the databases `wanted`, "shared" or slugs; None means all."""
        moment, names = now().astimezone(UTC), {backup.name for backup in list_backups(storage)}
        while (name := moment.strftime(_STAMP)) in names:
            moment += timedelta(seconds=1)
        backup = cls(storage, name)
        backup._write(PLAN, {"format": FORMAT, "wanted": wanted})
        return backup

    @property
    def is_finished(self):
        """Whether the run has ended; some databases may have failed."""
        return self.storage.exists(self._path(MANIFEST))

    def wanted(self):
        """Return what the run is to back up, as `start` was called."""
        return self._read(PLAN)["wanted"]

    def manifest(self):
        """Return the finished run's manifest. Raises Damaged."""
        return self._read(MANIFEST)

    def entries(self):
        """Return {database: Entry} of what has been written, finished or not."""
        if self.is_finished:
            found = self.manifest()["databases"]
        else:
            folders = {"": self._files(""), _TENANTS: self._files(_TENANTS)}
            names = [f"{folder}/{name}".lstrip("/") for folder, files in folders.items() for name in files]
            left = {PLAN, MANIFEST}
            found = [self._read(name) for name in names if name.endswith(".json") and name not in left]
        return {entry["database"]: Entry(**entry) for entry in found}

    def add(self, database, on_page=None, lease=None):
        """Dump a database, "shared" or a slug, into the storage; return its Entry.

        The entry is written last, so a dump without one is incomplete. Raises what `dump_database` raises.
        """
        alias = conf("DIRECTORY_ALIAS") if database == SHARED else tenant_alias(slug_of(database))
        stem = SHARED if database == SHARED else f"{_TENANTS}/{slug_of(database)}"
        with tempfile.TemporaryDirectory(prefix="backup-") as folder:
            plain, packed = Path(folder) / "dump.sqlite3", Path(folder) / "dump.sqlite3.gz"
            at = now().isoformat()
            options = {} if lease is None else {"lease": lease}
            report = dump_database(alias, plain, on_page=on_page, **options)
            with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
                shutil.copyfileobj(source, target, _CHUNK)
            plain.unlink()
            with packed.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            file = self._save(f"{stem}.sqlite3.gz", packed)
            entry = Entry(
                database,
                file,
                packed.stat().st_size,
                digest,
                report.tables,
                report.rows,
                report.consistent,
                report.dangling,
                at,
            )
        self._write(f"{stem}.json", asdict(entry))
        return entry

    @contextmanager
    def fetched(self, database):
        """Yield the path of a database's dump, checked and unpacked.

        The file exists while the block lasts. Raises Damaged.
        """
        entry = self.entries().get(database)
        if entry is None:
            raise Damaged(f"The backup {self.name} has no dump of {database!r}.")
        with tempfile.TemporaryDirectory(prefix="backup-") as folder:
            packed, plain = Path(folder) / "dump.sqlite3.gz", Path(folder) / "dump.sqlite3"
            try:
                with self.storage.open(self._path(entry.file)) as source, packed.open("wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
            except OSError as error:
                raise Damaged(f"{self._path(entry.file)} can't be read: {error}") from error
            with packed.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry.sha256:
                raise Damaged(
                    f"{self._path(entry.file)} is not the file that was written: its SHA-256 differs."
                )
            with gzip.open(packed, "rb") as source, plain.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
            packed.unlink()
            yield plain

    def finish(self, failed):
        """Write the manifest; `failed` is {database: error} of what could not be dumped."""
        entries = self.entries()
        manifest = {
            "format": FORMAT,
            "started": self.moment.isoformat(),
            "finished": now().isoformat(),
            "databases": [asdict(entries[name]) for name in sorted(entries)],
            "failed": failed,
        }
        self._write(MANIFEST, manifest)
        # The manifest has what these said.
        for name in entries:
            stem = SHARED if name == SHARED else f"{_TENANTS}/{slug_of(name)}"
            self.storage.delete(self._path(f"{stem}.json"))

    def delete(self):
        """Delete all files of the run.

        The plan is deleted last, so that an interrupted deletion can be repeated.
        """
        for folder in (_TENANTS, ""):
            for name in sorted(self._files(folder), key=lambda name: name == PLAN):
                self.storage.delete(self._path(f"{folder}/{name}".lstrip("/")))
            # A file system keeps an empty folder; other storages have none.
            self.storage.delete(self._path(folder).rstrip("/"))

    # Files

    def _path(self, name):
        return f"{self.name}/{name}"

    def _files(self, folder):
        try:
            return self.storage.listdir(self._path(folder).rstrip("/"))[1]
        except FileNotFoundError:
            return []

    def _save(self, name, path):
        """Save a file under a name, and return the name.

        It replaces what a killed run has left there.
        """
        self._clear(name)
        with path.open("rb") as file:
            saved = self.storage.save(self._path(name), File(file))
        return saved.replace("\\", "/").removeprefix(f"{self.name}/")

    def _write(self, name, value):
        self._clear(name)
        self.storage.save(self._path(name), ContentFile(json.dumps(value, indent=1).encode()))

    def _clear(self, name):
        # Otherwise a storage that never overwrites would choose another name.
        if self.storage.exists(self._path(name)):
            self.storage.delete(self._path(name))

    def _read(self, name):
        try:
            with self.storage.open(self._path(name)) as file:
                return json.loads(file.read())
        except (OSError, ValueError) as error:
            raise Damaged(f"{self._path(name)} can't be read: {error}") from error


def slug_of(database):
    """Return the slug in the name of a tenant's database, "tenant/<slug>"."""
    return alias_slug(database)


def list_backups(storage):
    """Return the runs in a storage, the latest last."""
    try:
        names = storage.listdir("")[0]
    except FileNotFoundError:
        return []
    return [Backup(storage, name) for name in sorted(names) if _NAME.fullmatch(name)]


def prune(storage, keep=None, days=None):
    """Delete old runs; return their names.

    The latest `keep` complete runs stay, as do all runs of the last `days` days. Runs that are incomplete
    stay as long as they are newer than the oldest that is kept.
    """
    backups = list_backups(storage)
    complete = [backup for backup in backups if backup.is_finished and not backup.manifest()["failed"]]
    kept = complete[-keep:] if keep else complete[-1:]
    oldest = min((backup.name for backup in kept), default="")
    gone = [backup for backup in backups if backup.name < oldest]
    if days is not None:
        gone = [backup for backup in gone if (now() - backup.moment).days >= days]
    for backup in gone:
        backup.delete()
    return [backup.name for backup in gone]
