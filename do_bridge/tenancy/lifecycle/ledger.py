"""The ledger in D1: each tenant's state as last known, read and written for many in one trip.

The object's own fingerprint is the truth. What works on a tenant holds a lease in its row (see `leases`).
"""

from django.db import DatabaseError, connections
from django.db.models import Exists, F, Func, OuterRef, Q, Subquery, TextField
from django.utils.timezone import now

import do_bridge
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, migrations_in, text_of
from do_bridge.tenancy.tenants import registered_slugs, tenant_model

from .states import Operation, State

UNUSED, READY, DELETED = State.UNUSED, State.READY, State.DELETED
LONGEST_ERROR = 2000
#: Rows in one answer of the directory: at most some 12 MB, far below the 30 MB that an answer may have.
PIECE = 5000
#: Schemas that are read at once, those noted last; of an older one an object is asked again.
SCHEMAS = 100


class LedgerMissing(DatabaseError):
    """The directory has no ledger, because nobody has migrated it yet."""


def reached(slugs, fingerprint):
    """Note, without a lease, that the objects of `slugs`, one or many, are ready at the schema `fingerprint`.

    For scratch objects, which have no life, and for tests.
    """
    rows = [new_state(slug, state=READY, fingerprint=fingerprint) for slug in _many(slugs)]
    fields = ["fingerprint", "state", "operation", "owner", "expires", "error", "since", "version"]
    if rows:
        with clear_errors():
            all_states().bulk_create(
                rows, update_conflicts=True, unique_fields=["slug"], update_fields=fields
            )


def forget(slugs):
    """Take the rows of `slugs`, one slug or many, out of the ledger."""
    all_states().filter(slug__in=_many(slugs)).delete()


def states(slugs):
    """Return {slug: TenantState} of the tenants named that the ledger knows; one trip for each PIECE."""
    wanted, found = _many(slugs), {}
    with clear_errors():
        for start in range(0, len(wanted), PIECE):
            rows = all_states().filter(slug__in=wanted[start : start + PIECE])
            found.update((row.slug, row) for row in rows)
    return found


def behind(slugs=None, fingerprints=None):
    """Return the sorted slugs of registered tenants that are not known to be ready at one of `fingerprints`.

    `slugs` limits it to some; the fingerprint is the code's if left out. The directory compares, so that the
    answer grows with those that are behind alone; a trip for some thousands of them, none to an object.
    """
    tenants = _registered(slugs)
    wanted = [code_fingerprint()] if fingerprints is None else list(fingerprints)
    # A creation notes what it is about to make, and leaves its lease behind.
    ready = all_states().filter(
        state=READY, fingerprint__in=wanted, operation__in=["", Operation.CREATE], error=""
    )
    with clear_errors():
        return registered_slugs(tenants.exclude(Exists(ready.filter(slug=OuterRef("slug")))))


def survey(slugs=None):
    """Return how many tenants are registered, and {fingerprint: migrations} of the schemas noted; one trip.

    `slugs` limits the tenants to some; those whose deletion is noted do not count.
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
    """Note what stands behind some fingerprints, {fingerprint: migrations}; one trip, none for no schema."""
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
    """Return {fingerprint: migrations} of those among `fingerprints` that were noted; one trip."""
    rows = all_schemas().filter(fingerprint__in=list(fingerprints))
    with clear_errors():
        return {row.fingerprint: migrations_in(row.migrations) for row in rows}


def _registered(slugs):
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
    return tenants if slugs is None else tenants.filter(slug__in=_many(slugs))


def is_at(state, *fingerprints):
    """Say whether a TenantState, or None, is ready at one of `fingerprints`."""
    return is_ready(state) and state.fingerprint in fingerprints


def is_ready(state):
    """Say whether a TenantState, or None, is ready, and nothing works on it that may change it."""
    return state is not None and state.state == READY and state.operation in ("", Operation.CREATE)


def unsettled(slug):
    """Return the query for the row of `slug`, a text or an expression, that a look-up has to look at closely.

    The row alone does not tell whose the object is: it is unused, a creation may not have come to its end, or
    a load or a deletion may be at work.
    """
    at_rest = Q(operation__in=["", Operation.MIGRATE])
    return all_states().filter(~(Q(state=READY) & at_rest), slug=slug)


def unsettled_text(slug):
    """Return the expression for what `leases.rows_of` reads, of `unsettled` rows; else NULL."""
    row = Func(
        *(
            F(name)
            for name in ("slug", "state", "operation", "owner", "fence", "emptied", "fingerprint", "error")
        ),
        function="json_array",
        output_field=TextField(),
    )
    return Subquery(unsettled(slug).values(text=row))


def may_go(slug):
    """Say whether the row of a tenant may go without its object: no work on the tenant has ever ended."""
    return all_states().filter(Q(state=DELETED) | Q(state=UNUSED, operation=""), slug=slug).exists()


def emptied(slug):
    """Note that a test has emptied the object of `slug`; its row, if any, may go."""
    rows = all_states().filter(slug=slug)
    rows.update(state=UNUSED, operation="", owner="", expires=None, fingerprint="", error="")
    rows.filter(~Exists(_registered([slug]))).delete()


def error_text(error):
    """Return what the ledger keeps of an error, an exception or a text."""
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return (text or "failed")[:LONGEST_ERROR]


def version():
    """Return what the ledger writes as the version of this code."""
    return str(conf("VERSION") or f"do_bridge {do_bridge.__version__}")[:100]


def stamp():
    """Return when, and by which version, as values of a row that changes."""
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
    """Return the query for all rows of the ledger; scratch objects stand in it by their aliases."""
    return _model()._base_manager.using(conf("DIRECTORY_ALIAS"))


def all_schemas():
    """Return the query for the schemas that were noted."""
    from do_bridge.models import KnownSchema

    return KnownSchema._base_manager.using(conf("DIRECTORY_ALIAS"))


class clear_errors:  # noqa: N801 - reads as the context that it is
    """Says what to do where the directory has no ledger yet."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, error, traceback):
        if isinstance(error, DatabaseError) and "no such table: do_bridge_" in str(error):
            raise LedgerMissing(
                f"The directory has no ledger yet. Run `migrate --database {conf('DIRECTORY_ALIAS')}` first."
            ) from error
        return False
