"""Introspect in one round trip for each question.

The runtime's own tables are left out.
"""

import json
from typing import NamedTuple

import sqlparse
from django.db import DatabaseError
from django.db.backends.base.introspection import TableInfo
from django.db.backends.sqlite3 import introspection as sqlite3_introspection
from django.db.backends.sqlite3.introspection import FieldInfo, get_field_size
from django.db.models import Index

from do_bridge import django_compat
from do_bridge.driver.internal import NOT_INTERNAL

# Ordinary, virtual and stored columns; 1 marks the hidden ones of virtual tables.
# https://www.sqlite.org/pragma.html#pragma_table_xinfo
_SHOWN = (0, 2, 3)

_FACTS = """
SELECT
(SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %(table)s),
(SELECT json_group_array(json_array(name, type, "notnull", dflt_value, pk, hidden))
    FROM (SELECT * FROM pragma_table_xinfo(%(table)s) ORDER BY cid)),
(SELECT json_group_array(json_array(name, "unique", sql, columns)) FROM (
    SELECT l.name, l."unique", m.sql,
        (SELECT json_group_array(name) FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno))
        AS columns
    FROM pragma_index_list(%(table)s) l JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
    WHERE m.sql IS NOT NULL ORDER BY l.seq)),
(SELECT json_group_array(json_array("from", "to", "table", on_delete))
    FROM (SELECT * FROM pragma_foreign_key_list(%(table)s) ORDER BY id, seq))
"""


class TableFacts(NamedTuple):
    """What one round trip returns about a table: SQL, columns, indexes, keys.

    The SQL is None for a view.
    """

    sql: str | None
    columns: list
    indexes: list
    keys: list

    @property
    def primary_key(self):
        """The names of the key's columns."""
        return [name for name, _, _, _, pk, hidden in self.columns if pk and hidden in _SHOWN]

    @property
    def relations(self):
        """{column: (referenced column, referenced table)}."""
        return {column: rest for column, *rest in self.keys}


def _column_collations(sql):
    """Return {column: collation} from a CREATE TABLE statement, as it was written."""
    collations, column, wanted, depth = {}, None, False, 0
    for token in sqlparse.parse(sql)[0].flatten():
        if token.is_whitespace:
            continue
        text = token.value
        if depth == 1 and (column is None or wanted) and text not in "(),":
            name = text[1:-1] if text[0] in '"`[' else text
            if wanted:
                collations[column], wanted = name, False
            else:
                column = name
        elif depth == 1 and text == ",":
            column = None
        elif depth == 1 and text.upper() == "COLLATE":
            wanted = True
        depth += (text == "(") - (text == ")")
    return collations


class DatabaseIntrospection(sqlite3_introspection.DatabaseIntrospection):
    """sqlite3's introspection with fewer round trips.

    Its parser of CREATE TABLE is kept; its PRAGMA for each index is not.
    """

    def facts(self, cursor, table_name):
        """Return the TableFacts of a table or view in one round trip.

        They have no columns if it does not exist.
        """
        cursor.execute(_FACTS, {"table": table_name})
        sql, *lists = cursor.fetchone()
        facts = TableFacts(sql, *map(json.loads, lists))
        # json_group_array() of a subquery keeps it as a text.
        indexes = [
            (name, unique, sql, json.loads(columns) if isinstance(columns, str) else columns)
            for name, unique, sql, columns in facts.indexes
        ]
        return TableFacts(sql, facts.columns, indexes, facts.keys)

    def get_table_list(self, cursor):
        """Return the tables and views of the project.

        The runtime's and this package's own are left out.
        """
        cursor.execute(
            "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND "  # noqa: S608
            f"{NOT_INTERNAL} ORDER BY name"
        )
        return [TableInfo(name, kind[0]) for name, kind in cursor.fetchall()]

    def get_table_description(self, cursor, table_name):
        facts = self.facts(cursor, table_name)
        if not facts.columns:
            raise DatabaseError(f"Table {table_name} does not exist.")
        sql = (facts.sql or "").casefold()
        collations = _column_collations(facts.sql) if facts.sql else {}
        composite = len(facts.primary_key) > 1
        return [
            FieldInfo(
                name,
                data_type,
                get_field_size(data_type),
                None,
                None,
                None,
                not notnull,
                default,
                collations.get(name),
                bool(pk) and not composite,
                f'json_valid("{name.casefold()}")' in sql,
            )
            for name, data_type, notnull, default, pk, hidden in facts.columns
            if hidden in _SHOWN
        ]

    def get_relations(self, cursor, table_name):
        relations = self.facts(cursor, table_name).relations
        return {column: django_compat.relation(self, *rest) for column, rest in relations.items()}

    def get_primary_key_columns(self, cursor, table_name):
        return self.facts(cursor, table_name).primary_key

    def get_constraints(self, cursor, table_name):
        facts = self.facts(cursor, table_name)
        constraints = {}
        if facts.sql:
            columns = {name for name, *_, hidden in facts.columns if hidden in _SHOWN}
            constraints |= self._parse_table_constraints(facts.sql, columns)
        for name, unique, sql, columns in facts.indexes:
            constraints[name] = _constraint(columns, unique=bool(unique), index=True, type=Index.suffix)
            orders = self._get_index_columns_orders(sql)
            if orders is not None:
                constraints[name]["orders"] = orders
        if facts.primary_key:
            # SQLite gives the key no name; this one is sqlite3's.
            constraints["__primary__"] = _constraint(facts.primary_key, primary_key=True)
        for index, (column, (referenced, table, _)) in enumerate(facts.relations.items()):
            constraints[f"fk_{index}"] = _constraint([column], foreign_key=(table, referenced))
        return constraints


def _constraint(columns, **properties):
    return {
        "columns": columns,
        "primary_key": False,
        "unique": False,
        "foreign_key": None,
        "check": False,
        "index": False,
        **properties,
    }
