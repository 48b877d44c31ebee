"""What D1 can and cannot do, as Django's feature flags."""

from do_bridge.backends.remote_sqlite import features


class DatabaseFeatures(features.DatabaseFeatures):
    """The dialect's flags, without transactions."""

    # Each statement commits by itself, each batch as a whole; nothing can be begun and rolled back later.
    # https://developers.cloudflare.com/d1/worker-api/d1-database/#batch
    supports_transactions = False
    # SAVEPOINT is refused. atomic() blocks nest all the same, as an account of what stands.
    uses_savepoints = False
    can_release_savepoints = False
    # The schema editor sends its block as one batch, which can't be rolled back once it was sent.
    can_rollback_ddl = False
    # There are no locks to take between statements.
    has_select_for_update = False
    supports_atomic_references_rename = True

    @property
    def can_clone_databases(self):
        """Parallel tests need a database for each process, named in TEST["CLONES"]."""
        return bool(self.connection.settings_dict["TEST"].get("CLONES"))
