"""Undo what Django's test cases did, with one batch, where no transaction can hold it."""

from django.apps import apps
from django.db import OperationalError, connections, transaction
from django.test import testcases

from .snapshot import Snapshot

# By test database: the rows before its first test (None: not read yet), and those after Django's flush.
_made = {}
_flushed = {}
_atomics = "cls_atomics"
_TestCase, _TransactionTestCase = testcases.TestCase, testcases.TransactionTestCase
_enter_atomics = _TestCase.__dict__["_enter_atomics"].__func__
_rollback_atomics = _TestCase.__dict__["_rollback_atomics"].__func__
_have_transactions = _TestCase.__dict__["_databases_support_transactions"].__func__
_have_savepoints = _TestCase.__dict__["_databases_support_savepoints"].__func__
_fixture_teardown = _TransactionTestCase._fixture_teardown
# Not looked up at import: other code may wrap it before install().
_originals = {}


class Restored:
    """Take a transaction's place on an alias whose rows are restored instead."""

    def __init__(self, connection, snapshot):
        self.connection = connection
        self.snapshot = snapshot

    def rollback(self):
        """Restore the rows."""
        forget_cached_rows(self.snapshot.restore(self.connection))


def install():
    """Hook into Django's test cases; may be called again."""
    if "_pre_setup" not in _originals:
        _originals["_pre_setup"] = _TransactionTestCase.__dict__["_pre_setup"].__func__
    _TransactionTestCase._pre_setup = classmethod(pre_setup)
    _TransactionTestCase._fixture_teardown = fixture_teardown
    _TestCase._enter_atomics = classmethod(enter_atomics)
    _TestCase._rollback_atomics = classmethod(rollback_atomics)
    _TestCase._databases_support_transactions = classmethod(
        lambda cls: is_restored(cls) or _have_transactions(cls)
    )
    _TestCase._databases_support_savepoints = classmethod(
        lambda cls: is_restored(cls) or _have_savepoints(cls)
    )


def remember(connection):
    """Register a new test database; its rows are read when the first test case begins."""
    name = connection.settings_dict["NAME"]
    _made[name] = None
    _flushed.pop(name, None)


def is_known(connection):
    """Whether the connection leads to a test database that was made here."""
    return connection.settings_dict["NAME"] in _made


def first_rows(connection):
    """Return the Snapshot of the rows that a registered test database had before its first test."""
    name = connection.settings_dict["NAME"]
    if _made[name] is None:
        _made[name] = Snapshot(connection)
    return _made[name]


def is_restored(cls):
    """Whether a TestCase's tests have no transaction, because one of its databases has none.

    The rows are restored after each test and after the class, and setUpTestData() runs once. Django itself
    would run it before each test and flush after it.
    """
    used = _connections(cls)
    return all(map(is_known, used)) and not all(c.features.supports_transactions for c in used)


def is_class_restored(connection):
    """Whether a TestCase's class holds no transaction here: on D1, or if TEST["TRANSACTIONS"] is False.

    A TestCase holds one for its whole class. One of an object ends with its lease, after 25 s at most, and
    one of D1 repeats the class's writes with each statement. Each test still has its own transaction, and
    the feature flags stay as they are.
    """
    holds = getattr(connection.features, "holds_test_classes", True)
    holds = holds and connection.settings_dict["TEST"].get("TRANSACTIONS", True) is not False
    return not holds and is_known(connection)


def forget_cached_rows(tables):
    """Clear what contenttypes and sites cache of the rows of these tables (None: of all)."""
    for label, model_name in (("contenttypes", "ContentType"), ("sites", "Site")):
        if apps.is_installed(f"django.contrib.{label}"):
            model = apps.get_model(label, model_name)
            if tables is None or model._meta.db_table in tables:
                model.objects.clear_cache()


def pre_setup(cls):
    """Django's own, but read a test database before its first test writes."""
    for connection in filter(is_known, _connections(cls)):
        first_rows(connection)
    _originals["_pre_setup"](cls)


def enter_atomics(cls):
    """Django's own, but with Restored in place of the transactions that the databases cannot hold."""
    used = _connections(cls)
    for connection in filter(is_known, used):
        first_rows(connection)
    if _atomics not in cls.__dict__:
        cls._rows_of_class = {}
        return {connection.alias: _of_class(cls, connection) for connection in used}
    if not is_restored(cls):
        return _enter_atomics(cls)
    rows = cls._rows_of_class
    for connection in used:
        if connection.alias not in rows:
            rows[connection.alias] = Snapshot(connection, first_rows(connection).tables)
    return {connection.alias: Restored(connection, rows[connection.alias]) for connection in used}


def _of_class(cls, connection):
    if is_restored(cls) or is_class_restored(connection):
        return Restored(connection, first_rows(connection))
    atomic = transaction.atomic(using=connection.alias)
    atomic._from_testcase = True
    atomic.__enter__()
    return atomic


def rollback_atomics(cls, atomics):
    """Django's own, but restore the rows of a Restored alias."""
    if atomics is cls.__dict__.get(_atomics):
        # So that the class is set up again if it runs again.
        delattr(cls, _atomics)
    for alias, atomic in reversed(atomics.items()):
        if isinstance(atomic, Restored):
            atomic.rollback()
        else:
            transaction.set_rollback(True, using=alias)
            atomic.__exit__(None, None, None)


def fixture_teardown(case):
    """Django's own flush, in one batch with the rows that its post_migrate handlers would make again."""
    names = case._databases_names(include_mirrors=False)
    left = [name for name in names if not _flush(case, connections[name])]
    case._databases_names = lambda include_mirrors=True: left
    try:
        _fixture_teardown(case)
    finally:
        del case._databases_names
    for name in left:
        if _is_usual_flush(case, connections[name]):
            _flushed[connections[name].settings_dict["NAME"]] = Snapshot(connections[name])


def _connections(cls):
    return [connections[name] for name in cls._databases_names()]


def _is_usual_flush(case, connection):
    """Whether exactly the handlers of all installed applications have run, on a registered database."""
    usual = case.available_apps is None and not apps.stored_app_configs and not case.serialized_rollback
    return usual and is_known(connection)


def _flush(case, connection):
    """Do what Django's flush would do, if that is known already; return whether it was."""
    if not _is_usual_flush(case, connection):
        return False
    if isinstance(case, _TestCase):
        # An alias with a database that is not registered here.
        Restored(connection, first_rows(connection)).rollback()
        return True
    snapshot = _flushed.pop(connection.settings_dict["NAME"], None)
    if snapshot is None:
        return False
    try:
        snapshot.restore(connection, counters=False)
    except OperationalError as error:
        if "no such table" not in str(error):
            raise
        # A test has dropped a table: Django's flush reads which ones are there.
        return False
    _flushed[connection.settings_dict["NAME"]] = snapshot
    forget_cached_rows(None)
    return True
