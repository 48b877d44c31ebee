"""Run migrations on a tenant's object.

Each transaction writes the new schema fingerprint, too.
"""

from django.db import DatabaseError

from do_bridge.backends.remote_sqlite.migrate.executor import MigrationExecutor
from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.tenancy.lifecycle.fencing import read_object
from do_bridge.tenancy.lifecycle.lost import is_data_needed
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema import fingerprint, known
from do_bridge.tenancy.schema.errors import TenantLost
from do_bridge.tenancy.schema.expecting import expecting
from do_bridge.tenancy.schema.replay import recorded
from do_bridge.tenancy.slugs import alias_slug, is_tenant_side

_MARK = fingerprint.READ_META


def read_fingerprint(connection):
    """Return the object's schema fingerprint, or an empty text; one round trip."""
    rows = _read(connection, _MARK)
    return rows[0][0] if rows else ""


def _read(connection, sql):
    try:
        (result,) = run_batch(connection, [(sql, None)])
    except DatabaseError as error:
        if not is_missing_table(error):
            raise
        return []
    return result.rows


def settle_fingerprint(connection, state=None):
    """Correct the schema fingerprint after a change that no migration made; return it.

    `state` is what the object holds, if it was read already.
    """
    state = read_object(connection) if state is None else state
    wanted = known.learn(state.applied)
    if wanted != state.fingerprint:
        with expecting(connection, state.fingerprint):
            run_batch(connection, fingerprint.write_statements(wanted))
    connection.schema_fingerprint = wanted
    return wanted


def prune_removed(connection, label):
    """Delete an object's rows in django_migrations of an app without migrations here.

    Django's `--prune` refuses an app that is not installed. Returns the migrations' names; the app's tables
    stay.
    """
    state = read_object(connection)
    gone = {key for key in state.applied if key[0] == label}
    wanted = known.learn(state.applied - gone)
    if gone:
        delete = ("DELETE FROM django_migrations WHERE app = %s", (label,))
        with expecting(connection, state.fingerprint):
            run_batch(connection, [delete, *fingerprint.write_statements(wanted)])
    connection.schema_fingerprint = wanted if gone else state.fingerprint
    return sorted(name for _, name in gone)


class TenantMigrationExecutor(MigrationExecutor):
    """The migration executor for tenants' objects; for others it is its parent.

    Each transaction expects the schema fingerprint that was found at the start, so that nothing runs in an
    object that was emptied in between.
    """

    def __init__(self, connection, progress_callback=None):
        self.keeps_fingerprint = is_tenant_side(connection.alias)
        if self.keeps_fingerprint:
            # Read before the migrations, so that a change in between is noticed.
            self._stored = read_fingerprint(connection)
        super().__init__(connection, progress_callback)
        self._applied = frozenset(self.loader.applied_migrations)
        self._coming = self._applied
        if self.keeps_fingerprint and is_data_needed():
            self._refuse_empty()

    def _refuse_empty(self):
        """Raise TenantLost if the object is empty; no round trip if it is not."""
        if self._stored or self._applied or read_object(self.connection).has_tables:
            return
        raise TenantLost(alias_slug(self.connection.alias))

    def migrate(self, targets, plan=None, state=None, fake=False, fake_initial=False):
        if not self.keeps_fingerprint:
            return super().migrate(targets, plan, state, fake, fake_initial)
        if plan is None:
            plan = self.migration_plan(targets)
        try:
            with (
                expecting(self.connection, self._stored),
                recorded(self.connection, plan, self._stored) as recording,
            ):
                recording.may_be_half_unapplied = self.may_be_half_unapplied
                state = super().migrate(targets, plan, state, fake, fake_initial)
                self._settle()
            recording.applied = self._applied
            known.learn(self._applied)
        finally:
            self.connection.schema_fingerprint = self._stored
        return state

    def apply_migration(self, state, migration, fake=False, fake_initial=False):
        state = super().apply_migration(state, migration, fake, fake_initial)
        self._moved_on()
        return state

    def unapply_migration(self, state, migration, fake=False):
        state = super().unapply_migration(state, migration, fake)
        self._moved_on()
        return state

    def check_replacements(self):
        super().check_replacements()
        if self.keeps_fingerprint and self.loader.replacements:
            self._coming = frozenset(self.recorder.applied_migrations())

    def _record(self, migration, backwards):
        statements = super()._record(migration, backwards)
        if not self.keeps_fingerprint:
            return statements
        own = {(migration.app_label, migration.name)}
        names = set(migration.replaces) | own if backwards else set(migration.replaces) or own
        self._coming = self._applied - names if backwards else self._applied | names
        return statements + fingerprint.write_statements(fingerprint.of(self._coming))

    def _moved_on(self):
        if self.keeps_fingerprint:
            self._applied = self._coming
            self._stored = fingerprint.of(self._applied)
            self.connection.connection.expect = self._stored

    def _settle(self):
        """Write the schema fingerprint if no migration of this run did.

        It is missing in an object that is older than the ledger.
        """
        self._applied = self._coming
        wanted = fingerprint.of(self._applied)
        if wanted != self._stored and (self._applied or self._stored):
            run_batch(self.connection, fingerprint.write_statements(wanted))
            self._stored = wanted
            self.connection.connection.expect = wanted
