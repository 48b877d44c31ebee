"""Create tenants in two round trips.

The first writes the rows in D1 with a lease, the second the whole object.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, connections
from django.db.models.expressions import DatabaseDefault
from django.db.models.signals import post_save
from django.utils.module_loading import import_string

from do_bridge.backends.remote_sqlite.refusals import failing, told
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.places import NONE, Place, WrongPlace, field_values, note, place_of, place_of_fields
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.slugs import validate_new_slug
from do_bridge.tenancy.tenants import lookup, slug_column, tenant_model

from . import ledger
from .deletion import remove_rows
from .emptying import erase_tenant, fail, settle
from .keeping import is_kept
from .lease import leases
from .lease.lease_sql import begin_statement
from .looking import close_to_older, read_tenant
from .outside import refuse_block
from .provision import ObjectFilled, ObjectTaken, provision_noted, ready, refuse, template_dump, work_under
from .row_sql import new_row, place_statement, present, tenant_statement
from .signals import tenant_filled, tenant_filling
from .states import MOVING, Do, Operation, State, next_step
from .tenant_rows import refuse_missing

_UNSETTLED = "unsettled"
#: The function (users) that makes FirstMembers when DO_BRIDGE names none; do_bridge.members sets it.
default_first_members = None


NO_FIRST_MEMBERS = (
    "This project has no function that adds members to a new tenant. Add the app do_bridge.members to "
    "INSTALLED_APPS, or set DO_BRIDGE['FIRST_MEMBERS']."
)


@dataclass(frozen=True)
class FirstMembers:
    """What a new tenant's first members need in D1 and in the tenant's object.

    The function in DO_BRIDGE["FIRST_MEMBERS"] makes it from users. `copies` are unsaved instances for the
    tenant's object. `places` are unsaved instances for D1; their foreign key `tenant_field` is filled in.
    `before(connection)` returns statements, (sql, params), that run before the copies in an object that has
    rows already. The statements of `after(slug)` run in D1 after the places, in the same batch; there
    `made_now()` is true if the batch makes the tenant's row.
    """

    copies: list = field(default_factory=list)
    places: list = field(default_factory=list)
    tenant_field: str = "tenant"
    before: object = None
    after: object = None


class Unsettled(DatabaseError):
    """The ledger does not allow a tenant's row to be written at once.

    Nothing of the batch was written.
    """


@dataclass
class NewTenant:
    """A tenant to create: its slug, its name, and the users of D1 who are its members."""

    slug: str
    name: str = ""
    members: list = field(default_factory=list)
    #: Values of other fields of the tenant's row, by name.
    fields: dict = field(default_factory=dict)
    #: Where its object is made; None for the place that the fields name.
    place: Place | None = None
    #: False if the row exists and `fields` would not be enough for a new one.
    may_insert: bool = True

    @property
    def values(self):
        """All values of the row's other fields."""
        return self.fields if self.place is None else self.fields | field_values(self.place)

    @property
    def where(self):
        """The Place of the object. Raises WrongPlace."""
        return self.place or place_of_fields(self.fields)


@dataclass
class Made:
    """A tenant's row as written.

    `created` is true if it is new; `lease` is then the lease of the creation.
    """

    row: object
    created: bool
    lease: leases.Lease | None = None


