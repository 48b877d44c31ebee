"""Makes tenants: the object first, whole and in one trip, then their rows in the directory in another."""

import hashlib
import json
from dataclasses import dataclass, field, replace

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, connections
from django.db.models.expressions import DatabaseDefault
from django.db.models.signals import post_save
from django.utils.module_loading import import_string

from . import ledger
from .conf import conf
from .copies import run_batch
from .directory import lookup, tenant_model
from .load import empty_left_over, empty_made_for
from .members import tenant_filled
from .provision import creation_noted, provision, reached
from .slugs import validate_slug
from .tenant_rows import has_name, refuse_missing, row_values

_REFUSED = "do_bridge:unfinished:"
#: The function (users) that makes FirstMembers when DO_BRIDGE names none; do_bridge.members sets it.
default_first_members = None
# What the ledger says is begun, inside the one batch that makes a tenant's row.
_MAKING = "create"


NO_FIRST_MEMBERS = (
    "A new tenant can't have members yet. Add the app do_bridge.members, or set DO_BRIDGE['FIRST_MEMBERS']."
)


@dataclass(frozen=True)
class FirstMembers:
    """What a new tenant's first members need on both sides; DO_BRIDGE["FIRST_MEMBERS"] makes it of users.

    `copies` are unsaved instances for the tenant's object, `places` unsaved instances for the directory whose
    foreign key `tenant_field` is filled in. `before(connection)` returns statements, (sql, params), that run
    before the copies in an object that has rows already; those of `after(slug)` run in the directory, after
    the places and in the same batch, where `made_now()` says whether the tenant's row is one of them.
    """

    copies: list = field(default_factory=list)
    places: list = field(default_factory=list)
    tenant_field: str = "tenant"
    before: object = None
    after: object = None


class Unfinished(DatabaseError):
    """A deletion of the tenant is not finished, or came to its end, maybe while the tenant was made.

    `deleted` is what the ledger says of when it came to its end, empty where it is not finished.
    """

    def __init__(self, message, deleted=""):
        super().__init__(message)
        self.deleted = deleted


@dataclass
class NewTenant:
    """A tenant to be made: its slug, what people read, and users of the directory who are its members."""

    slug: str
    name: str = ""
    members: list = field(default_factory=list)
    #: Values of other fields of the tenant's row, by name.
    fields: dict = field(default_factory=dict)
    #: False if the row is there already and `fields` would not be enough for another.
    may_insert: bool = True
    #: Of the object's schema, once it is there.
    fingerprint: str = ""
    #: What the ledger says of the end of the deletion after which the object was seen to be this creation's.
    deleted: str = ""

    @property
    def mark(self):
        """What tells this creation from one of another tenant by the same slug: it, cut off, goes on."""
        keys = sorted(str(user.pk) for user in self.members)
        told = [self.slug, self.name, keys]
        if self.fields:
            told.append(sorted((name, str(value)) for name, value in self.fields.items()))
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def create_tenant(slug, name="", members=(), *, adopt=False, fields=None):
    """Make a tenant that is at head and has its first members, in two round trips; safe to repeat.

    `members` are users of the directory, `fields` the values of the row's other fields, by name.
    Returns (the tenant's row, whether it is new, "provisioned" or "migrated"). The object comes first: until
    the second trip the tenant does not exist for anybody, so that after a crash between the two the same call
    finishes it. With `adopt` a new tenant takes over what is in its object. Raises InvalidSlug,
    FieldsMissing, ObjectTaken, Unfinished and Django's database errors.
    """
    new = NewTenant(validate_slug(slug), name, list(members), dict(fields or {}))
    new.may_insert = refuse_missing(slug, new.fields)
    first = first_members(new.members)
    how = provision(slug, first.copies, before=first.before, made_for=new.mark, adopt=adopt)
    new.fingerprint = reached(slug, how)
    tenant, created = write_row(new, first, how)
    if new.members and not created:
        # What changed between the two trips has left marks, which whoever reads the row next sees to.
        lookup.get(slug)
    if adopt:
        # Its members were a former tenant's.
        tenant_filled.send(sender=type(tenant), source=None, target=slug)
    return tenant, created, how


