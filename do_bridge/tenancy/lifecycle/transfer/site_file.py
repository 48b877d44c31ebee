"""Choose the rows for a tenant's object from the file of a whole site.

They are the rows of tenant models and the rows that these reference. Passwords, sessions, tokens and
everything else of the shared database stay out of the tenant's object.
"""

import json

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.backends.sqlite_file.checking import APPLIED
from do_bridge.backends.sqlite_file.filling import NOTHING, Choice
from do_bridge.backends.sqlite_file.fitness import UnfitFile
from do_bridge.driver.limits import chunks
from do_bridge.driver.sql import quote
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.sides import is_tenant_model

from .copied_rows import Column, blanked, user_copy

#: Apps whose rows are secrets: a row of a tenant that points at one cannot be loaded.
SECRET_APPS = frozenset(
    [
        "sessions",
        "do_bridge_sessions",
        "authtoken",
        "knox",
        "oauth2_provider",
        "token_blacklist",
        "otp_static",
        "otp_totp",
        "otp_email",
        "mfa",
        "socialaccount",
    ]
)
_KEEP = "do_bridge_keep_"
_KEYS_A_TRIP = 5000
_SHOWN = 5


def choices(source, schema):
    """Return {table: Choice} for the file of a site. Raises UnfitFile."""
    return _Chosen(source, schema).choices()


def left_out(source, filling):
    """Return {table: (rows left out, rows of the file)} of a Filling.

    Only tables with rows left out are in it.
    """
    found = {}
    for name, sent in filling.expected.items():
        (total,) = source.execute(f"SELECT count(*) FROM {quote(name)}").fetchone()  # noqa: S608
        if total > sent:
            found[name] = (total - sent, total)
    return found


def refuse_other_rows(source, chosen):
    """Raise UnfitFile unless the shared database has the rows that the tenant gets.

    Rows are the same if their keys are, and, for users, their names. `chosen` is what `choices` returned.
    Reads only.
    """
    models = _models()
    for name, choice in sorted(chosen.items()):
        if choice is NOTHING:
            continue
        model = models[name]
        key = model._meta.pk.column
        columns = [key, *_name_columns(model)]
        sql = f"SELECT {', '.join(map(quote, columns))} FROM {quote(name)}{choice.condition()}"  # noqa: S608
        _compare(name, columns, source.execute(sql).fetchall())


def _compare(table, columns, rows):
    alias = conf("DIRECTORY_ALIAS")
    there = _read_directory(alias, table, columns, [row[0] for row in rows])
    missing = [row[0] for row in rows if row[0] not in there]
    if missing:
        raise UnfitFile(
            f"The tenant's rows refer to {len(missing)} rows of {table} that {alias!r} does not have (keys: "
            f"{_some(missing)}). First load the site's shared rows with `manage.py load_sqlite FILE "
            f"--database {alias}`."
        )
    others = [row[0] for row in rows if tuple(row) != there[row[0]]]
    if others:
        raise UnfitFile(
            f"The tenant's rows refer to {len(others)} keys of {table} that belong to other people in "
            f"{alias!r} (keys: {_some(others)}). Load the same file from which {alias!r} was loaded, or "
            "give those users other keys in a copy of the file."
        )


def _read_directory(alias, table, columns, keys):
    found = {}
    for chunk in chunks(keys, _KEYS_A_TRIP):
        part = json.dumps(chunk)
        names = [quote(name).replace("%", "%%") for name in (table, *columns)]
        sql = (
            f"SELECT {', '.join(names[1:])} FROM {names[0]} "  # noqa: S608
            f"WHERE {names[1]} IN (SELECT value FROM json_each(%s))"
        )
        try:
            (result,) = run_batch(connections[alias], [(sql, [part])])
        except DatabaseError as error:
            if not is_missing_table(error) and "no such column" not in str(error):
                raise
            return found
        found.update((row[0], tuple(row)) for row in result.rows)
    return found


def _name_columns(model):
    """Return the column by which a user is known, or none for other models."""
    if not _is_user(model):
        return []
    user = get_user_model()
    field = user._meta.get_field(user.USERNAME_FIELD)
    return [field.column] if field in model._meta.local_concrete_fields else []


def _is_user(model):
    return apps.is_installed("django.contrib.auth") and model._meta.concrete_model is get_user_model()


def _some(keys):
    more = ", …" if len(keys) > _SHOWN else ""
    return ", ".join(map(str, keys[:_SHOWN])) + more


def _models():
    """Return {table: model}, preferring a model that is not a tenant model."""
    found = {}
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy and (model._meta.db_table not in found or not is_tenant_model(model)):
            found[model._meta.db_table] = model
    return found


def _has_rowid(table):
    return table.key in (("rowid",), ("_rowid_",), ("oid",))


