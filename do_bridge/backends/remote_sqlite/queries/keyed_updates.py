"""Run bulk_update() as one UPDATE that takes its rows from JSON.

Django writes a WHEN for each object.
"""

from collections import namedtuple
from copy import copy

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db.backends.utils import debug_transaction
from django.db.models import BinaryField, Q
from django.db.models.expressions import Case, Col, ColPairs, Value, When
from django.db.models.fields.related_lookups import RelatedExact, RelatedIn
from django.db.models.fields.tuple_lookups import TupleExact, TupleIn
from django.db.models.lookups import Exact, In
from django.db.models.sql import compiler
from django.db.models.sql.constants import NO_RESULTS
from django.db.models.sql.where import AND, WhereNode

from do_bridge.backends.remote_sqlite.statements import settle
from do_bridge.django_compat import has_placeholder, quote_name
from do_bridge.driver.sql import prepare

from .json_rows import column_of, pieces, row_texts

# What an UPDATE of many rows needs: the lookup of the keys, whether it is needed beside the join with the
# rows, the SQL of the key's columns, and for each object its key's values followed by the new ones.
Keyed = namedtuple("Keyed", "lookup redundant columns rows")


def keys_of(case, field, key_fields):
    """Return the keys of a CASE WHEN that bulk_update() has made.

    It has the form CASE WHEN pk = … THEN … END, with a plain value for each key. Returns None for any other
    expression.
    """
    is_plain = (
        type(case) is Case and case.cases and type(case.default) is Value and case.default.value is None
    )
    if not is_plain or not all(_is_plain_value(when, field) for when in case.cases):
        return None
    keys = [_key_of(when.condition, key_fields) for when in case.cases]
    return None if None in keys else keys


def _is_plain_value(when, field):
    value = when.result
    return type(when) is When and type(value) is Value and vars(value).get("output_field") is field


def _key_of(condition, key_fields):
    """Return the key that a resolved condition compares with, or None.

    The key is as its lookup has prepared it.
    """
    if not isinstance(condition, WhereNode) or condition.negated or len(condition.children) != 1:
        return None
    (lookup,) = condition.children
    if not isinstance(lookup, Exact | RelatedExact | TupleExact) or not lookup.rhs_is_direct_value():
        return None
    return lookup.rhs if [column.target for column in _key_columns(lookup)] == list(key_fields) else None


def goes_as_json(fields, objs):
    """Whether bulk_update() of these fields of the objects is one UPDATE from JSON."""
    meta = objs[0]._meta
    if has_collation(meta.pk_fields) or not all(map(_is_plain_field, fields)):
        return False
    parents = {field.model for field in fields} - {meta.model, meta.concrete_model}
    steps = (step for parent in parents for step in meta.get_path_to_parent(parent))
    if not all(step.join_field.primary_key for step in steps):
        return False
    values = (vars(obj).get(field.attname) for obj in objs for field in fields)
    return not any(hasattr(value, "resolve_expression") for value in values)


def _is_plain_field(field):
    return isinstance(field, BinaryField) or not has_placeholder(field)


def has_collation(fields):
    """Whether one of the key's fields may hold different texts as the same key."""
    for field in fields:
        while field.is_relation:
            field = field.target_field
        if getattr(field, "db_collation", None):
            return True
    return False


