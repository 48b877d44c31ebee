"""Read what a SQLite database holds, without the runtime's own tables.

It gives the tables to read, and the SQL that makes each thing again.
"""

import json
from dataclasses import dataclass, field

from django.db import NotSupportedError

from do_bridge import driver
from do_bridge.driver.internal import NOT_RUNTIME, PLATFORM, RUNTIME, is_among
from do_bridge.driver.limits import COLUMNS
from do_bridge.driver.sql import tokens

from . import virtual

_SEQUENCE = "sqlite_sequence"
_DEFERRED = ["DEFERRABLE", "INITIALLY", "DEFERRED"]
MASTER = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid"
# Reading the columns of a view over a missing table is an error. The runtime fails a statement
# as a whole if it reads one of the runtime's own tables.
TABLES = (
    "SELECT name, type, wr, CASE WHEN type <> 'view' THEN (SELECT json_group_array(json_array(x.name, x.pk, "  # noqa: S608
    "x.hidden, x.type)) FROM pragma_table_xinfo(t.name) AS x) END FROM pragma_table_list AS t "
    f"WHERE schema = 'main' AND {NOT_RUNTIME}"
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table to read, with its stored columns.

    Its pages are in the order of the columns `key`.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    # Whether the key is a rowid without a column, which has to be written in addition.
    carries_rowid: bool

    @property
    def stored(self):
        """The names to write, with the rowid if it has to be written."""
        return (*self.key, *self.columns) if self.carries_rowid else self.columns

    @property
    def stored_remotely(self):
        """The stored columns within the runtime's limit of columns.

        The rowid is left out if it would be one too many.
        """
        return self.stored if len(self.stored) <= COLUMNS else self.columns


@dataclass(slots=True)
class Schema:
    """What a database holds: tables to read, and the SQL that makes each thing.

    The SQL is in the order in which it must run.
    """

    tables: list[Table] = field(default_factory=list)
    table_sql: list[str] = field(default_factory=list)
    index_sql: list[str] = field(default_factory=list)
    # The table of each index, by its SQL.
    indexed: dict[str, str] = field(default_factory=dict)
    other_sql: list[str] = field(default_factory=list)
    # Virtual tables: those with rows of their own stand in `tables` too, the others are made last.
    virtual_names: list[str] = field(default_factory=list)
    derived: list[virtual.Derived] = field(default_factory=list)
    has_sequence: bool = False
    # What each statement makes, as people read it: {"CREATE VIEW …": "the view 'x'"}.
    described: dict[str, str] = field(default_factory=dict)
    view_names: list[str] = field(default_factory=list)
    # What has a name that the platform keeps for itself.
    left_out: list[str] = field(default_factory=list)

    @property
    def made(self):
        """What is made and its statement, in the order of making."""
        statements = [*self.table_sql, *self.index_sql, *self.other_sql, *(item.sql for item in self.derived)]
        return [(self.described[sql], sql) for sql in statements]

    @property
    def configured(self):
        """The names of FTS5 tables, whose settings are a table beside them."""
        return [*self.virtual_names, *(item.name for item in self.derived if item.is_rebuilt)]

    def remove(self, name):
        """Forget a table of this name, if there is one."""
        at = next((at for at, table in enumerate(self.tables) if table.name == name), None)
        if at is not None:
            del self.tables[at], self.table_sql[at]

    def make_keys_immediate(self):
        """Make the deferred foreign keys of Django's sqlite3 engine immediate.

        This package's engines make immediate ones.
        """
        for at, sql in enumerate(self.table_sql):
            if (rewritten := immediate(sql)) != sql:
                self.described[rewritten] = self.described[sql]
                self.table_sql[at] = rewritten


def immediate(sql):
    """Return a table's SQL with its deferred foreign keys made immediate.

    A row that violates a deferred key would reset the whole object instead of being refused.
    """
    for start, end in reversed(deferred_clauses(sql)):
        sql = sql[:start] + sql[end:]
    return sql


def deferred_clauses(sql):
    """Return the places of DEFERRABLE INITIALLY DEFERRED in a table's SQL.

    A place is (start, end). Words in texts, comments and quoted names are not searched. NOT DEFERRABLE
    INITIALLY DEFERRED is an immediate key. https://www.sqlite.org/foreignkeys.html#fk_deferred
    """
    words = [(text.upper(), stop - len(text), stop) for text, _, stop in tokens(sql)]
    return [
        (words[at][1], words[at + 2][2])
        for at in range(len(words) - 2)
        if [word for word, *_ in words[at : at + 3]] == _DEFERRED and (at == 0 or words[at - 1][0] != "NOT")
    ]


def read_schema(master, tables):
    """Return the Schema, without what belongs to the runtime.

    `master` are the rows of `sqlite_master`, `tables` those of `pragma_table_list`.
    """
    schema = Schema()
    facts = {row[0]: row for row in tables}
    for kind, name, table_name, sql in master:
        if name == _SEQUENCE:
            schema.has_sequence = True
        if sql is None or is_among(name, RUNTIME) or is_among(table_name, RUNTIME):
            if kind in ("table", "view") and is_among(name, PLATFORM):
                schema.left_out.append(name)
            continue
        schema.described[sql] = f"the {kind} {name!r}"
        if kind == "table":
            table_type, without_rowid = facts[name][1:3]
            if table_type == "shadow":
                continue  # SQLite makes it with the virtual table that it belongs to.
            if table_type == "virtual":
                if (derived := virtual.derived(name, sql)) is not None:
                    schema.derived.append(derived)
                    continue
                schema.virtual_names.append(name)
            schema.table_sql.append(sql)
            schema.tables.append(_table(name, not without_rowid, json.loads(facts[name][3])))
        elif kind == "index":
            schema.index_sql.append(sql)
            schema.indexed[sql] = table_name
        else:
            schema.view_names += [name] if kind == "view" else []
            schema.other_sql.append(sql)
    return schema


def _table(name, has_rowid, columns):
    # 2 and 3 are generated columns, which SQLite fills by itself.
    stored = tuple(column for column, _, hidden, _ in columns if hidden == 0)
    by_position = sorted((position, column, kind) for column, position, _, kind in columns if position)
    if not has_rowid:
        return Table(name, stored, tuple(column for _, column, _ in by_position), carries_rowid=False)
    taken = {column.lower() for column, *_ in columns}
    free = next((alias for alias in ("rowid", "_rowid_", "oid") if alias not in taken), None)
    if free is None:
        raise NotSupportedError(
            f"The rows of table {name!r} can't be read in order, because it has columns named rowid, "
            "_rowid_ and oid. Rename one of these columns."
        )
    # https://www.sqlite.org/lang_createtable.html#rowid
    shown = len(by_position) == 1 and by_position[0][2].upper() == "INTEGER"
    return Table(name, stored, (free,), carries_rowid=not shown)


def connect(wrapper, **options):
    """Return a new driver connection to the database of a Django wrapper.

    It accepts any schema.
    """
    wrapper.check_test_database()
    params = {**wrapper.get_connection_params(), **options}
    # A dump is wanted also if the code expects another schema.
    params.pop("expect", None)
    connection = driver.connect(**params)
    connection.name = wrapper.alias
    return connection
