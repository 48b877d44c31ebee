"""RestoreRows: what a test case did is undone by one batch, where no transaction can hold it."""

from __future__ import annotations

import pickle
import unittest
from collections.abc import Iterator
from typing import Any

import django.test
import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.test.utils import iter_test_cases
from engine_aliases import alias_for

from do_bridge.testing import RestoreRows
from do_bridge.testing.pytest_rows import require_fixture, restoring_cases
from do_bridge.testing.rows import restore_in_suite

MODELS = (ContentType, Permission, Group)


@pytest.fixture(params=["d1", "d1_optimistic", "durable_object"])
def restored(request: pytest.FixtureRequest, local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A test database with a few of Django's tables, one row, and test cases without class transactions."""
    with (
        django_db_blocker.unblock(),
        alias_for(request.param, local_worker) as connection,
        # The site's routers would send these models elsewhere.
        override_settings(DATABASE_ROUTERS=[]),
    ):
        with connection.schema_editor() as editor:
            for model in MODELS:
                editor.create_model(model)
        Group.objects.using(connection.alias).create(name="from a migration")
        # On D1 no class has a transaction, whatever the setting is.
        connection.settings_dict["TEST"]["TRANSACTIONS"] = request.param != "durable_object"
        connection.creation.forget_rows()
        yield connection


def names(alias: str) -> list[str]:
    return list(Group.objects.using(alias).order_by("pk").values_list("name", flat=True))


def run(case: type[unittest.TestCase], connection: Any) -> None:
    case.databases = {connection.alias}  # type: ignore[attr-defined]
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case)(result)
    problems = [text for _, text in result.errors + result.failures]
    assert result.testsRun == 2, problems
    assert not problems, "\n".join(problems)


def test_tests_of_a_class_share_its_data_and_not_each_others(restored: Any) -> None:
    alias = restored.alias

    class Case(RestoreRows, TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            cls.group = Group.objects.using(alias).create(name="of the class")

        def check(self) -> None:
            assert names(alias) == ["from a migration", "of the class"]
            Group.objects.using(alias).create(name="of a test")
            self.group.name = "renamed"
            self.group.save()
            assert names(alias) == ["from a migration", "renamed", "of a test"]

        test_one = test_two = check

    run(Case, restored)
    assert names(alias) == ["from a migration"]
    assert Group.objects.using(alias).create(name="next").pk == 2


def test_without_the_mixin_a_test_case_behaves_as_django_has_it(restored: Any) -> None:
    alias, before = restored.alias, []

    class Case(TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            Group.objects.using(alias).create(name="of the class")

        def check(self) -> None:
            before.append(names(alias))
            Group.objects.using(alias).create(name="of a test")

        test_one = test_two = check

    run(Case, restored)
    if restored.features.supports_transactions:
        assert before == [["from a migration", "of the class"]] * 2
    else:
        # Django flushes after each test where there is no transaction.
        assert before == [["from a migration", "of the class"], ["of the class"]]


def test_a_mixin_behind_the_test_case_is_refused_because_it_would_do_nothing() -> None:
    with pytest.raises(TypeError, match="Case: put RestoreRows before the test case"):
        type("Case", (TestCase, RestoreRows), {})


class Plain(TestCase):
    """A case as projects have them."""

    def test_nothing(self) -> None:
        """For its name alone."""


def test_the_setting_gives_the_mixin_to_each_case_of_a_suite_which_stays_picklable(settings: Any) -> None:
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"RESTORE_TEST_ROWS": False}
    suite = unittest.TestSuite([Plain("test_nothing"), unittest.TestSuite([Plain("test_nothing")])])
    restore_in_suite(suite)
    assert {type(case) for case in iter_test_cases(suite)} == {Plain}
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"RESTORE_TEST_ROWS": True}
    restore_in_suite(suite)
    (cls,) = {type(case) for case in iter_test_cases(suite)}
    assert issubclass(cls, RestoreRows) and issubclass(cls, Plain)
    case, *_ = iter_test_cases(suite)
    # Processes of `manage.py test --parallel` get them by pickle.
    again = pickle.loads(pickle.dumps(case))  # noqa: S301
    assert (type(again), again.id()) == (cls, case.id())
    assert Plain.__mro__.count(RestoreRows) == 0


