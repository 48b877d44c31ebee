"""Local Workers that meet what production has: internal tables in every database, and production's heap."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from pathlib import Path
from typing import Any

from worker import local

# The entry point whose objects have an internal table each.
ENTRY = "test/internal-tables.ts"
SCRIPT = Path(__file__).with_name("workers.mjs")
# An isolate has 128 MB in production.
HEAP = {"MINIFLARE_WORKERD_V8_FLAGS": "--max-heap-size=128"}
_D1_OBJECTS = "miniflare-D1DatabaseObject"
# The table as workerd makes it: https://github.com/cloudflare/workerd/blob/main/src/workerd/util/sqlite-kv.h
_TABLE = "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"


class ProductionWorker(local.LocalWorker):
    """A LocalWorker whose objects and D1 databases have internal tables; takes what LocalWorker takes.

    A `worker_dir` of its own keeps the entry point that its configuration names. `wrangler`: run wrangler,
    which reloads code that changes, instead of Miniflare, which starts in a third of the time.
    """

    def __init__(
        self, *arguments: Any, worker_dir: Path | None = None, wrangler: bool = False, **options: Any
    ) -> None:
        super().__init__(*arguments, worker_dir=worker_dir or local.WORKER_DIR, **options)
        self._wrangler = wrangler
        self._writes_folder = worker_dir is None
        if self._writes_folder:
            self.worker_dir = write_worker_folder(self._private / "worker")

    def spawn(self) -> None:
        """Starts the processes, with an internal table in each D1 database that they will open."""
        # The guard of a killed Worker has removed it.
        if self._writes_folder and not self.worker_dir.exists():
            write_worker_folder(self.worker_dir)
        for database_id in d1_databases(local.WORKER_DIR):
            make_internal_table(self.state, database_id)
        super().spawn()

    def _command(self, env_file: Path) -> list[str]:
        if self._wrangler:
            return super()._command(env_file)
        configs = [self.worker_dir / "wrangler.jsonc", *self.others]
        arguments = [self.port, self.state, env_file, *configs]
        return [str(local.node_binary()), str(SCRIPT), *map(str, arguments)]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | HEAP


def write_worker_folder(folder: Path) -> Path:
    """Make a folder with the relay's own configuration, but for the entry point; return the folder."""
    folder.mkdir(parents=True)
    config = json.loads((local.WORKER_DIR / "wrangler.jsonc").read_text())
    config["main"] = str(local.WORKER_DIR / ENTRY)
    (folder / "wrangler.jsonc").write_text(json.dumps(config))
    (folder / "node_modules").symlink_to((local.WORKER_DIR / "node_modules").resolve())
    return folder


def d1_databases(worker_dir: Path) -> list[str]:
    """The ids of the D1 databases that a configuration binds."""
    config = json.loads((worker_dir / "wrangler.jsonc").read_text())
    return [database["database_id"] for database in config["d1_databases"]]


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
