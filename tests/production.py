"""Local Workers that meet what production has: internal tables in every database, and production's heap."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from do_bridge.driver.places import JURISDICTIONS
from do_bridge.relay import LocalRelay, bundle

# The entry point whose objects have an internal table each, and which has a stand-in for jurisdictions.
ENTRY = "test/jurisdictions.ts"
# The same without jurisdictions, as the local runtime is.
PLAIN_ENTRY = "test/internal-tables.ts"
# The entry point whose objects keep a history, too; no local one does.
HISTORY_ENTRY = "test/history.ts"
# An isolate has 128 MB in production.
HEAP = {"MINIFLARE_WORKERD_V8_FLAGS": "--max-heap-size=128"}
# A file system in memory, and the bytes that must be free there: a whole run takes about 2 GB.
_MEMORY, _ROOM = Path("/dev/shm"), 4 * 2**30  # noqa: S108 - tempfile makes the names in it
_D1_OBJECTS = "miniflare-D1DatabaseObject"
# The table as workerd makes it: https://github.com/cloudflare/workerd/blob/main/src/workerd/util/sqlite-kv.h
_TABLE = "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"


class ProductionWorker(LocalRelay):
    """A LocalRelay whose objects and D1 databases have internal tables; takes what LocalRelay takes.

    A `source` of its own keeps the entry point that its configuration names. `wrangler`: run wrangler,
    which reloads code that changes, instead of Miniflare, which starts in a third of the time.
    `jurisdictions`: whether it runs on the stand-in for them, `worker/test/jurisdictions.ts`. `variables`:
    variables of the Worker that differ from its configuration.
    """

    entry = ENTRY

    def __init__(
        self,
        *arguments: Any,
        source: Path | None = None,
        wrangler: bool = False,
        jurisdictions: bool = True,
        variables: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, source=source or bundle.SOURCE, **options)
        self.jurisdictions = jurisdictions
        self.variables = variables or {}
        self._wrangler = wrangler
        self._writes_folder = source is None
        if self._writes_folder:
            self._write_folder(self._private / "worker")

    def spawn(self) -> None:
        """Starts the processes, with an internal table in each D1 database that they will open."""
        # The guard of a killed Worker has removed it.
        if self._writes_folder and not self.source.exists():
            self._write_folder(self.source)
        for database_id in self.database_ids:
            make_internal_table(self.folder, database_id)
        super().spawn()

    def _write_folder(self, folder: Path) -> None:
        entry = self.entry if self.jurisdictions else PLAIN_ENTRY
        self.source = write_worker_folder(folder, entry=entry, variables=self.variables)

    def _command(self, env_file: Path) -> list[str]:
        if self._wrangler:
            return super()._command(env_file)
        return self._serve(env_file, self.source / "wrangler.jsonc", *self.others)

    def _environment(self) -> dict[str, str]:
        return super()._environment() | HEAP


class HistoryWorker(ProductionWorker):
    """A ProductionWorker whose objects keep a history, by a stand-in for the platform's recovery.

    It has jurisdictions, too.
    """

    entry = HISTORY_ENTRY


def place_for_data() -> Path | None:
    """Return a folder for data that may go with the machine, or None for the usual temporary one.

    Each commit of a database waits for its disk, which tests do most of the time. A killed process loses
    nothing in memory either.
    """
    if os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
        return _MEMORY
    return None


def write_worker_folder(folder: Path, *, entry: str = ENTRY, variables: dict[str, Any] | None = None) -> Path:
    """Make a folder with the relay's own configuration, but for the entry point; return the folder."""
    folder.mkdir(parents=True)
    config = json.loads((bundle.SOURCE / "wrangler.jsonc").read_text())
    config["main"] = str(bundle.SOURCE / entry)
    config["vars"] |= variables or {}
    if entry in (ENTRY, HISTORY_ENTRY):
        bind_jurisdictions(config)
    (folder / "wrangler.jsonc").write_text(json.dumps(config))
    (folder / "node_modules").symlink_to((bundle.SOURCE / "node_modules").resolve())
    return folder


def bind_jurisdictions(config: dict[str, Any]) -> None:
    """Add the objects of each jurisdiction, as `worker/test/jurisdictions.ts` names them."""
    for jurisdiction in JURISDICTIONS:
        name = f"Tenant{jurisdiction.title().replace('-', '')}"
        binding = f"TENANTS_{jurisdiction.upper().replace('-', '_')}"
        config["durable_objects"]["bindings"].append({"name": binding, "class_name": name})
        config["migrations"][0]["new_sqlite_classes"].append(name)


def make_internal_table(state: Path, database_id: str) -> None:
    """Make the runtime's own table in a D1 database of the local runtime, which must not be running."""
    folder = state / "v3" / "d1" / _D1_OBJECTS
    folder.mkdir(parents=True, exist_ok=True)
    file = sqlite3.connect(folder / f"{object_id(_D1_OBJECTS, database_id)}.sqlite")
    try:
        file.execute(_TABLE)
        file.commit()
    finally:
        file.close()


def object_id(namespace: str, name: str) -> str:
    """The id that the local runtime derives from a namespace's key and an object's name."""
    key = hashlib.sha256(namespace.encode()).digest()
    half = hmac.digest(key, name.encode(), "sha256")[:16]
    return (half + hmac.digest(key, half, "sha256")[:16]).hex()
