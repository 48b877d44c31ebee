"""What D1 supports, as Django's feature flags."""

from django.utils.functional import cached_property

from do_bridge import django_compat
from do_bridge.backends.remote_sqlite import features


class DatabaseFeatures(features.DatabaseFeatures):
    """The dialect's flags, without transactions."""

    # Each statement commits by itself, each batch as a whole; a transaction cannot be begun and rolled back
    # later.
    supports_transactions = False
    # SAVEPOINT is refused. Blocks of atomic() still nest, to count what stays after a failure.
    uses_savepoints = False
    can_release_savepoints = False
    # The schema editor sends its block as one batch, which cannot be rolled back once it was sent.
    can_rollback_ddl = False
    # There are no locks to take between statements.
    has_select_for_update = False
    supports_atomic_references_rename = True

    @property
    def can_clone_databases(self):
        """Parallel tests need a database for each process, named in TEST["CLONES"]."""
        return bool(self.connection.settings_dict["TEST"].get("CLONES"))

    @cached_property
    def django_test_skips(self):
        return super().django_test_skips | {
            "D1 has no interactive transactions.": {
                "backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log",
                "backends.base.test_base.DatabaseWrapperLoggingTests.test_rollback_debug_log",
                "backends.sqlite.tests.TestTransactionMode.test_default_transaction_mode",
                "backends.tests.FkConstraintsTests.test_disable_constraint_checks_context_manager",
                "backends.tests.FkConstraintsTests.test_disable_constraint_checks_manually",
                "basic.tests.SelectOnSaveTests.test_select_on_save_lying_update",
                "migrations.test_executor.ExecutorTests.test_atomic_operation_in_non_atomic_migration",
                "migrations.test_operations.OperationTests.test_run_python_atomic",
            },
            "A row cannot point at a missing row, not even until the next batch.": {
                "auth_tests.test_views.UUIDUserTests.test_admin_password_change",
                "backends.tests.FkConstraintsTests.test_check_constraints",
                "backends.tests.FkConstraintsTests.test_check_constraints_sql_keywords",
                "serializers.test_data.SerializerDataTests.test_json_serializer",
                "serializers.test_data.SerializerDataTests.test_jsonl_serializer",
                "serializers.test_data.SerializerDataTests.test_python_serializer",
                "serializers.test_data.SerializerDataTests.test_xml_serializer",
                "serializers.test_data.SerializerDataTests.test_yaml_serializer",
                "serializers.test_json.JsonSerializerTransactionTestCase.test_forward_refs",
                "serializers.test_jsonl.JsonSerializerTransactionTestCase.test_forward_refs",
                "serializers.test_xml.XmlSerializerTransactionTestCase.test_forward_refs",
                "serializers.test_yaml.YamlSerializerTransactionTestCase.test_forward_refs",
            },
            "Statements of a schema editor wait until its block's end, and are one atomic batch there.": {
                "migrations.test_commands.MigrateTests.test_migrate_syncdb_app_label",
                "migrations.test_commands.MigrateTests."
                "test_migrate_syncdb_deferred_sql_executed_with_schemaeditor",
                "migrations.test_operations.OperationTests.test_rename_index",
                "schema.tests.SchemaTests.test_db_comment_table_unsupported",
                "schema.tests.SchemaTests.test_func_index_nondeterministic",
                "schema.tests.SchemaTests.test_func_unique_constraint_nondeterministic",
                *django_compat.SUITE_ON_DELETE,
            },
        }


class OptimisticFeatures(DatabaseFeatures):
    """The feature flags with OPTIONS["transactions"] = "optimistic"."""

    supports_transactions = True
    can_conflict = True
    uses_savepoints = True
    can_release_savepoints = True
    # Foreign keys are checked when the block commits.
    can_defer_constraint_checks = True
    supports_forward_references = True
    # A class's rows would be repeated with each statement of its tests, so they are committed and restored.
    holds_test_classes = False

    @cached_property
    def django_test_skips(self):
        queued = "Statements of a schema editor wait until its block's end, and are one atomic batch there."
        skips = dict(features.DatabaseFeatures.django_test_skips.func(self))
        returning = skips.pop(
            "RETURNING brings integers as text, because JSON would round those beyond 2^53."
        )
        return skips | {
            queued: super().django_test_skips[queued],
            "A block reserves the keys of new rows, so RETURNING does not name them.": returning,
            "A migration that is not atomic is sent in chunks, not in blocks.": {
                "migrations.test_executor.ExecutorTests.test_atomic_operation_in_non_atomic_migration",
            },
            "Two blocks that change the same rows do not wait for each other: the later one conflicts.": {
                "delete_regress.tests.DeleteLockingTest.test_concurrent_delete",
            },
        }