def create_tenant(
    slug: str,
    name: str = "",
    members: Iterable[Any] = (),
    *,
    adopt: bool = False,
    fields: Mapping[str, Any] | None = None,
    jurisdiction: str = "",
    location: str = "",
) -> tuple[Any, bool, str]:
    """Create a tenant that is up to date and has its first members; safe to repeat.

    It takes two round trips. `members` are users of D1, `fields` the values of the row's other fields, by
    name. `jurisdiction` ("none" for none) and `location` say where the tenant's object is made, by default
    where the template's OPTIONS say. Returns (the tenant's row, whether it is new, "provisioned" or
    "migrated").

    The first round trip writes the rows in D1, with a lease on the object. The second fills the object in one
    batch. If that fails, the rows are deleted again. If the creation is killed between the two, the next
    process that uses the tenant finishes it. With `adopt`, a new tenant takes over what is in its object.

    Raises InvalidSlug, WrongPlace, FieldsMissing, ObjectTaken, TransactionManagementError inside an
    `atomic()` on the shared database that can be rolled back, and Django's other database errors. Among
    these, Held, Unfinished and LeaseLost mean that another process works on the tenant, or has worked on it.
    """
    place = place_of(jurisdiction, location) if jurisdiction or location else None
    new = NewTenant(validate_new_slug(slug), name, list(members), dict(fields or {}), place)
    new.may_insert = refuse_missing(slug, new.fields)
    first = first_members(new.members)
    made = write_row(new, first, adopt=adopt)
    if adopt:
        tenant_filling.send(sender=type(made.row), target=slug)
    how = fill(made, first, adopt=adopt)
    if new.members and not made.created:
        # D1's triggers have set the new members' dirty flags; reading the row makes their copies.
        lookup.get(slug)
    if adopt:
        # Its members were a former tenant's.
        tenant_filled.send(sender=type(made.row), source=None, target=slug)
    return made.row, made.created, how


def first_members(users):
    """Return the FirstMembers of some users, by `first_members_function`."""
    if not users:
        return FirstMembers()
    if (make := first_members_function()) is None:
        raise ObjectDoesNotExist(NO_FIRST_MEMBERS)
    return make(users)


def first_members_function():
    """Return the function (users) that makes FirstMembers, or None."""
    path = conf("FIRST_MEMBERS")
    return import_string(path) if path else default_first_members


def users_by_name(names):
    """Return {name: user of D1} for each name, in one round trip.

    Raises ObjectDoesNotExist.
    """
    if not names:
        return {}
    model = get_user_model()
    rows = model._base_manager.using(conf("DIRECTORY_ALIAS")).filter(
        **{f"{model.USERNAME_FIELD}__in": list(names)}
    )
    users = {user.get_username(): user for user in rows}
    for name in names:
        if name not in users:
            raise ObjectDoesNotExist(f"User {name!r} does not exist.")
    return users


def write_row(new, first, *, adopt=False):
    """Settle a tenant's ledger row, then write the tenant with `write_rows`.

    Returns its Made.
    """
    while True:
        try:
            return write_rows([(new, first)])[0]
        except Unsettled:
            _settle(new.slug, adopt, new.where)


def _settle(slug, adopt, place):
    """Finish or undo earlier operations, so that the tenant's row may be written."""

    def read():
        return read_tenant(slug)

    lease = leases.take(slug, Operation.CREATE, read, adopts=adopt, place=place)
    if not lease.fence:
        refuse(lease)
    if lease.row.is_registered:
        work_under(lease, lambda: ready(lease))
    else:
        # The lease was taken only to wait for another operation, and to check what it left.
        leases.settle(lease, State.DELETED)


def fill(made, first, *, adopt=False):
    """Fill the object of a tenant whose row was just written.

    Returns "provisioned" or "migrated". On failure, a new tenant's rows are deleted again. Raises
    ObjectTaken, LeaseLost and Django's database errors.
    """
    lease = made.lease
    if lease is None:
        held = read_tenant(made.row.slug)
        is_whole = held.fingerprint not in ("", MOVING)
        if not (is_whole and known.is_usable(held.applied)):
            # An operator who creates a tenant that is lost begins with an empty one.
            operation = Operation.MIGRATE if held.has_tables else Operation.CREATE
            provision_noted(made.row.slug, operation)
        return "migrated"
    try:
        with leases.kept(lease):
            how, reached = _fill(lease, first, adopt)
    except BaseException as error:
        _undo(made, error)
        raise
    if adopt or how != "provisioned" or lease.may_be_lost:
        # Otherwise the lease is left to expire, which saves a round trip.
        settle(lease, reached)
    _tell_made(made.row)
    return how