def test_a_class_whose_data_cannot_be_made_leaves_nothing(restored: Any) -> None:
    alias = restored.alias

    class Case(RestoreRows, TestCase):
        databases = {alias}

        @classmethod
        def setUpTestData(cls) -> None:
            Group.objects.using(alias).create(name="half")
            raise ZeroDivisionError

        def test_one(self) -> None:
            raise AssertionError("must not run")

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case)(result)
    assert len(result.errors) == 1
    assert "ZeroDivisionError" in result.errors[0][1]
    if restored.features.supports_transactions:
        assert names(alias) == ["from a migration"]


def test_a_test_has_a_transaction_of_its_own_where_there_are_any(restored: Any) -> None:
    connection, seen = restored, []

    class Case(RestoreRows, TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            seen.append(connection.in_atomic_block)

        def test_one(self) -> None:
            seen.append(connection.in_atomic_block)

        test_two = test_one

    run(Case, restored)
    has_any = connection.features.supports_transactions
    assert seen == [False, has_any, has_any]


def test_a_tests_rows_go_also_where_there_are_many_or_long_ones(restored: Any) -> None:
    connection = restored
    columns = ", ".join(f"c{number} DEFAULT {number}" for number in range(70))
    with connection.schema_editor() as editor:
        editor.execute(f"CREATE TABLE wide (id integer PRIMARY KEY, body, {columns})")
    connection.creation.forget_rows()
    long, several = "x" * 150_000, [(f"it's {number}", b"\x00\xff", 2**60 + number) for number in range(300)]

    class Case(RestoreRows, TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO wide (body, c0, c1) VALUES (%s, %s, %s)", several)

        def check(self) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT body, c0, CAST(c1 AS TEXT), c69 FROM wide ORDER BY id")
                assert cursor.fetchall() == [(body, blob, str(big), 69) for body, blob, big in several]
                cursor.execute("UPDATE wide SET body = 'changed' WHERE id > 100")
                cursor.execute("DELETE FROM wide WHERE id < 50")

        test_one = test_two = check

    class LongCase(Case):
        @classmethod
        def setUpTestData(cls) -> None:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO wide (body) VALUES (%s)", [long])

        def check(self) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT id, body FROM wide")
                assert cursor.fetchall() == [(1, long)]
                cursor.execute("UPDATE wide SET body = ''")

        test_one = test_two = check

    run(Case, connection)
    run(LongCase, connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM wide")
        assert cursor.fetchone() == (0,)


def test_a_text_comes_back_to_its_last_character(restored: Any) -> None:
    alias = restored.alias
    Group.objects.using(alias).update(name="a\0b")
    restored.creation.forget_rows()

    class Case(RestoreRows, TestCase):
        def check(self) -> None:
            assert names(alias) == ["a\0b"]
            Group.objects.using(alias).update(name="a\0c")
            Group.objects.using(alias).create(name="of a test")

        test_one = test_two = check

    run(Case, restored)
    assert names(alias) == ["a\0b"]


def test_rows_that_a_parent_took_along_come_back(restored: Any) -> None:
    connection = restored
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE parent (id integer PRIMARY KEY, name)")
        editor.execute("CREATE TABLE child (parent_id REFERENCES parent ON DELETE CASCADE)")
    connection.creation.forget_rows()

    class Case(RestoreRows, TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO parent VALUES (1, 'first')")
                cursor.execute("INSERT INTO child VALUES (1)")

        def check(self) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT name, parent_id FROM parent JOIN child ON parent_id = id")
                assert cursor.fetchall() == [("first", 1)]
                cursor.execute("UPDATE parent SET name = 'second'")

        test_one = test_two = check

    run(Case, connection)


def test_rows_that_triggers_write_go_with_the_test(restored: Any) -> None:
    connection = restored
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE note (id integer PRIMARY KEY, body)")
        for log in ("a_log", "z_log"):
            editor.execute(f"CREATE TABLE {log} (id integer PRIMARY KEY AUTOINCREMENT, body)")
            for event, row in (("INSERT", "new"), ("DELETE", "old")):
                editor.execute(
                    f"CREATE TRIGGER {log}_{event} AFTER {event} ON note "
                    f"BEGIN INSERT INTO {log} (body) VALUES ('{event} ' || {row}.body); END"
                )
        editor.execute("INSERT INTO note (body) VALUES ('first')")
    connection.creation.forget_rows()

    class Case(RestoreRows, TestCase):
        def test_one(self) -> None:
            with connection.cursor() as cursor:
                for log in ("a_log", "z_log"):
                    cursor.execute(f"SELECT * FROM {log}")
                    assert cursor.fetchall() == [(1, "INSERT first")]
                cursor.execute("INSERT INTO note (body) VALUES ('second')")
                cursor.execute("DELETE FROM note WHERE body = 'first'")

        test_two = test_one

    run(Case, connection)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO a_log (body) VALUES ('next') RETURNING id")
        assert cursor.fetchone() == (2,)


def test_a_class_on_d1_makes_its_data_once(restored: Any) -> None:
    made = []

    class Case(RestoreRows, TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            made.append(1)
            cls.group = Group.objects.using(restored.alias).create(name="of the class")

        def check(self) -> None:
            assert self.group.name == "of the class"
            self.group.name = "renamed"

        test_one = test_two = check

    run(Case, restored)
    assert made == [1]


def test_callbacks_of_a_block_are_caught_where_it_waits_for_the_tests_and_run_on_d1(restored: Any) -> None:
    alias, found = restored.alias, []

    class Case(RestoreRows, TestCase):
        def check(self) -> None:
            with self.captureOnCommitCallbacks(using=alias) as caught, transaction.atomic(using=alias):
                transaction.on_commit(lambda: found.append("run"), using=alias)
            found.append(len(caught))

        test_one = test_two = check

    run(Case, restored)
    assert found == (["run", 0] if alias == "d1" else [1]) * 2


def test_a_transaction_test_case_flushes_what_django_would(restored: Any) -> None:
    alias, before = restored.alias, []

    class Case(RestoreRows, TransactionTestCase):
        def check(self) -> None:
            before.append(names(alias))
            with transaction.atomic(using=alias):
                Group.objects.using(alias).create(name="of a test")

        test_one = test_two = check

    run(Case, restored)
    assert before == [["from a migration"], []]
    assert names(alias) == []
    content_types = ContentType.objects.using(alias).count()
    run(Case, restored)
    assert ContentType.objects.using(alias).count() == content_types > 0


def test_a_second_flush_costs_two_trips(restored: Any, trips: Any) -> None:
    alias = restored.alias

    class Case(RestoreRows, TransactionTestCase):
        def test_one(self) -> None:
            """Only its clean-up matters."""

        def test_two(self) -> None:
            """The second finds what the first one's flush left."""
            Group.objects.using(alias).create(name="of a test")
            trips.count = 0

    run(Case, restored)
    assert trips.count == 2
    assert names(alias) == []
    assert connections[restored.alias] is restored


def test_a_flush_does_without_tables_that_a_test_has_dropped(restored: Any) -> None:
    connection, before = restored, []
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE passing (id integer)")
    connection.creation.forget_rows()

    class Case(RestoreRows, TransactionTestCase):
        def check(self) -> None:
            before.append(names(connection.alias))
            Group.objects.using(connection.alias).create(name="of a test")

        test_one = check

        def test_two(self) -> None:
            self.check()
            with connection.schema_editor() as editor:
                editor.execute("DROP TABLE passing")

    run(Case, connection)
    assert before == [["from a migration"], []]
    assert names(connection.alias) == []


def test_a_pytest_django_without_the_fixture_behind_db_is_refused_not_ignored(settings: Any) -> None:
    require_fixture("_django_db_helper")
    with pytest.raises(RuntimeError, match="no fixture _gone, so rows are not restored"):
        require_fixture("_gone")
    settings.DO_BRIDGE = settings.DO_BRIDGE | {"RESTORE_TEST_ROWS": False}
    require_fixture("_gone")


def test_a_test_behind_pytests_db_restores_rows_by_the_setting() -> None:
    before = django.test.TestCase, django.test.TransactionTestCase
    assert not issubclass(django.test.TestCase, RestoreRows)
    with restoring_cases():
        assert issubclass(django.test.TestCase, RestoreRows)
        assert issubclass(django.test.TransactionTestCase, RestoreRows)
    assert (django.test.TestCase, django.test.TransactionTestCase) == before
