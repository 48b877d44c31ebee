"""Open a SQLite file for reading only, and identify it by a digest."""

import contextlib
import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from .fitness import UnfitFile

# How long another program's lock is waited for, in seconds.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An open file.

    `connection` stays in one transaction; `digest` identifies what it reads.
    """

    connection: sqlite3.Connection
    digest: str


@contextlib.contextmanager
def opened(path):
    """Yield a SourceFile of the SQLite file at `path`; raise UnfitFile.

    A write-ahead log beside the file is read, too. Everything is read in one transaction, so that
    other programs may continue to read; nothing is written.
    """
    path = Path(path)
    _refuse_no_file(path)
    before = _signature(path)
    digest = _digest(path)
    with contextlib.closing(_connect(path)) as connection:
        if _signature(path) != before:
            raise UnfitFile(
                f"{path} was changed while it was read. Stop the site and all other programs that write to "
                "the file, then run the command again."
            )
        yield SourceFile(connection, digest)


def _refuse_no_file(path):
    if not path.is_file():
        raise UnfitFile(f"The file {path} does not exist.")
    if path.stat().st_size == 0 and not _parts(path)[1:]:
        raise UnfitFile(f"The file {path} is empty. Name the site's database file.")
    journal = path.with_name(f"{path.name}-journal")
    if journal.is_file() and _is_hot(journal):
        raise UnfitFile(
            f"{journal} exists, so a program is writing to the file or was killed while it wrote. Stop the "
            f"program. Open the file with `sqlite3 {path} .tables`, which repairs it. Then run the command "
            "again."
        )


def _is_hot(journal):
    """Return whether a rollback journal is in use.

    A journal that SQLite keeps after use has a zero as its first byte.
    """
    with journal.open("rb") as file:
        return file.read(1) not in (b"", b"\0")


def _connect(path):
    """Return a connection in a transaction that has begun to read."""
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=PATIENCE
    )
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise UnfitFile(_why(path, error)) from error
    return connection


def _why(path, error):
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"{path} is locked by another program. Stop the site, then run the command again."
    if "unable to open" in text or "readonly" in text:
        return (
            f"{path} can't be opened: {error}. For a file in WAL mode, SQLite has to create a file -shm next "
            "to it. Copy the file and its -wal file into a folder in which you can write."
        )
    return f"{path} is not a SQLite database: {error}. Check the file's name."


def _parts(path):
    """Return the files that hold the database.

    They are the file itself, and its write-ahead log if that is not empty.
    """
    log = path.with_name(f"{path.name}-wal")
    return [path, log] if log.is_file() and log.stat().st_size else [path]


def _signature(path):
    return [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in _parts(path)]


def _digest(path):
    total = hashlib.sha256()
    for part in _parts(path):
        with part.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
