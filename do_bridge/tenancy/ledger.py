"""The ledger in the directory: each tenant's state as last known, read and written for many in one trip.

The object's own fingerprint is the truth. "migrating" is written before any change, so that whatever a crash
leaves behind is seen: the next run looks at every tenant that is not "ready".
"""

from django.db import DatabaseError, connections
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

import do_bridge

from .conf import conf
from .copies import run_batch
from .directory import registered_slugs, tenant_model
from .fingerprint import code_fingerprint, migrations_in, text_of

READY, MIGRATING, FAILED, DELETED = "ready", "migrating", "failed", "deleted"
LONGEST_ERROR = 2000
#: What is begun for a row that was made by hand: nothing yet. D1's trigger writes it (see `keeping`).
UNUSED = "migrate: not used yet"
#: How the error of a migration begins that found an object with somebody else's tables.
UNCLAIMED = "TenantUnclaimed"
#: Rows in one answer of the directory: at most some 12 MB, far below the 30 MB that an answer may have.
PIECE = 5000
#: Schemas that are read at once, those noted last; of an older one an object is asked again.
SCHEMAS = 100
# How the texts of `begin` start that a migration may take over from one that was cut off.
MIGRATIONS = ("migrate", "catch up")


class LedgerMissing(DatabaseError):
    """The directory has no ledger, because nobody has migrated it yet."""


def begin(slugs, what):
    """Note that `what` (a short text) is about to change the objects of `slugs`, one slug or many."""
    _write(slugs, ("state", "doing", "error"), state=MIGRATING, doing=what[:200], error="")


def reached(slugs, fingerprint):
    """Note that the objects of `slugs`, one slug or many, hold the schema `fingerprint` and are ready."""
    _write(slugs, ("state", "fingerprint", "error"), state=READY, fingerprint=fingerprint, error="")


def reached_unless_deleted(slug, fingerprint):
    """Do as `reached` does, but not for a tenant whose deletion is noted; say whether it was done."""
    rows = all_states().filter(slug=slug).exclude(state=DELETED)
    noted = {"state": READY, "fingerprint": fingerprint, "error": "", "since": now(), "version": version()}
    return bool(rows.update(**noted))


def failed(slug, error):
    """Note why a tenant's object could not be brought on; `error` is an exception or a text."""
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}"
    _write(slug, ("state", "error"), state=FAILED, error=text[:LONGEST_ERROR])


def failed_in(slug, doing, error):
    """Do as `failed` does where `doing` is what was begun last; a deletion that came since keeps its word."""
    rows = all_states().filter(slug=slug, state=MIGRATING, doing=doing)
    rows.update(state=FAILED, error=error[:LONGEST_ERROR], since=now(), version=version())


def deleted(slugs):
    """Note that the objects of `slugs`, one slug or many, have been emptied."""
    _write(slugs, ("state", "fingerprint", "error"), state=DELETED, fingerprint="", error="")


def settle(states):
    """Write several rows as they are, a list of TenantState, in one trip."""
    fields = ("fingerprint", "state", "doing", "error")
    _save(states, fields)


def forget(slugs):
    """Take the rows of `slugs`, one slug or many, out of the ledger."""
    all_states().filter(slug__in=_many(slugs)).delete()


def states(slugs):
    """Return {slug: TenantState} of the tenants named that the ledger knows; one trip for each PIECE."""
    wanted, found = _many(slugs), {}
    with _clear_errors():
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
    ready = all_states().filter(state=READY, fingerprint__in=wanted)
    with _clear_errors():
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
    with _clear_errors():
        total, rows = run_batch(connection, [(f"SELECT count(*) FROM ({counted})", params), noted])  # noqa: S608
    return total.rows[0][0], {fingerprint: migrations_in(text) for fingerprint, text in rows.rows}


def note_schemas(schemas):
    """Note what stands behind some fingerprints, {fingerprint: migrations}; one trip, none for no schema."""
    rows = [
        all_schemas().model(fingerprint=fingerprint, migrations=text_of(applied), noted=now())
        for fingerprint, applied in schemas.items()
    ]
    if rows:
        with _clear_errors():
            all_schemas().bulk_create(
                rows, update_conflicts=True, unique_fields=["fingerprint"], update_fields=["noted"]
            )


def schemas(fingerprints):
    """Return {fingerprint: migrations} of those among `fingerprints` that were noted; one trip."""
    rows = all_schemas().filter(fingerprint__in=list(fingerprints))
    with _clear_errors():
        return {row.fingerprint: migrations_in(row.migrations) for row in rows}


def _registered(slugs):
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
    return tenants if slugs is None else tenants.filter(slug__in=_many(slugs))


def is_at(state, *fingerprints):
    """Say whether a TenantState, or None, is ready at one of `fingerprints`."""
    return state is not None and state.state == READY and state.fingerprint in fingerprints


def is_claimed(state):
    """Say whether what the object holds is the tenant's own: it was empty when the first work on it began."""
    # What it knows nothing of may be in use: nobody may take that away.
    return state is None or not (
        state.state == DELETED
        or (state.state == MIGRATING and state.doing == UNUSED)
        or (state.state == FAILED and state.error.startswith(UNCLAIMED))
    )


def unclaimed(slug):
    """Return the query for the row of `slug`, a text or an expression, of which `is_claimed` is false."""
    unused = Q(state=MIGRATING, doing=UNUSED) | Q(state=FAILED, error__startswith=UNCLAIMED)
    return all_states().filter(Q(state=DELETED) | unused, slug=slug)


def emptied(slug):
    """Note that the object of `slug` holds nothing any more, whatever it held; its row, if any, may go."""
    rows = all_states().filter(slug=slug)
    rows.update(state=MIGRATING, doing=UNUSED, fingerprint="", error="")
    rows.filter(~Exists(_registered([slug]))).delete()


def is_held(state):
    """Say whether other work than a migration was begun on a tenant and is unfinished: a load, a deletion.

    One that failed is unfinished too: what it left behind is not a tenant to be brought to head.
    """
    begun = state is not None and state.state in (MIGRATING, FAILED) and state.doing
    return bool(begun) and not state.doing.startswith(MIGRATIONS)


def version():
    """Return what the ledger writes as the version of this code."""
    return str(conf("VERSION") or f"do_bridge {do_bridge.__version__}")[:100]


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


def _write(slugs, fields, **values):
    _save([new_state(slug, **values) for slug in _many(slugs)], fields)


def _save(rows, fields):
    """Insert rows, or change `fields` of those that are there already."""
    if not rows:
        return
    with _clear_errors():
        all_states().bulk_create(
            rows, update_conflicts=True, unique_fields=["slug"], update_fields=[*fields, "since", "version"]
        )


class _clear_errors:  # noqa: N801 - reads as the context that it is
    """Says what to do where the directory has no ledger yet."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, error, traceback):
        if isinstance(error, DatabaseError) and "no such table: do_bridge_" in str(error):
            raise LedgerMissing(
                f"The directory has no ledger yet. Run `migrate --database {conf('DIRECTORY_ALIAS')}` first."
            ) from error
        return False
