"""The ledger in D1: the last known state of each tenant.

It reads and writes many tenants in one round trip. The schema fingerprint in the object itself is
authoritative. An operation on a tenant holds a lease in the tenant's row (see `leases`).
"""

from django.db import DatabaseError, connections
from django.db.models import Exists, F, Func, OuterRef, Q, Subquery, TextField
from django.utils.timezone import now

import do_bridge
from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.driver.limits import chunks
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.places import note
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, migrations_in, text_of
from do_bridge.tenancy.tenants import registered_slugs, with_valid_slugs

from .states import Operation, State

UNUSED, READY, DELETED = State.UNUSED, State.READY, State.DELETED
#: The columns of a `states.Row`, in its order.
COLUMNS = (
    "slug",
    "state",
    "operation",
    "owner",
    "fence",
    "emptied",
    "fingerprint",
    "error",
    "jurisdiction",
    "location",
    "left_behind",
)
LONGEST_ERROR = 2000
#: Rows in one answer of D1: some 12 MB, far below the limit of 30 MB.
PIECE = 5000
#: Schemas that are read at once, the latest first; older ones are read from an object again.
SCHEMAS = 100


class LedgerMissing(DatabaseError):
    """D1 has no ledger, because it has not been migrated."""


def reached(slugs, fingerprint):
    """Record, without a lease, that objects have the schema `fingerprint`.

    `slugs` is one or many. For template objects and for tests.
    """
    rows = [new_state(slug, state=READY, fingerprint=fingerprint) for slug in _many(slugs)]
    fields = ["fingerprint", "state", "operation", "owner", "expires", "error", "since", "version"]
    if rows:
        with clear_errors():
            all_states().bulk_create(
                rows, update_conflicts=True, unique_fields=["slug"], update_fields=fields
            )


def forget(slugs):
    """Delete the rows of `slugs`, one slug or many, from the ledger."""
    all_states().filter(slug__in=_many(slugs)).delete()


def states(slugs):
    """Return {slug: TenantState} of the tenants in the ledger.

    One round trip for each PIECE of slugs.
    """
    wanted, found = _many(slugs), {}
    with clear_errors():
        for chunk in chunks(wanted, PIECE):
            rows = all_states().filter(slug__in=chunk)
            found.update((row.slug, row) for row in rows)
    for row in found.values():
        note(row)
    return found


def behind(slugs=None, fingerprints=None):
    """Return the sorted slugs of registered tenants that are behind.

    A tenant is behind if it is not ready at one of `fingerprints`, by default the code's own. `slugs` limits
    the answer to some tenants. D1 compares, so the answer has only the tenants that are behind. It costs one
    round trip for some thousands, and none to an object.
    """
    tenants = _registered(slugs)
    wanted = [code_fingerprint()] if fingerprints is None else list(fingerprints)
    # A creation records its outcome in advance, and leaves its lease behind.
    ready = all_states().filter(
        state=READY, fingerprint__in=wanted, operation__in=["", Operation.CREATE], error=""
    )
    with clear_errors():
        return registered_slugs(tenants.exclude(Exists(ready.filter(slug=OuterRef("slug")))))


def survey(slugs=None):
    """Count the registered tenants, and read the recorded schemas, in one round trip.

    Returns (number, {fingerprint: migrations}). `slugs` limits the tenants to some; deleted ones do not
    count.
    """
    deleted = all_states().filter(state=DELETED, slug=OuterRef("slug"))
    tenants = _registered(slugs).exclude(Exists(deleted)).order_by().values("pk")
    schemas = all_schemas().order_by("-noted").values_list("fingerprint", "migrations")[:SCHEMAS]
    connection = connections[conf("DIRECTORY_ALIAS")]
    (counted, params), noted = (
        rows.query.get_compiler(connection=connection).as_sql() for rows in (tenants, schemas)
    )
    with clear_errors():
        total, rows = run_batch(connection, [(f"SELECT count(*) FROM ({counted})", params), noted])  # noqa: S608
    return total.rows[0][0], {fingerprint: migrations_in(text) for fingerprint, text in rows.rows}


def note_schemas(schemas):
    """Record {fingerprint: migrations}; one round trip, none for an empty dictionary."""
    rows = [
        all_schemas().model(fingerprint=fingerprint, migrations=text_of(applied), noted=now())
        for fingerprint, applied in schemas.items()
    ]
    if rows:
        with clear_errors():
            all_schemas().bulk_create(
                rows, update_conflicts=True, unique_fields=["fingerprint"], update_fields=["noted"]
            )