def _tell_made(row):
    directory = conf("DIRECTORY_ALIAS")
    post_save.send(type(row), instance=row, created=True, raw=False, using=directory, update_fields=None)


def _fill(lease, first, adopt):
    """Fill the object in one round trip; if it has tables, decide what to do."""
    try:
        return ready(lease, first.copies, first.before)
    except ObjectFilled:
        held = read_tenant(lease.slug)
        # What was there before the creation counts.
        lease.step = next_step(lease.row, held, Operation.CREATE)
        if adopt and lease.step in (Do.TAKEN, Do.DROP):
            lease.step = Do.KEEP
            close_to_older(lease)
        refuse(lease)
        return ready(lease, first.copies, first.before)


def _undo(made, error):
    """Delete the rows of a tenant whose object was not made, and erase the object.

    Nothing is done if D1 can't be reached. If it is unknown whether the object was made, the row stays, and
    the next holder checks the object. Tables that were there before the creation stay.
    """
    lease, effect = made.lease, getattr(error.__cause__, "effect", None)
    with suppress(DatabaseError):
        is_known = isinstance(error, DatabaseError) and effect != "unknown"
        if is_known and lease.step != Do.KEEP and template_dump() is not None:
            _remove(lease, is_taken=isinstance(error, ObjectTaken))
        else:
            fail(lease, error if isinstance(error, Exception) else "interrupted")


def undo(made):
    """Delete the rows of a new tenant for which nothing else was done."""
    if made.lease is not None:
        with suppress(DatabaseError):
            remove_rows(made.lease, State.DELETED, emptied=None)


def _remove(lease, is_taken):
    if is_taken:
        remove_rows(lease, State.DELETED, emptied=None)
        return
    # A copy of the last request may be on its way. The tables that it makes count as left over, and are not
    # read.
    remove_rows(lease, State.DELETED, emptied=lease.fence + 1)
    erase_tenant(lease)


def add_row(lease, name="", fields=None, place=None):
    """Write the row of a tenant whose object was filled, unless the row exists.

    One round trip. Raises LeaseLost; then nothing was written.
    """
    connection, slug = connections[conf("DIRECTORY_ALIAS")], lease.slug
    new = NewTenant(slug, name, fields=dict(fields or {}), place=place)
    try:
        *_, keys = run_batch(
            connection,
            [leases.still_mine(lease), tenant_statement(connection, new), present(connection, [slug])],
        )
    except DatabaseError as error:
        if leases.is_lost(error):
            raise leases.lost(lease) from error
        raise
    row = _written(new, connection, keys.rows[0][0])
    if not lease.row.is_registered:
        _tell_made(row)


def write_rows(made):
    """Write the rows of tenants in D1 in one batch; return a list of Made.

    `made` is [(NewTenant, FirstMembers)]. Each new tenant gets a lease. An existing tenant keeps its row,
    except for a new name. Raises Unsettled if the ledger does not allow it for one of them, and WrongPlace if
    one exists in another place; then nothing was written.
    """
    if not made:
        return []
    connection = connections[conf("DIRECTORY_ALIAS")]
    tenants = [new for new, _ in made]
    slugs = [new.slug for new in tenants]
    refuse_block(f"Tenant {slugs[0]!r} can't be created")
    owner, seconds, asked = uuid4().hex, conf("LEASE_SECONDS"), time.monotonic()
    statements = [
        _refusal(connection, slugs),
        leases.look_statement(slugs),
        begin_statement(
            {new.slug: new.where for new in tenants}, Operation.CREATE, owner, seconds, code_fingerprint()
        ),
    ]
    for new, first in made:
        statements.append(tenant_statement(connection, new))
        statements += [place_statement(connection, new.slug, place, first) for place in first.places]
        statements += first.after(new.slug) if first.after is not None else []
    statements.append(present(connection, slugs))
    try:
        results = run_batch(connection, statements)
    except DatabaseError as error:
        if is_kept(error):
            _refuse_elsewhere(tenants, error)
        if told(error, _UNSETTLED) is None:
            raise
        raise Unsettled(
            f"At least one tenant of {', '.join(slugs)} has an unfinished operation. Create them one by one."
        ) from error
    before, fences = leases.rows_of(results[1]), dict(results[2].rows)
    keys = {slug: key for key, slug in results[-1].rows}
    rows = []
    for new, _ in made:
        row, lease = _written(new, connection, keys[new.slug]), None
        if (fence := fences.get(new.slug)) is not None:
            there = asdict(new.where)
            note(before[new.slug]._replace(fence=fence, **there))
            row_before = before[new.slug]._replace(**there)
            lease = leases.Lease(Operation.CREATE, row_before, fence, owner, seconds, asked=asked)
        rows.append(Made(row, lease is not None, lease))
    return rows


