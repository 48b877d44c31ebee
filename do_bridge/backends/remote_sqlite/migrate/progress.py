"""Store the progress of a migration that runs in several chunks.

It is one row each in a small table of our own.
"""

from functools import cached_property

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.db.migrations.exceptions import InvalidMigrationPlan

from do_bridge.backends.remote_sqlite.refusals import failing, is_missing_table

TABLE = "_do_bridge_migration_progress"

_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (app text NOT NULL, name text NOT NULL, backwards integer NOT NULL, "
    "done integer NOT NULL, fingerprint text NOT NULL, PRIMARY KEY (app, name)) WITHOUT ROWID"
)
_NOTE = (
    f"INSERT OR REPLACE INTO {TABLE} (app, name, backwards, done, fingerprint) VALUES (%s, %s, %s, %s, %s)"  # noqa: S608
)
_FORGET = f"DELETE FROM {TABLE} WHERE app = %s AND name = %s"  # noqa: S608
_HALF_UNAPPLIED = f"SELECT {failing('half_unapplied', 'name')} FROM {TABLE} WHERE backwards"  # noqa: S608
_READ = f"SELECT app, name, backwards, done, fingerprint FROM {TABLE}"  # noqa: S608


#: Statements that fail on a database where a migration was unapplied in part.
REFUSE_HALF_UNAPPLIED = ((_CREATE, None), (_HALF_UNAPPLIED, None))


class UnfinishedMigration(CommandError, InvalidMigrationPlan):
    """An unfinished migration blocks the command.

    The command prints the message without a traceback.
    """


class Progress:
    """The unfinished migrations of one database, read once."""

    def __init__(self, connection):
        self.connection = connection
        self._noted = False

    @cached_property
    def _rows(self):
        """{(app, name): (backwards, done, fingerprint)}, or None without a table."""
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(_READ)
            except DatabaseError as error:
                if not is_missing_table(error):
                    raise
                return None
            return {
                (app, name): (bool(back), done, mark) for app, name, back, done, mark in cursor.fetchall()
            }

    def load(self):
        """Read the rows, unless that has been done."""
        return self._rows

    def done(self, migration, backwards, fingerprint):
        """Return the number of operations that an earlier run has done.

        `fingerprint(done)` is a digest of the migration's operations; raises UnfinishedMigration if they
        have changed since.
        """
        row = (self._rows or {}).get((migration.app_label, migration.name))
        if row is None:
            return 0
        was_backwards, done, mark = row
        if was_backwards != backwards or fingerprint(done) != mark:
            raise UnfinishedMigration(
                f"{migration} was interrupted after {done} operations "
                f"({'backwards' if was_backwards else 'forwards'}), and those operations have been "
                "edited since. Restore them as they were. Or repair the schema by hand and run "
                f"`{self._command(migration.app_label, migration.name)} --fake`."
            )
        return done

    def note(self, migration, backwards, done, fingerprint):
        """Return the statements that record how far a migration came."""
        self._noted = True
        values = (migration.app_label, migration.name, int(backwards), done, fingerprint)
        return [(_CREATE, None), (_NOTE, values)]

    def forget(self, migration):
        """Return the statements that end a migration's row; none if there is no table."""
        known = "_rows" in self.__dict__
        if not self._noted and (not known or self._rows is None):
            return []
        return [(_CREATE, None), (_FORGET, (migration.app_label, migration.name))]

    def refuse_backwards(self, graph, plan):
        """Raise UnfinishedMigration if an unfinished migration depends on `plan`.

        `plan` is the set of (app, name) to unapply.
        """
        for key, (backwards, done, _) in (self._rows or {}).items():
            if not backwards and key in graph.nodes and plan & set(graph.forwards_plan(key)):
                raise UnfinishedMigration(
                    f"{'.'.join(key)} was interrupted after {done} operations, and depends on a "
                    "migration that is about to be unapplied. Finish it first: "
                    f"`{self._command(*key)}`."
                )

    def refuse_forwards(self, graph, targets):
        """Raise UnfinishedMigration if a target needs a partly unapplied migration.

        That migration is still recorded as applied, so nothing would repair it, and others would build on
        what is left.
        """
        wanted = {step for target in targets if target[1] is not None for step in graph.forwards_plan(target)}
        for key, (backwards, done, _) in (self._rows or {}).items():
            if not backwards or key not in wanted:
                continue
            before = [parent.key[1] for parent in graph.node_map[key].parents if parent.key[0] == key[0]]
            raise UnfinishedMigration(
                f"{'.'.join(key)} was interrupted while it was unapplied, after {done} operations. "
                f"Finish that first: `{self._command(key[0], max(before, default='zero'))}`."
            )

    def _command(self, app, name):
        # Without --database the command would run on another database.
        alias = self.connection.alias
        return f"manage.py migrate {app} {name}{'' if alias == DEFAULT_DB_ALIAS else f' --database {alias}'}"