class _Chosen:
    """The rows of the shared database that a tenant's rows reference.

    References are followed through any number of keys.
    """

    def __init__(self, source, schema):
        self._source = source
        self._tables = {table.name.lower(): table for table in schema.tables}
        self._models = {name.lower(): model for name, model in _models().items()}
        # Tables that are sent whole.
        self._whole = {name for name in self._tables if self._is_whole(name)}
        # Tables of which some rows are: {name: (table of their rowids, {column: SQL})}.
        self._some = {}

    def choices(self):
        """Return {table: Choice}; a table that is not in it is sent whole."""
        self._follow()
        found = {}
        for name, table in self._tables.items():
            if name in self._some:
                keep, instead = self._some[name]
                found[table.name] = Choice(f"{table.key[0]} IN (SELECT id FROM {keep})", instead)  # noqa: S608
            elif name not in self._whole:
                found[table.name] = NOTHING
        return found

    def _is_whole(self, name):
        model = self._models.get(name)
        if model is None:
            return name == APPLIED
        shared = ("contenttypes.contenttype", "auth.permission")
        return is_tenant_model(model) or model._meta.label_lower in shared

    def _follow(self):
        """Record referenced rows until no more are found.

        Each table may reference any other.
        """
        changed = True
        while changed:
            changed = False
            for name in sorted({*self._whole, *self._some}):
                for columns, parent, targets in self._keys(name):
                    if parent not in self._whole and parent in self._tables:
                        changed |= self._keep(name, columns, parent, targets)

    def _keep(self, child, columns, parent, targets):
        """Record the rows of `parent` that rows of `child` reference.

        Returns whether there are new ones.
        """
        table = self._tables[parent]
        targets = targets or self._primary_key(table)
        condition = f"SELECT id FROM {self._some[child][0]}" if child in self._some else None  # noqa: S608
        where = f" WHERE {self._tables[child].key[0]} IN ({condition})" if condition else ""
        pointed = (
            f"({', '.join(map(quote, targets))}) IN (SELECT {', '.join(map(quote, columns))} "  # noqa: S608
            f"FROM {quote(self._tables[child].name)}{where})"
        )
        if parent not in self._some:
            sql = f"SELECT 1 FROM {quote(table.name)} WHERE {pointed} LIMIT 1"  # noqa: S608
            if self._source.execute(sql).fetchone() is None:
                return False
            self._begin(child, columns, table)
        keep = self._some[parent][0]
        insert = (
            f"INSERT OR IGNORE INTO {keep} SELECT {table.key[0]} FROM {quote(table.name)} WHERE {pointed}"  # noqa: S608
        )
        return self._source.execute(insert).rowcount > 0

    def _begin(self, child, columns, table):
        """Let some rows of a table be sent. Raises UnfitFile if they are secrets."""
        name = table.name.lower()
        model = self._models.get(name)
        if model is None or model._meta.app_label in SECRET_APPS or not _has_rowid(table):
            why = "may not be copied into a tenant" if model else "is not a table of this project's models"
            raise UnfitFile(
                f"{self._tables[child].name}.{', '.join(columns)} refers to rows of {table.name}, "
                f"which {why}. Set it to NULL in a copy of the file, or make both models tenant models."
            )
        user = _is_user(model)
        facts = self._facts(table, model)
        instead = user_copy(facts) if user else blanked(facts)
        keep = f"temp.{_KEEP}{len(self._some)}"
        self._source.execute(f"CREATE TABLE {keep} (id INTEGER PRIMARY KEY)")
        self._some[name] = (keep, instead)

    def _keys(self, name):
        """Return [(columns, parent's name, its columns or none)] of the foreign keys.

        Keys of replaced columns are not in it.
        """
        table, grouped = self._tables[name], {}
        for key, _, parent, column, target, *_ in self._source.execute(
            f"PRAGMA foreign_key_list({quote(table.name)})"
        ).fetchall():
            grouped.setdefault(key, (parent.lower(), []))[1].append((column, target))
        found = {
            (tuple(column for column, _ in pairs), parent, tuple(target for _, target in pairs if target))
            for parent, pairs in grouped.values()
        }
        found |= self._model_keys(name, {column.lower() for column in table.columns})
        replaced = {column.lower() for column in (self._some[name][1] if name in self._some else ())}
        return sorted(key for key in found if replaced.isdisjoint(column.lower() for column in key[0]))

    def _model_keys(self, name, columns):
        """Return the keys that a model has and SQL does not: db_constraint=False."""
        model = self._models.get(name)
        fields = model._meta.local_concrete_fields if model else ()
        return {
            ((field.column,), field.related_model._meta.db_table.lower(), (field.target_field.column,))
            for field in fields
            if field.is_relation and not field.db_constraint and field.column.lower() in columns
        }

    def _primary_key(self, table):
        rows = (row for row in self._info(table) if row[5])
        return [row[1] for row in sorted(rows, key=lambda row: row[5])]

    def _info(self, table):
        return self._source.execute(f"PRAGMA table_info({quote(table.name)})").fetchall()

    def _facts(self, table, model):
        """Return [Column] of a table, as `copied_rows` takes them."""
        unique, source = set(), self._source
        for row in source.execute(f"PRAGMA index_list({quote(table.name)})").fetchall():
            parts = source.execute(f"PRAGMA index_info({quote(row[1])})").fetchall()
            if row[2] and len(parts) == 1:
                unique.add(parts[0][2])
        pointing = {column for columns, *_ in self._raw_keys(table) for column in columns}
        fields = {field.column: field for field in model._meta.local_concrete_fields}
        return [
            Column(name, kind, bool(notnull), bool(key), name in unique, name in pointing, fields.get(name))
            for _, name, kind, notnull, _, key in source.execute(
                f"PRAGMA table_info({quote(table.name)})"
            ).fetchall()
        ]

    def _raw_keys(self, table):
        rows = self._source.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall()
        return [((row[3],), row[2]) for row in rows]