def first_members(users):
    """Return the FirstMembers of some users, by `first_members_function`."""
    if not users:
        return FirstMembers()
    if (make := first_members_function()) is None:
        raise ObjectDoesNotExist(NO_FIRST_MEMBERS)
    return make(users)


def first_members_function():
    """Return the function (users) that makes FirstMembers, or None if the project has none."""
    path = conf("FIRST_MEMBERS")
    return import_string(path) if path else default_first_members


def users_by_name(names):
    """Return {name: user of the directory} for each name; one trip. Raises ObjectDoesNotExist."""
    if not names:
        return {}
    model = get_user_model()
    rows = model._base_manager.using(conf("DIRECTORY_ALIAS")).filter(
        **{f"{model.USERNAME_FIELD}__in": list(names)}
    )
    users = {user.get_username(): user for user in rows}
    for name in names:
        if name not in users:
            raise ObjectDoesNotExist(f"There is no user {name!r}.")
    return users


def write_row(new, first, how):
    """Do as `write_rows` does for one tenant; what `provision` made of nothing goes by Unfinished.

    Of a slug that was deleted before nobody's clock says whether the deletion emptied this creation's object.
    The object itself does, in two trips more: what holds the creation's mark now was made after it.
    """
    try:
        try:
            return write_rows([(new, first)])[0]
        except Unfinished as error:
            if not error.deleted or creation_noted(new.slug) != new.mark:
                raise
            # Any deletion that comes to its end later has another time.
            return write_rows([(replace(new, deleted=error.deleted), first)])[0]
    except Unfinished:
        if how == "provisioned":
            empty_made_for(new.slug, new.mark)
        elif (state := ledger.states(new.slug).get(new.slug)) is not None and state.state == ledger.DELETED:
            # What was there has been emptied, and maybe migrated anew.
            empty_left_over(new.slug)
        raise


def write_rows(made):
    """Write the directory's rows of tenants whose objects are ready, in one batch; return [(row, is new)].

    `made` is [(NewTenant, FirstMembers)]. A tenant that is there already keeps its row, but for a new name.
    Raises Unfinished, with none written, where one of them may not have one now.
    """
    if not made:
        return []
    connection = connections[conf("DIRECTORY_ALIAS")]
    model = tenant_model()
    tenants = [new for new, _ in made]
    slugs = [new.slug for new in tenants]
    statements = [_refusal(connection, made), _present(connection, slugs), _begin(connection, tenants)]
    for new, first in made:
        statements.append(_tenant_statement(connection, new))
        statements += [_place_statement(connection, new.slug, place, first) for place in first.places]
        statements += first.after(new.slug) if first.after is not None else []
    statements += [_end(connection, tenants), _present(connection, slugs)]
    try:
        results = run_batch(connection, statements)
    except DatabaseError as error:
        _, found, verdict = str(error).partition(_REFUSED)
        if not found:
            raise
        raise Unfinished(
            f"A deletion of {', '.join(slugs)} is not finished, or came in between. If it was interrupted, "
            "run tenant_delete again, and then this command.",
            deleted=verdict.partition("'")[0],
        ) from error
    before = {slug for _, slug in results[1].rows}
    keys = {slug: key for key, slug in results[-1].rows}
    rows = []
    for new, _ in made:
        row = _tenant(new)
        row.pk = keys[new.slug]
        for made_there in [name for name, value in vars(row).items() if isinstance(value, DatabaseDefault)]:
            delattr(row, made_there)  # read from D1 when somebody asks for it
        row._state.db, row._state.adding = connection.alias, False
        created = new.slug not in before
        if created:
            post_save.send(
                model, instance=row, created=True, raw=False, using=connection.alias, update_fields=None
            )
        lookup.forget(new.slug)
        rows.append((row, created))
    return rows


def _refusal(connection, made):
    """Return the statement that fails where one of the tenants is half deleted.

    So it does where one was deleted, unless the creation knows that very deletion: either may have had its
    object last.
    """
    table = connection.ops.quote_name(ledger.new_state("")._meta.db_table)
    known = [[new.slug, new.deleted] for new, _ in made]
    return (
        f"SELECT json_extract('{{}}', '{_REFUSED}' || CASE state WHEN %s THEN since ELSE '' END) "  # noqa: S608
        f"FROM {table}, json_each(%s) AS new WHERE slug = new.value->>0 AND "
        "(state IN (%s, %s) AND doing = 'delete' OR state = %s AND since <> new.value->>1)",
        [ledger.DELETED, json.dumps(known), ledger.MIGRATING, ledger.FAILED, ledger.DELETED],
    )


