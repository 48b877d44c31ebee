"""The differences of a database from the code's migrations and models."""

from dataclasses import dataclass

from django.apps import apps
from django.db import connections, models, router

from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import code_migrations, known_migrations, of


@dataclass(frozen=True)
class History:
    """Applied, missing and unknown migrations of a database.

    Applied ones are (app, name, when).
    """

    applied: list
    missing: list
    unknown: list

    @property
    def state(self):
        """The state: "head", "behind", "ahead" or "empty".

        "ahead" means too new for this code, which requires its own schema.
        """
        if not self.applied:
            return "empty"
        if known.unknown(frozenset(self.unknown)):
            return "ahead"
        return "behind" if self.missing else "head"

    @property
    def text(self):
        """The state in words."""
        others = f", and has {len(self.unknown)} that this code does not have" if self.unknown else ""
        return {
            "empty": "not migrated",
            "ahead": f"newer than this code by {len(self.unknown)}",
            "behind": f"behind by {len(self.missing)}{others}",
            "head": f"up to date{others}",
        }[self.state]

    @property
    def fingerprint(self):
        """The schema fingerprint of the applied migrations."""
        return of((app, name) for app, name, _ in self.applied)


def history(applied):
    """Return the History of the rows (app, name, applied) of django_migrations."""
    done = {(app, name) for app, name, _ in applied}
    return History(list(applied), sorted(code_migrations() - done), sorted(done - known_migrations()))


def models_of(alias):
    """Return {table: model} of the tables that migrations create in `alias`.

    Many-to-many tables are included.
    """
    found = {}
    for config in apps.get_app_configs():
        # As the migrate command chooses; a model's proxies share its table.
        for model in router.get_migratable_models(config, alias, include_auto_created=True):
            options = model._meta
            if options.managed and not options.proxy and not options.swapped:
                found[options.db_table] = model
    return found


def activity_columns(alias):
    """Return (table, column) of the times that Django sets by itself."""
    return [
        (table, field.column)
        for table, model in models_of(alias).items()
        for field in model._meta.local_concrete_fields
        if isinstance(field, models.DateTimeField) and not field.editable
    ]


@dataclass(frozen=True)
class Difference:
    """One difference: `what` it concerns, in `table`, and how."""

    table: str
    what: str
    text: str


def differences(alias, tables):
    """Return the Differences between `tables`, from `queries.tables`, and the models.

    Takes no round trip.
    """
    connection = connections[alias]
    expected = models_of(alias)
    found = []
    for name in sorted(expected.keys() - tables.keys()):
        found.append(Difference(name, "table", f"is missing; {expected[name]._meta.label} needs it"))
    for name in sorted(tables.keys() - expected.keys() - {"django_migrations"}):
        if not tables[name].is_view:
            found.append(Difference(name, "table", "has no model"))
    for name in sorted(expected.keys() & tables.keys()):
        found += _columns(connection, expected[name], tables[name])
        found += _indexes(expected[name], tables[name])
        found += _keys(expected[name], tables[name])
    return found


def _columns(connection, model, table):
    fields = {field.column: field for field in model._meta.local_concrete_fields if field.column}
    actual = {column.name: column for column in table.columns}
    for name in fields.keys() - actual.keys():
        yield Difference(table.name, f"column {name}", "is missing")
    for name in actual.keys() - fields.keys():
        yield Difference(table.name, f"column {name}", "has no field")
    for name, field in fields.items():
        column = actual.get(name)
        if column is None:
            continue
        wanted = field.db_type(connection) or ""
        # "integer" and "integer unsigned" count as the same type, in upper or lower case.
        if wanted.split(" CHECK")[0].casefold() != column.type.casefold():
            yield Difference(table.name, f"column {name}", f"has the type {column.type}, not {wanted}")
        if field.null == column.not_null and not field.primary_key:
            said = "refuses NULL, which the field allows"
            if not column.not_null:
                said = "allows NULL, which the field refuses"
            yield Difference(table.name, f"column {name}", said)
        if field.primary_key != bool(column.key) and len(table.primary_key) < 2:
            yield Difference(table.name, f"column {name}", "is the primary key in only one of the two")


def _indexes(model, table):
    wanted, named = _wanted_indexes(model)
    actual = {(tuple(index.columns), index.unique) for index in table.indexes if index.origin != "pk"}
    names = {index.name for index in table.indexes}
    for columns, unique in sorted(wanted - actual):
        kind = "unique index" if unique else "index"
        yield Difference(table.name, f"{kind} of {', '.join(columns)}", "is missing")
    for name in sorted(named - names):
        yield Difference(table.name, f"index {name}", "is missing")
    for index in table.indexes:
        known = (tuple(index.columns), index.unique) in wanted or index.name in named
        if index.origin != "pk" and not known:
            yield Difference(table.name, f"index {index.name}", "has no field, index or constraint")


def _wanted_indexes(model):
    """Return the indexes that the models define.

    They are a set of (columns, unique), and the names of indexes with a condition or an expression.
    """
    options = model._meta

    def columns(names):
        return tuple(options.get_field(name).column for name in names)

    wanted, named = set(), set()
    for field in options.local_concrete_fields:
        if field.unique and not field.primary_key:
            wanted.add(((field.column,), True))
        elif field.db_index and not field.primary_key:
            wanted.add(((field.column,), False))
    wanted |= {(columns(names), True) for names in options.unique_together}
    for index in options.indexes:
        if index.expressions or index.condition is not None:
            named.add(index.name)
        else:
            wanted.add((columns(name for name, _ in index.fields_orders), False))
    for constraint in options.constraints:
        if not isinstance(constraint, models.UniqueConstraint):
            continue
        if constraint.expressions or constraint.condition is not None:
            named.add(constraint.name)
        else:
            wanted.add((columns(constraint.fields), True))
    return wanted, named


def _keys(model, table):
    wanted = {
        (field.column, field.remote_field.model._meta.db_table)
        for field in model._meta.local_concrete_fields
        if field.remote_field and getattr(field, "db_constraint", False)
    }
    actual = {(key.column, key.table) for key in table.keys}
    for column, target in sorted(wanted - actual):
        yield Difference(table.name, f"foreign key {column}", f"to {target} is missing")
    for column, target in sorted(actual - wanted):
        yield Difference(table.name, f"foreign key {column}", f"to {target} has no field")
