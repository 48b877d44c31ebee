"""Restore the rows that a test case changed, in one batch.

It is for databases in which no transaction can hold a test case.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Any

from django.apps import apps
from django.db import OperationalError, connections, transaction
from django.test import TestCase, TransactionTestCase
from django.test.utils import iter_test_cases

from do_bridge.backends.remote_sqlite.creation import known_rows
from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.backends.remote_sqlite.snapshot import Snapshot
from do_bridge.tenancy.conf import conf

_ATOMICS = "cls_atomics"
_FIRST, _FLUSHED = "first", "flushed"
# What the mixin overrides. Without these names it would have no effect, and raise no error.
_OVERRIDDEN = {
    TransactionTestCase: ("_pre_setup", "_fixture_teardown", "_databases_names"),
    TestCase: (
        "_enter_atomics",
        "_rollback_atomics",
        "_databases_support_transactions",
        "_databases_support_savepoints",
    ),
}
for _case, _names in _OVERRIDDEN.items():
    for _name in _names:
        if _name not in vars(_case):
            raise RuntimeError(f"{_case.__name__} has no {_name} in this Django, and do_bridge overrides it.")


class RestoreRows:
    """A mixin for test cases that restores rows where D1 has no transaction.

    `class PostTests(RestoreRows, TestCase)`: setUpTestData() runs once, and each test begins with its rows
    and with those of migrations. Django itself would run it before each test, and flush after it. A
    TransactionTestCase is flushed as by Django, but from its second test on in one batch.
    `DO_BRIDGE["RESTORE_TEST_ROWS"]` gives the mixin to all test cases.

    A Durable Object has transactions, which this changes nothing about. With `TEST["TRANSACTIONS"]` False a
    class holds none, and its rows are put back; each test still has its own.
    """

    _rows_of_class: dict[str, Snapshot]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if TransactionTestCase in order and order.index(RestoreRows) > order.index(TransactionTestCase):
            raise TypeError(f"{cls.__name__}: put RestoreRows before the test case that it is mixed into.")

    @classmethod
    def _pre_setup(cls) -> None:
        # Before its first test writes.
        for connection in filter(is_known, _connections(cls)):
            first_rows(connection)
        super()._pre_setup()  # type: ignore[misc]

    @classmethod
    def _databases_support_transactions(cls) -> bool:
        return is_restored(cls) or super()._databases_support_transactions()  # type: ignore[misc]

    @classmethod
    def _databases_support_savepoints(cls) -> bool:
        return is_restored(cls) or super()._databases_support_savepoints()  # type: ignore[misc]

    @classmethod
    def _enter_atomics(cls) -> dict[str, Any]:
        """Begin a class or a test.

        It uses Django's transactions, and Restored for databases without them.
        """
        used = _connections(cls)
        for connection in filter(is_known, used):
            first_rows(connection)
        if _ATOMICS not in cls.__dict__:
            cls._rows_of_class = {}
            return {connection.alias: _of_class(cls, connection) for connection in used}
        if not is_restored(cls):
            atomics: dict[str, Any] = super()._enter_atomics()  # type: ignore[misc]
            return atomics
        rows = cls._rows_of_class
        for connection in used:
            if connection.alias not in rows:
                rows[connection.alias] = Snapshot(connection, first_rows(connection).tables)
        return {connection.alias: Restored(connection, rows[connection.alias]) for connection in used}

    @classmethod
    def _rollback_atomics(cls, atomics: dict[str, Any]) -> None:
        if atomics is cls.__dict__.get(_ATOMICS):
            # So that the class is set up again if it runs again.
            delattr(cls, _ATOMICS)
        for alias, atomic in reversed(atomics.items()):
            if isinstance(atomic, Restored):
                atomic.rollback()
            else:
                transaction.set_rollback(True, using=alias)
                atomic.__exit__(None, None, None)

    def _fixture_teardown(self) -> None:
        if isinstance(self, TestCase) and self._databases_support_transactions():
            super()._fixture_teardown()  # type: ignore[misc]
            return
        # Django's own flush, in one batch with the rows that its post_migrate handlers would make again.
        case: Any = self
        names = case._databases_names(include_mirrors=False)
        left = [name for name in names if not _flush(self, connections[name])]
        case._databases_names = lambda include_mirrors=True: left
        try:
            super()._fixture_teardown()  # type: ignore[misc]
        finally:
            del case._databases_names
        for name in left:
            if _is_usual_flush(self, connections[name]):
                _record(connections[name])[_FLUSHED] = Snapshot(connections[name])


class Restored:
    """Take a transaction's place on an alias whose rows are restored instead."""

    def __init__(self, connection: Any, snapshot: Snapshot) -> None:
        self.connection = connection
        self.snapshot = snapshot

    def rollback(self) -> None:
        """Restore the rows."""
        forget_cached_rows(self.snapshot.restore(self.connection))


