"""What a Durable Object's database adds to the dialect: transactions."""

from django.utils.functional import cached_property

from do_bridge.backends.remote_sqlite import features


class DatabaseFeatures(features.DatabaseFeatures):
    # Interactive, serialisable, with savepoints; DDL takes part.
    supports_transactions = True
    uses_savepoints = True
    can_rollback_ddl = True
    # A test database is copied over the wire.
    can_clone_databases = True

    @cached_property
    def django_test_skips(self):
        return super().django_test_skips | {
            "A transaction holds its object, so all other writers wait until it ends.": {
                "delete_regress.tests.DeleteLockingTest.test_concurrent_delete",
            },
        }