def _refuse_elsewhere(tenants, error):
    """Raise WrongPlace if one of the NewTenants exists in another place.

    `error` is the refusal of D1's trigger. One round trip.
    """
    rows = leases.look_at_many([new.slug for new in tenants])
    for new in tenants:
        row, wanted, slug = rows[new.slug], new.where, new.slug
        if row.is_registered and row.jurisdiction != wanted.jurisdiction:
            asked = wanted.jurisdiction or NONE
            raise WrongPlace(
                f"Tenant {slug!r} exists already in the jurisdiction {row.jurisdiction or NONE!r}, and "
                f"{asked!r} was asked for. To move it, run `manage.py tenant_move {slug} --jurisdiction "
                f"{asked}`."
            ) from error
        if row.is_registered and wanted.location not in ("", row.location):
            raise WrongPlace(
                f"Tenant {slug!r} exists already with the location {row.location or NONE!r}, and "
                f"{wanted.location!r} was asked for. A location can't change within a jurisdiction, so leave "
                "it out."
            ) from error


def _refusal(connection, slugs):
    """Return the statement that fails unless each tenant may be written.

    A tenant may be written if it is ready, or if it has neither a row nor a lease.
    """
    states, tenants = (
        connection.ops.quote_name(model._meta.db_table)
        for model in (type(ledger.new_state("")), tenant_model())
    )
    is_there = f"asked.value IN (SELECT {connection.ops.quote_name(slug_column())} FROM {tenants})"  # noqa: S608
    settled = f"('', '{Operation.MIGRATE}')"
    return (
        f"SELECT {failing(_UNSETTLED, 'asked.value')} FROM json_each(%s) AS asked "  # noqa: S608
        f"LEFT JOIN {states} AS s ON s.slug = asked.value WHERE CASE WHEN {is_there} "
        f"THEN coalesce(s.state <> '{State.READY}' OR s.operation NOT IN {settled}, false) "
        f"ELSE coalesce(s.operation <> '', false) END",
        [json.dumps(slugs)],
    )


def _written(new, connection, key):
    """Return the written row as a model instance."""
    row = new_row(new)
    row.pk = key
    for made_there in [name for name, value in vars(row).items() if isinstance(value, DatabaseDefault)]:
        delattr(row, made_there)  # read from D1 when it is used
    row._state.db, row._state.adding = connection.alias, False
    lookup.forget(new.slug)
    return row


def made_now(connection):
    """Return the SQL condition that this batch makes the row of a slug.

    It is for the statements of `after`; its one parameter is the slug.
    """
    table = connection.ops.quote_name(ledger.new_state("")._meta.db_table)
    return (
        f"EXISTS (SELECT 1 FROM {table} WHERE slug = %s "  # noqa: S608 - a quoted name
        f"AND operation = '{Operation.CREATE}')"
    )