def _connections(cls: Any) -> list[Any]:
    return [connections[name] for name in cls._databases_names()]


def _record(connection: Any) -> dict[str, Snapshot]:
    """Return the known rows of a test database.

    They are those before its first test, and those after Django's flush.
    """
    record: dict[str, Snapshot] = known_rows[connection.creation.key()]
    return record


def is_known(connection: Any) -> bool:
    """Whether the connection leads to a test database that was made here."""
    creation = connection.creation
    return hasattr(creation, "was_made_here") and creation.was_made_here()


def first_rows(connection: Any) -> Snapshot:
    """Return the rows that a test database had before its first test."""
    record = _record(connection)
    if _FIRST not in record:
        record[_FIRST] = Snapshot(connection)
    return record[_FIRST]


def is_restored(cls: Any) -> bool:
    """Return whether a TestCase restores rows instead of using transactions.

    It does if one of its databases has no transactions.
    """
    used = _connections(cls)
    return all(map(is_known, used)) and not all(c.features.supports_transactions for c in used)


def is_class_restored(connection: Any) -> bool:
    """Return whether a TestCase's class holds no transaction on this database.

    That is so on D1, or if TEST["TRANSACTIONS"] is False. A TestCase holds one transaction for its whole
    class. One of an object ends with its lease, after 25 s at most, and one of D1 repeats the class's writes
    with each statement. Each test still has its own transaction, and the feature flags stay as they are.
    """
    holds = getattr(connection.features, "holds_test_classes", True)
    holds = holds and connection.settings_dict["TEST"].get("TRANSACTIONS", True) is not False
    return not holds and is_known(connection)


def forget_cached_rows(tables: set[str] | None) -> None:
    """Clear what contenttypes and sites cache of the rows of these tables.

    None means all tables.
    """
    for label, model_name in (("contenttypes", "ContentType"), ("sites", "Site")):
        if apps.is_installed(f"django.contrib.{label}"):
            model = apps.get_model(label, model_name)
            if tables is None or model._meta.db_table in tables:
                model.objects.clear_cache()


def _of_class(cls: Any, connection: Any) -> Any:
    if is_restored(cls) or is_class_restored(connection):
        return Restored(connection, first_rows(connection))
    atomic = transaction.atomic(using=connection.alias)
    atomic._from_testcase = True
    atomic.__enter__()
    return atomic


def _is_usual_flush(case: Any, connection: Any) -> bool:
    """Return whether a flush is the usual one, on a test database made here.

    A usual flush runs exactly the handlers of all installed applications.
    """
    usual = case.available_apps is None and not apps.stored_app_configs and not case.serialized_rollback
    return usual and is_known(connection)


def _flush(case: Any, connection: Any) -> bool:
    """Do what Django's flush would do, if that is known already.

    Returns whether it was done.
    """
    if not _is_usual_flush(case, connection):
        return False
    if isinstance(case, TestCase):
        # An alias with a database that was not made here.
        Restored(connection, first_rows(connection)).rollback()
        return True
    snapshot = _record(connection).pop(_FLUSHED, None)
    if snapshot is None:
        return False
    try:
        snapshot.restore(connection, counters=False)
    except OperationalError as error:
        if not is_missing_table(error):
            raise
        # A test has dropped a table: Django's flush reads which ones are there.
        return False
    _record(connection)[_FLUSHED] = snapshot
    forget_cached_rows(None)
    return True


class _Restoring(RestoreRows):
    """Base of the classes that `restoring` makes.

    No module holds them under their name.
    """

    _original: type

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._original, self.__dict__)


def _rebuild(original: type, state: dict[str, Any]) -> Any:
    cls: Any = restoring(original)
    case = cls.__new__(cls)
    case.__dict__.update(state)
    return case


@cache
def restoring(cls: type) -> type:
    """Return a test case's class with RestoreRows mixed in, under its own name."""
    if issubclass(cls, RestoreRows) or not issubclass(cls, TransactionTestCase):
        return cls
    names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    names["_original"] = cls
    return types.new_class(cls.__name__, (_Restoring, cls), exec_body=lambda body: body.update(names))


def is_setting_on() -> bool:
    """Whether all test cases restore rows."""
    return bool(conf("RESTORE_TEST_ROWS"))


def restore_in_suite(suite: Any) -> None:
    """Mix RestoreRows into every test case of a suite, if the setting is on."""
    if is_setting_on():
        for case in iter_test_cases(suite):
            cls: Any = type(case)
            case.__class__ = restoring(cls)
