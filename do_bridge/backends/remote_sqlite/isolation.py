"""Undoing what Django's test cases did, by one batch, where no transaction can hold it."""

import json

from django.apps import apps
from django.core.management.color import no_style
from django.core.management.sql import sql_flush
from django.db import connections, transaction
from django.test import testcases

from . import rebuild
from .statements import send

# `_cf_*` tables may not be looked into; `sqlite_sequence` holds AUTOINCREMENT's counters.
_TABLES = """
SELECT name, (SELECT json_group_array(name) FROM pragma_table_info(t.name))
FROM sqlite_master AS t WHERE type = 'table' AND name <> 'django_migrations'
AND (name = 'sqlite_sequence' OR name NOT GLOB 'sqlite_*')
AND name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' AND name NOT GLOB '_do_bridge_*'
"""
_SEQUENCES = "sqlite_sequence"
_FORGET_SEQUENCES = "DELETE FROM sqlite_sequence"


class Snapshot:
    """The rows that a connection's database holds, as statements that insert them again."""

    def __init__(self, connection):
        quote = connection.ops.quote_name
        (tables,) = send(connection, [(_TABLES, None)])
        targets = [(name, ", ".join(map(quote, json.loads(columns)))) for name, columns in tables.rows]
        reads = [(f"SELECT {columns} FROM {quote(name)}", None) for name, columns in targets]  # noqa: S608
        self.inserts = []
        # None until a table with AUTOINCREMENT is there.
        self.sequences = None
        for (name, columns), result in zip(targets, send(connection, reads), strict=True):
            marks = ", ".join(["%s"] * len(result.columns))
            insert = f"INSERT INTO {quote(name)} ({columns}) VALUES ({marks})"  # noqa: S608
            statements = [(insert, row) for row in result.rows]
            if name == _SEQUENCES:
                self.sequences = statements
            else:
                self.inserts += statements

    def restore(self, connection, counters):
        """Empty the tables of all models and insert the rows, in one batch; also keys' counters if asked."""
        deletes = [(sql, None) for sql in sql_flush(no_style(), connection, reset_sequences=False)]
        statements = [(rebuild.DEFER_FOREIGN_KEYS, None), *deletes, *self.inserts]
        if counters and self.sequences is not None:
            statements += [(_FORGET_SEQUENCES, None), *self.sequences]
        with rebuild.guarded():
            send(connection, [*statements, (rebuild.refuse_dangling_rows(), None)])


class Restored:
    """Stands for the transaction of a whole class, on an alias whose database is put back instead."""


# By database: the rows that were there when it was made, and those that Django's own flush left.
_made = {}
_flushed = {}
_atomics = "cls_atomics"
_enter_atomics = testcases.TestCase.__dict__["_enter_atomics"].__func__
_rollback_atomics = testcases.TestCase.__dict__["_rollback_atomics"].__func__
_fixture_teardown = testcases.TransactionTestCase._fixture_teardown


def install():
    """Let Django's test cases ask this module; may be called again."""
    testcases.TestCase._enter_atomics = classmethod(enter_atomics)
    testcases.TestCase._rollback_atomics = classmethod(rollback_atomics)
    testcases.TransactionTestCase._fixture_teardown = fixture_teardown


def remember(connection):
    """Take the rows of a test database that was just made as those which a TestCase finds."""
    _made[connection.settings_dict["NAME"]] = Snapshot(connection)


def is_restored(connection):
    """Whether a TestCase's class holds no transaction here: TEST["TRANSACTIONS"] is False.

    The runtime ends a transaction after 30 s, and a TestCase holds one for its whole class. Each test has its
    own transaction all the same, and the feature flags stay as they are.
    """
    switched_off = connection.settings_dict["TEST"].get("TRANSACTIONS", True) is False
    return switched_off and connection.settings_dict["NAME"] in _made


def put_back(connection):
    """Bring back the rows of the new test database, as the rollback of a class does elsewhere."""
    _made[connection.settings_dict["NAME"]].restore(connection, counters=True)
    forget_cached_rows()


def forget_cached_rows():
    """Clear what contenttypes and sites keep of rows, as their handlers do after Django's own flush."""
    for label, model in (("contenttypes", "ContentType"), ("sites", "Site")):
        if apps.is_installed(f"django.contrib.{label}"):
            apps.get_model(label, model).objects.clear_cache()


def enter_atomics(cls):
    """Django's own, but a class that is being set up gets no transaction on a restored alias."""
    if _atomics in cls.__dict__ or not any(map(is_restored, _connections(cls))):
        return _enter_atomics(cls)
    atomics = {}
    for connection in _connections(cls):
        if is_restored(connection):
            atomics[connection.alias] = Restored()
        else:
            atomics[connection.alias] = transaction.atomic(using=connection.alias)
            atomics[connection.alias]._from_testcase = True
            atomics[connection.alias].__enter__()
    return atomics


def rollback_atomics(cls, atomics):
    """Django's own, but a restored alias gets its rows back."""
    if not any(isinstance(atomic, Restored) for atomic in atomics.values()):
        _rollback_atomics(cls, atomics)
        return
    if _atomics in cls.__dict__:
        # So that the class, run again, is known to be set up anew.
        delattr(cls, _atomics)
    for alias, atomic in reversed(atomics.items()):
        if isinstance(atomic, Restored):
            put_back(connections[alias])
        else:
            transaction.set_rollback(True, using=alias)
            atomic.__exit__(None, None, None)


def fixture_teardown(case):
    """Django's own flush, but in one batch with the rows that its post_migrate handlers would make again."""
    names = case._databases_names(include_mirrors=False)
    left = [name for name in names if not _flush(case, connections[name])]
    case._databases_names = lambda include_mirrors=True: left
    try:
        _fixture_teardown(case)
    finally:
        del case._databases_names
    for name in left:
        if _remembers_flush(case, connections[name]):
            _flushed[connections[name].settings_dict["NAME"]] = Snapshot(connections[name])


def _connections(cls):
    return [connections[name] for name in cls._databases_names()]


def _remembers_flush(case, connection):
    """Whether the handlers of all installed applications, and those alone, have run on a database of ours."""
    usual = case.available_apps is None and not apps.stored_app_configs and not case.serialized_rollback
    return usual and connection.settings_dict["NAME"] in _made


def _flush(case, connection):
    if not _remembers_flush(case, connection):
        return False
    if isinstance(case, testcases.TestCase):
        put_back(connection)
        return True
    snapshot = _flushed.get(connection.settings_dict["NAME"])
    if snapshot is None:
        return False
    snapshot.restore(connection, counters=False)
    forget_cached_rows()
    return True
