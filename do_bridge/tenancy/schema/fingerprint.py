"""The schema fingerprint: one hash of the applied migrations."""

import hashlib
from functools import lru_cache

from django.db.migrations.loader import MigrationLoader

META_TABLE = "_do_bridge_meta"
_COLUMNS = "(key text NOT NULL PRIMARY KEY, value text NOT NULL)"
CREATE_META = f"CREATE TABLE IF NOT EXISTS {META_TABLE} {_COLUMNS} WITHOUT ROWID"
READ_META = f"SELECT value FROM {META_TABLE} WHERE key = 'schema'"  # noqa: S608
_WRITE_META = f"INSERT OR REPLACE INTO {META_TABLE} (key, value) VALUES (%s, %s)"  # noqa: S608


def of(applied):
    """Return the schema fingerprint of migrations: 64 hexadecimal digits.

    A migration is (app label, name).
    """
    return hashlib.sha256(text_of(applied).encode()).hexdigest()


def text_of(applied):
    """Return the text that is hashed: sorted lines "app.name"."""
    return "\n".join(sorted(f"{app}.{name}" for app, name in applied))


def migrations_in(text):
    """Return the set of (app label, name) in a text of `text_of`."""
    return frozenset(tuple(line.split(".", 1)) for line in text.splitlines())


def write_statements(fingerprint):
    """Return the statements that write the schema fingerprint into an object."""
    return note_statements("schema", fingerprint)


def note_statements(key, value):
    """Return the statements that write one pair into the object's table META_TABLE."""
    return [(CREATE_META, None), (_WRITE_META, (key, value))]


@lru_cache(maxsize=1)
def _loader():
    return MigrationLoader(None, ignore_no_migrations=True)


@lru_cache(maxsize=1)
def code_migrations():
    """Return the (app label, name) of all migrations of an up-to-date database."""
    loader = _loader()
    applied = set(loader.graph.nodes)
    for key in loader.graph.nodes:
        # A squashed migration is recorded together with those that it replaces.
        applied.update(loader.graph.nodes[key].replaces)
    return frozenset(applied)


def known_migrations():
    """Return the (app label, name) of all migrations on disk.

    Squashed and replaced ones are among them.
    """
    return code_migrations() | set(_loader().disk_migrations)


def lacking(applied):
    """Return this code's migrations that are not in `applied`, sorted.

    As in Django, a squashed migration counts as applied if all migrations that it replaces are.
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
    """Return the schema fingerprint that this code expects.

    It is computed once, without a round trip.
    """
    return of(code_migrations())


def forget_code():
    """Read the migrations on disk again, for tests that change them."""
    for cached in (_loader, code_migrations, code_fingerprint):
        cached.cache_clear()