class KeyedUpdate(compiler.SQLCompiler):
    """Part of a compiler of UPDATE that comes after Django's own."""

    def execute_sql(self, result_type, *args, **kwargs):
        try:
            statements = self._keyed_statements()
        except EmptyResultSet:
            return None
        if statements is None:
            return super().execute_sql(result_type, *args, **kwargs)
        connection = self.connection
        with connection.cursor() as cursor:
            if len(statements) == 1:
                cursor.execute(*statements[0])
                return None if result_type == NO_RESULTS else cursor.rowcount
            settle(connection)
            connection.validate_no_broken_transaction()
            note = f"{statements[0][0]} /* and {len(statements) - 1} more in one batch */"
            with debug_transaction(connection, note), connection.wrap_database_errors:
                results = connection.connection.run_many([prepare(*item) for item in statements])
        return None if result_type == NO_RESULTS else sum(result.rowcount for result in results)

    def _keyed_statements(self):
        """Return the UPDATEs, one or a few, or None if they cannot be made from JSON."""
        keyed = self._keyed()
        if keyed is None:
            return None
        # For a model with parents this reads the keys, and puts them in the condition's place.
        self.pre_sql_setup()
        where, params = self._condition(keyed)
        return list(self._updates(keyed, where, params))

    def _keyed(self):
        """Return the query's rows as a Keyed, or None for another kind of query."""
        cases = [(field, self._resolved(val)) for field, _, val in self.query.values]
        key_fields = self.query.get_meta().pk_fields
        keys = [_is_plain_field(field) and keys_of(case, field, key_fields) for field, case in cases]
        if not keys or not all(keys) or any(other != keys[0] for other in keys[1:]):
            return None
        lookup = self._key_lookup()
        if lookup is None:
            return None
        known = copy(lookup)
        known.rhs = keys[0]
        redundant = known.rhs == lookup.rhs
        if not redundant and not set(lookup.rhs) <= set(known.rhs):
            return None
        rows = [self._key_values(known), *(self._new_values(*item) for item in cases)]
        if any(hasattr(value, "as_sql") for column in rows[1:] for value in column):
            return None
        firsts = {}
        for key, *values in zip(*rows, strict=True):
            firsts.setdefault(key, (*key, *values))
        columns = [self.compile(column)[0] for column in _key_columns(lookup)]
        return Keyed(lookup, redundant, columns, list(firsts.values()))

    def _resolved(self, case):
        # Those of a parent's fields are not yet.
        if type(case) is Case and any(isinstance(when.condition, Q) for when in case.cases):
            return case.resolve_expression(self.query, allow_joins=False, for_save=True)
        return case

    def _key_lookup(self):
        """Return the condition `pk IN (…)` that bulk_update() set, or None."""
        where, meta = self.query.where, self.query.get_meta()
        if where.negated or where.connector != AND or has_collation(meta.pk_fields):
            return None
        alias = self.query.get_initial_alias()
        for child in reversed(where.children):
            if isinstance(child, In | RelatedIn | TupleIn) and child.rhs_is_direct_value():
                columns = _key_columns(child)
                if [(c.alias, c.target) for c in columns] == [(alias, field) for field in meta.pk_fields]:
                    return child
        return None

    def _key_values(self, known):
        if isinstance(known, TupleIn):
            fields = [column.output_field for column in known.lhs]
            return [
                tuple(
                    field.get_db_prep_value(value, self.connection)
                    for field, value in zip(fields, key, strict=True)
                )
                for key in known.rhs
            ]
        return [(value,) for value in known.get_db_prep_lookup(known.rhs, self.connection)[1]]

    def _new_values(self, field, case):
        return [field.get_db_prep_save(when.result.value, connection=self.connection) for when in case.cases]

    def _condition(self, keyed):
        """Compile the query's conditions beside the keys, if there are any."""
        where = self.query.where.clone()
        if keyed.redundant:
            where.children = [child for child in where.children if child is not keyed.lookup]
        try:
            sql, params = self.compile(where)
        except FullResultSet:
            return "", ()
        return f" AND ({sql})", tuple(params)

    def _updates(self, keyed, where, where_params):
        names = [quote_name(self, field.column) for field, _, _ in self.query.values]
        table = quote_name(self, self.query.base_table)
        described = [column_of(values, at) for at, values in enumerate(zip(*keyed.rows, strict=True))]
        alone, texts = [], []
        for row, text in row_texts(keyed.rows, [encode for _, encode in described]):
            if text is None:
                alone.append(row)
            else:
                texts.append(text)
        width = len(keyed.columns)
        # No handwritten condition names such a column without its table.
        source = ", ".join(f"{sql} AS do_bridge_{at}" for at, (sql, _) in enumerate(described))
        changes = ", ".join(f"{name} = do_bridge_{at}" for at, name in enumerate(names, width))
        matches = " AND ".join(f"{column} = do_bridge_{at}" for at, column in enumerate(keyed.columns))
        # LIMIT materializes the list once. Old statistics of a table that was small would make the planner
        # read it again for each of the table's rows.
        rows = f"SELECT {source} FROM json_each(%s) LIMIT -1"  # noqa: S608
        many = f"UPDATE {table} SET {changes} FROM ({rows}) WHERE {matches}{where}"  # noqa: S608
        yield from ((many, (piece, *where_params)) for piece in pieces(texts))
        changes = ", ".join(f"{name} = %s" for name in names)
        matches = " AND ".join(f"{column} = %s" for column in keyed.columns)
        one = f"UPDATE {table} SET {changes} WHERE {matches}{where}"  # noqa: S608
        yield from ((one, (*row[width:], *row[:width], *where_params)) for row in alone)


def _key_columns(lookup):
    if isinstance(lookup.lhs, ColPairs):
        return lookup.lhs.get_cols() if isinstance(lookup, TupleIn | TupleExact) else []
    return [lookup.lhs] if isinstance(lookup.lhs, Col) else []