def schemas(fingerprints):
    """Return {fingerprint: migrations} of the recorded `fingerprints`.

    One round trip.
    """
    rows = all_schemas().filter(fingerprint__in=list(fingerprints))
    with clear_errors():
        return {row.fingerprint: migrations_in(row.migrations) for row in rows}


def _registered(slugs):
    tenants = with_valid_slugs()
    return tenants if slugs is None else tenants.filter(slug__in=_many(slugs))


def is_at(state, *fingerprints):
    """Return whether a TenantState, or None, is ready at one of `fingerprints`."""
    return is_ready(state) and state.fingerprint in fingerprints


def is_ready(state):
    """Return whether a TenantState, or None, is ready, and no operation may change it."""
    return state is not None and state.state == READY and state.operation in ("", Operation.CREATE)


def unsettled(slug):
    """Return the query for the ledger row of `slug`, if it is not settled.

    `slug` is a text or an expression. A row is not settled if the object is unused, if its creation may not
    have ended, or while a load or a deletion may be running. The tenant's own row does not show then whose
    the object is.
    """
    at_rest = Q(operation__in=["", Operation.MIGRATE, Operation.MOVE])
    return all_states().filter(~(Q(state=READY) & at_rest), slug=slug)


def unsettled_text(slug):
    """Return the expression for an `unsettled` row as JSON text, else NULL.

    `leases.rows_of` reads the text.
    """
    row = Func(*map(F, COLUMNS), function="json_array", output_field=TextField())
    return Subquery(unsettled(slug).values(text=row))


def place_text(slug):
    """Return the expression for the place of `slug` as JSON text.

    `places.note_text` reads the text.
    """
    place = Func(
        F("jurisdiction"), F("location"), F("fence"), function="json_array", output_field=TextField()
    )
    return Subquery(all_states().filter(slug=slug).values(text=place))


def with_places(tenants):
    """Add to a queryset of tenants what `shown_place` shows, in the same round trip."""
    rows = all_states().filter(slug=OuterRef("slug"))
    columns = ("jurisdiction", "location", "left_behind")
    return tenants.annotate(**{f"ledger_{name}": Subquery(rows.values(name)) for name in columns})


def shown_place(tenant):
    """Return a tenant's place in words, from a row of `with_places`."""
    if tenant.ledger_jurisdiction is None:
        return ""
    state = _model()(
        jurisdiction=tenant.ledger_jurisdiction,
        location=tenant.ledger_location,
        left_behind=tenant.ledger_left_behind,
    )
    return state.place + (f", not yet erased: {state.other_place}" if state.other_place else "")


def may_go(slug):
    """Return whether a tenant's row may be deleted alone.

    It may if the tenant's object was never used or is empty.
    """
    return all_states().filter(Q(state=DELETED) | Q(state=UNUSED, operation=""), slug=slug).exists()


def emptied(slug):
    """Record that a test has emptied the object of `slug`.

    Its row may then be deleted.
    """
    rows = all_states().filter(slug=slug)
    rows.update(state=UNUSED, operation="", owner="", expires=None, fingerprint="", error="")
    rows.filter(~Exists(_registered([slug]))).delete()


def error_text(error):
    """Return the text that the ledger stores for an exception or a text."""
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return (text or "failed")[:LONGEST_ERROR]


def version():
    """Return the version of this code for the ledger."""
    return str(conf("VERSION") or f"do_bridge {do_bridge.__version__}")[:100]


def stamp():
    """Return the present time and this code's version, as values for a changed row."""
    return {"since": now(), "version": version()}


def new_state(slug, **fields):
    """Return an unsaved TenantState with this code's version and the present time."""
    return _model()(slug=slug, since=now(), version=version(), **fields)


def _many(slugs):
    return [slugs] if isinstance(slugs, str) else list(slugs)


def _model():
    from do_bridge.models import TenantState

    return TenantState


def all_states():
    """Return the query for all rows of the ledger.

    Template objects are in it under their aliases.
    """
    return _model()._base_manager.using(conf("DIRECTORY_ALIAS"))


def all_schemas():
    """Return the query for the recorded schemas."""
    from do_bridge.models import KnownSchema

    return KnownSchema._base_manager.using(conf("DIRECTORY_ALIAS"))


class clear_errors:  # noqa: N801 - reads as the context that it is
    """Raise LedgerMissing in this block if D1 has no ledger yet."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, error, traceback):
        if isinstance(error, DatabaseError) and is_missing_table(error, "do_bridge_"):
            raise LedgerMissing(
                "The shared database has no ledger of tenants. Run "
                f"`manage.py migrate --database {conf('DIRECTORY_ALIAS')}` first."
            ) from error
        return False