def _tenant(new):
    return tenant_model()(**row_values(new.slug, new.name, new.fields))


def _values(instance, connection, leave_out=()):
    """Return {column: value} of an unsaved instance, but for what the database makes itself."""
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


def _tenant_statement(connection, new):
    row = _tenant(new)
    values = _values(row, connection)
    quote = connection.ops.quote_name
    fields = row._meta.concrete_fields
    given = {"name", *new.fields} if new.name and has_name(row) else {*new.fields}
    columns = [field.column for field in fields if {field.name, field.attname} & given]
    table, slug = quote(row._meta.db_table), quote("slug")
    if not new.may_insert:
        assigned = ", ".join(f"{quote(column)} = %s" for column in columns) or f"{slug} = {slug}"
        params = [*(values[column] for column in columns), new.slug]
        return f"UPDATE {table} SET {assigned} WHERE {slug} = %s", params  # noqa: S608
    changed = ", ".join(f"{quote(column)} = excluded.{quote(column)}" for column in columns)
    change = f"DO UPDATE SET {changed}" if changed else "DO NOTHING"
    return _insert(connection, row, values, f" ON CONFLICT ({slug}) {change}")


def _place_statement(connection, slug, place, first):
    link = place._meta.get_field(first.tenant_field)
    values = _values(place, connection, leave_out=(first.tenant_field,))
    table, column = (connection.ops.quote_name(name) for name in (tenant_model()._meta.db_table, "slug"))
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


def _present(connection, slugs):
    model = tenant_model()
    quote = connection.ops.quote_name
    key, slug, table = map(quote, (model._meta.pk.column, "slug", model._meta.db_table))
    return (
        f"SELECT {key}, {slug} FROM {table} WHERE {slug} IN (SELECT value FROM json_each(%s))",  # noqa: S608
        [json.dumps(slugs)],
    )


def _begin(connection, made):
    """Return the statement that notes for the rest of the batch which NewTenants have no row yet."""
    table, slug = (connection.ops.quote_name(name) for name in (tenant_model()._meta.db_table, "slug"))
    state = ledger.new_state("", state=ledger.MIGRATING, doing=_MAKING)
    is_new = f"value->>0 NOT IN (SELECT {slug} FROM {table})"  # noqa: S608 - quoted names
    return _ledger_statement(connection, made, state, ("state", "doing"), is_new)


def made_now(connection):
    """Return the SQL, with one parameter, that says in `after` whether this batch makes the row of a slug."""
    table = connection.ops.quote_name(ledger.new_state("")._meta.db_table)
    return (
        f"EXISTS (SELECT 1 FROM {table} WHERE slug = %s "  # noqa: S608 - a quoted name
        f"AND state = '{ledger.MIGRATING}' AND doing = '{_MAKING}')"
    )


def _end(connection, made):
    """Return the statement that notes the NewTenants as ready, each at its fingerprint."""
    state = ledger.new_state("", state=ledger.READY)
    return _ledger_statement(connection, made, state, ("fingerprint", "state", "since", "version", "error"))


def _ledger_statement(connection, made, state, changed, condition="true"):
    """Return the statement that writes `state` for NewTenants, or its fields `changed` in their rows."""
    values = _values(state, connection)
    quote = connection.ops.quote_name
    columns = ", ".join(map(quote, values))
    own = {"slug": "value->>0", "fingerprint": "value->>1"}
    picked = ", ".join(own.get(column, "%s") for column in values)
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in changed)
    return (
        f"INSERT INTO {quote(state._meta.db_table)} ({columns}) SELECT {picked} FROM json_each(%s) "  # noqa: S608
        f"WHERE {condition} ON CONFLICT ({quote('slug')}) DO UPDATE SET {updates}",
        [
            *(value for column, value in values.items() if column not in own),
            json.dumps([[new.slug, new.fingerprint] for new in made]),
        ],
    )
