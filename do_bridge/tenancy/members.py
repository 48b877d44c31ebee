"""A tenant's row in the directory with all that belongs to it: made last, removed whole."""

from functools import partial

from django.db.models.deletion import Collector
from django.dispatch import Signal

from do_bridge.batches import batch

from . import ledger
from .conf import conf
from .directory import lookup, tenant_model
from .keeping import rows_may_go
from .load import empty_held_tenant, empty_left_over, empty_tenant
from .tenant_rows import has_name, row_values

#: Sent with `target`, the slug of a tenant that was filled by a load or a copy, or that took over an object,
#: and `source`, the slug of the one that it was copied from, or None: members' places are the project's.
tenant_filled = Signal()


def add_tenant_row(slug, name=None, fields=None):
    """Return the row of tenant `slug` in the directory, made where it is not there yet; `fields` by name."""
    model = tenant_model()
    defaults = row_values(slug, name, fields)
    tenant, created = model._base_manager.using(conf("DIRECTORY_ALIAS")).get_or_create(
        slug=slug, defaults=defaults
    )
    if not created and name and has_name(model) and tenant.name != name:
        tenant.name = name
        tenant.save(using=conf("DIRECTORY_ALIAS"), update_fields=["name"])
    return tenant


def is_known(slug):
    """Say whether the tenant has a row, or an unfinished deletion or load in the ledger."""
    if tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS")).filter(slug=slug).exists():
        return True
    state = ledger.states([slug]).get(slug)
    return state is not None and state.state != ledger.DELETED


def delete_tenant(slug, dump=None):
    """Empty the tenant's object, then remove its rows from the directory, memberships too, in one batch.

    The ledger says "migrating" until both are done and "deleted" then. Safe to repeat after a failure, whose
    error says what is left. Raises Django's database errors; ProtectedError or RestrictedError, before
    anything is done, where other rows of the directory keep the tenant's.
    `dump(then)` keeps the tenant first, and calls `then(connection)` in the transaction in which it has read
    the object, so that no write comes in between; what it raises instead ends the deletion before it begins.
    """
    _refuse_kept(slug)
    if dump is None:
        _empty(slug, partial(empty_tenant, slug))
    else:
        dump(lambda connection: _empty(slug, partial(empty_held_tenant, slug, connection)))
    directory = conf("DIRECTORY_ALIAS")
    with batch(using=directory), rows_may_go():
        # First, for D1's triggers keep the row of a tenant that is not noted as deleted.
        ledger.deleted(slug)
        for tenant in tenant_model()._base_manager.using(directory).filter(slug=slug):
            tenant.delete(using=directory)
    lookup.forget(slug)
    # Somebody who came between the two may have made tables again.
    empty_left_over(slug)


def _empty(slug, empty):
    ledger.begin(slug, "delete")
    try:
        empty()
    except Exception as error:
        ledger.failed(slug, error)
        raise


def _refuse_kept(slug):
    directory = conf("DIRECTORY_ALIAS")
    tenants = tenant_model()._base_manager.using(directory).filter(slug=slug)
    # It collects what would go along, and raises for what may not.
    Collector(using=directory).collect(list(tenants))
