"""The statements that write the rows of new tenants in D1, for `creation`."""

import json

from django.db.models.expressions import DatabaseDefault

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import slug_column, tenant_model

from .tenant_rows import has_name, row_values


def new_row(new):
    """Return the unsaved row of a NewTenant."""
    return tenant_model()(**row_values(new.slug, new.name, new.values))


def _values(instance, connection, leave_out=()):
    """Return {column: value} of an unsaved instance, without database defaults."""
    values = {
        field.column: field.pre_save(instance, add=True)
        for field in instance._meta.concrete_fields
        if field.name not in leave_out
        and not (field.primary_key and instance.pk is None)
        and not field.generated
    }
    fields = {field.column: field for field in instance._meta.concrete_fields}
    return {
        column: fields[column].get_db_prep_save(value, connection)
        for column, value in values.items()
        if not isinstance(value, DatabaseDefault)
    }


def tenant_statement(connection, new):
    """Return the statement that inserts or updates a tenant's row."""
    row = new_row(new)
    values = _values(row, connection)
    quote = connection.ops.quote_name
    fields = row._meta.concrete_fields
    given = {"name", *new.values} if new.name and has_name(row) else {*new.values}
    if not new.where.location:
        # A tenant that exists keeps its own.
        given.discard(conf("LOCATION_FIELD"))
    columns = [field.column for field in fields if {field.name, field.attname} & given]
    table, slug = quote(row._meta.db_table), quote(slug_column())
    if not new.may_insert:
        assigned = ", ".join(f"{quote(column)} = %s" for column in columns) or f"{slug} = {slug}"
        params = [*(values[column] for column in columns), new.slug]
        return f"UPDATE {table} SET {assigned} WHERE {slug} = %s", params  # noqa: S608
    changed = ", ".join(f"{quote(column)} = excluded.{quote(column)}" for column in columns)
    change = f"DO UPDATE SET {changed}" if changed else "DO NOTHING"
    return _insert(connection, row, values, f" ON CONFLICT ({slug}) {change}")


def place_statement(connection, slug, place, first):
    """Return the statement that inserts one of FirstMembers' places."""
    link = place._meta.get_field(first.tenant_field)
    values = _values(place, connection, leave_out=(first.tenant_field,))
    table, column = (
        connection.ops.quote_name(name) for name in (tenant_model()._meta.db_table, slug_column())
    )
    key = connection.ops.quote_name(link.target_field.column)
    found = f"(SELECT {key} FROM {table} WHERE {column} = %s)"  # noqa: S608
    return _insert(connection, place, values, " ON CONFLICT DO NOTHING", {link.column: (found, slug)})


def _insert(connection, instance, values, suffix, expressions=None):
    quote = connection.ops.quote_name
    expressions = expressions or {}
    columns = ", ".join(map(quote, [*values, *expressions]))
    marks = ", ".join(["%s"] * len(values) + [sql for sql, _ in expressions.values()])
    table = quote(instance._meta.db_table)
    params = [*values.values(), *(param for _, param in expressions.values())]
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}){suffix}", params  # noqa: S608


def present(connection, slugs):
    """Return the statement that reads (primary key, slug) of tenants."""
    model = tenant_model()
    quote = connection.ops.quote_name
    key, slug, table = map(quote, (model._meta.pk.column, slug_column(), model._meta.db_table))
    return (
        f"SELECT {key}, {slug} FROM {table} WHERE {slug} IN (SELECT value FROM json_each(%s))",  # noqa: S608
        [json.dumps(slugs)],
    )
