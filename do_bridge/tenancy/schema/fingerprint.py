"""The fingerprint of a schema: one hash of the migrations that are applied."""

import hashlib
from functools import lru_cache

from django.db.migrations.loader import MigrationLoader

META_TABLE = "_do_bridge_meta"
_COLUMNS = "(key text NOT NULL PRIMARY KEY, value text NOT NULL)"
CREATE_META = f"CREATE TABLE IF NOT EXISTS {META_TABLE} {_COLUMNS} WITHOUT ROWID"
READ_META = f"SELECT value FROM {META_TABLE} WHERE key = 'schema'"  # noqa: S608
_WRITE_META = f"INSERT OR REPLACE INTO {META_TABLE} (key, value) VALUES (%s, %s)"  # noqa: S608


def of(applied):
    """Return the fingerprint of applied migrations, pairs of (app label, name): 64 hexadecimal digits."""
    return hashlib.sha256(text_of(applied).encode()).hexdigest()


def text_of(applied):
    """Return the text that is hashed: "app.name" in a line each, sorted."""
    return "\n".join(sorted(f"{app}.{name}" for app, name in applied))


def migrations_in(text):
    """Return the set of (app label, name) that `text_of` has written."""
    return frozenset(tuple(line.split(".", 1)) for line in text.splitlines())


def write_statements(fingerprint):
    """Return the statements that write `fingerprint` into an object, for a batch or a transaction."""
    return note_statements("schema", fingerprint)


def note_statements(key, value):
    """Return the statements that write one pair into an object's table of its own facts."""
    return [(CREATE_META, None), (_WRITE_META, (key, value))]


@lru_cache(maxsize=1)
def _loader():
    return MigrationLoader(None, ignore_no_migrations=True)


@lru_cache(maxsize=1)
def code_migrations():
    """Return the (app label, name) of all migrations that stand in a database that is at head."""
    loader = _loader()
    applied = set(loader.graph.nodes)
    for key in loader.graph.nodes:
        # A squashed migration is recorded together with those that it replaces.
        applied.update(loader.graph.nodes[key].replaces)
    return frozenset(applied)


def known_migrations():
    """Return the (app label, name) of all migrations that this code has, or has had under a squashed name."""
    return code_migrations() | set(_loader().disk_migrations)


def lacking(applied):
    """Return the sorted (app label, name) of this code's migrations that are not among `applied`.

    As Django does, it takes a squashed migration for applied if, and only if, all are that it replaces.
    """
    if applied >= code_migrations():
        return []
    disk = _loader().disk_migrations

    def is_there(key):
        replaced = disk[key].replaces if key in disk else ()
        return all(map(is_there, replaced)) if replaced else key in applied

    return sorted(key for key in _loader().graph.nodes if not is_there(key))


@lru_cache(maxsize=1)
def code_fingerprint():
    """Return the fingerprint that this code expects; computed once, without a trip."""
    return of(code_migrations())


def forget_code():
    """Read the migrations on disk again: tests change them."""
    for cached in (_loader, code_migrations, code_fingerprint):
        cached.cache_clear()
