"""Copy rows from D1 into a tenant's database, in one round trip."""

from django.contrib.auth.hashers import make_password
from django.db import connections

from do_bridge.backends.remote_sqlite.statements import send
from do_bridge.driver.limits import LIST_BYTES, chunks_by_weight

# SQL texts may have 100,000 bytes, and a value's placeholder takes up to 14 of them.
VALUES_IN_A_STATEMENT = 4000


def copy_rows(model, rows, alias, blank=("password",)):
    """Insert or update copies of `rows` in the database `alias`; return their number.

    `rows` are instances of `model`, or dictionaries as `values()` returns them, all with the same keys. The
    copies have the same primary keys. Fields named in `blank` are not copied: a password becomes unusable,
    others become empty. It is one atomic batch, inside the open transaction if there is one. Raises Django's
    database errors, for example IntegrityError.
    """
    rows = list(rows)
    if not rows:
        return 0
    connection = connections[alias]
    fields = model._meta.concrete_fields
    if isinstance(rows[0], dict):
        fields = [field for field in fields if field.attname in rows[0]]
    tuples = [_row_values(fields, row, blank, connection) for row in rows]
    columns = [field.column for field in fields]
    run_batch(
        connection,
        upsert_statements(connection, model._meta.db_table, columns, tuples, key=model._meta.pk.column),
    )
    return len(tuples)


def copy_statements(connection, instances):
    """Return [(sql, params), …] that insert or update unsaved instances.

    The instances have primary keys.
    """
    statements = []
    for model in dict.fromkeys(type(instance) for instance in instances):
        fields = model._meta.concrete_fields
        rows = [
            [field.get_db_prep_save(field.pre_save(instance, add=True), connection) for field in fields]
            for instance in instances
            if type(instance) is model
        ]
        columns = [field.column for field in fields]
        key = model._meta.pk.column
        statements += upsert_statements(connection, model._meta.db_table, columns, rows, key)
    return statements


def _row_values(fields, row, blank, connection):
    values = []
    for field in fields:
        if field.name in blank or field.attname in blank:
            value = _blank_value(field)
        else:
            value = row[field.attname] if isinstance(row, dict) else getattr(row, field.attname)
        values.append(field.get_db_prep_save(value, connection))
    return values


def _blank_value(field):
    if field.name == "password":
        return make_password(None)
    if field.null:
        return None
    return "" if field.empty_strings_allowed else field.get_default()


def insert_statements(connection, table, columns, rows, suffix=""):
    """Return [(sql, params), …] that insert `rows` into `table`.

    They are as few statements as the limits allow.
    """
    quote = connection.ops.quote_name
    into = f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) VALUES "  # noqa: S608 - quoted names
    one = f"({', '.join(['%s'] * len(columns))})"
    return [
        (into + ", ".join([one] * len(part)) + suffix, [value for row in part for value in row])
        for part in chunks_by_weight(rows, _weight, LIST_BYTES, VALUES_IN_A_STATEMENT // max(1, len(columns)))
    ]


def upsert_statements(connection, table, columns, rows, key):
    """Return [(sql, params), …] that insert or update `rows` by their `key`."""
    quote = connection.ops.quote_name
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in columns if name != key)
    action = f"DO UPDATE SET {updates}" if updates else "DO NOTHING"
    return insert_statements(connection, table, columns, rows, f" ON CONFLICT ({quote(key)}) {action}")


def _weight(row):
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)


def run_batch(connection, statements):
    """Run [(sql, params), …] as one atomic batch, in one round trip.

    `connection` is one of this package's engines. Returns one result for each statement, with `.columns` and
    `.rows`. Raises Django's database errors.
    """
    return send(connection, statements)
