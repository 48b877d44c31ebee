"""Copies rows of the directory into a tenant's object, each copy in one round trip."""

from django.contrib.auth.hashers import make_password
from django.db import connections

from do_bridge.backends.remote_sqlite.statements import send

# SQL texts may have 100,000 bytes, and a value's placeholder takes up to 14 of them.
VALUES_IN_A_STATEMENT = 4000
BYTES_IN_A_STATEMENT = 1_000_000


def copy_rows(model, rows, alias, blank=("password",)):
    """Write copies of `rows` into the database `alias`, with the same primary keys; return how many.

    `rows` are instances of `model`, or dictionaries by attribute name as `values()` gives them, all with the
    same keys. Fields named in `blank` are not copied: a password becomes an unusable one, others empty. A row
    that is there already is brought up to date. All of it is one atomic batch, a step of the open transaction
    if there is one. Raises what the database raises, e.g. IntegrityError.
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
    """Return [(sql, params), …] that write unsaved model instances with primary keys, new or not."""
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
    """Return [(sql, params), …] that insert `rows` into `table`, as few statements as the limits allow."""
    quote = connection.ops.quote_name
    into = f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) VALUES "  # noqa: S608 - quoted names
    one = f"({', '.join(['%s'] * len(columns))})"
    return [
        (into + ", ".join([one] * len(part)) + suffix, [value for row in part for value in row])
        for part in _parts(rows, max(1, VALUES_IN_A_STATEMENT // max(1, len(columns))))
    ]


def upsert_statements(connection, table, columns, rows, key):
    """Return [(sql, params), …] that insert `rows`, or update those whose `key` column is there already."""
    quote = connection.ops.quote_name
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in columns if name != key)
    action = f"DO UPDATE SET {updates}" if updates else "DO NOTHING"
    return insert_statements(connection, table, columns, rows, f" ON CONFLICT ({quote(key)}) {action}")


def _parts(rows, most):
    """Yield lists of at most `most` rows, each below the size that a statement's values may have."""
    part, size = [], 0
    for row in rows:
        weight = sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)
        if part and (len(part) == most or size + weight > BYTES_IN_A_STATEMENT):
            yield part
            part, size = [], 0
        part.append(row)
        size += weight
    if part:
        yield part


def run_batch(connection, statements):
    """Run [(sql, params), …] on a connection of this package's engines as one atomic unit, in one round trip.

    Returns one result for each statement, with `.columns` and `.rows`. Raises Django's database errors.
    """
    return send(connection, statements)
