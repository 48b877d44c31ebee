"""The queryset methods that make one write.

Their block needs no round trip for its commit.
"""

from contextlib import nullcontext

from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.db.models import Model
from django.db.models.signals import post_save, pre_save


def ends_with_save(model, alias, *values):
    """Return the context manager for get_or_create() and update_or_create().

    Their last write saves a row. Nothing is declared if saving a row of the model may write more, or if a
    value is a callable, which may.
    """
    if not saves_in_one_write(model) or any(
        callable(value) for given in values for value in (given or {}).values()
    ):
        return nullcontext()
    return _last_write(model, alias)


def saves_in_one_write(model):
    """Return whether saving a row of the model is always a single write.

    Receivers of signals, a parent's table, a save() of its own and fields of other packages may write more.
    """
    is_plain = model.save is Model.save and model.save_base is Model.save_base and not model._meta.parents
    is_heard = pre_save.has_listeners(model) or post_save.has_listeners(model)
    return is_plain and not is_heard and _has_plain_fields(model)


def _has_plain_fields(model):
    fields = model._meta.concrete_fields
    return all(type(field).pre_save.__module__.startswith("django.db.") for field in fields)


def ends_with_insert(model, alias, rows, batch_size):
    """Return the context manager for bulk_create().

    Nothing is declared if only some rows have a key, because that takes two writes.
    """
    is_single = batch_size is None and len({row.pk is None for row in rows}) == 1
    return _last_write(model, alias) if is_single and _has_plain_fields(model) else nullcontext()


def ends_with_update(model, alias, rows, names, batch_size):
    """Return the block for bulk_update(), which makes a write for each chunk of rows."""
    if batch_size is not None or not rows or not _has_plain_fields(model):
        return nullcontext()
    try:
        fields = [model._meta.pk, model._meta.pk, *(model._meta.get_field(name) for name in names)]
    except FieldDoesNotExist:
        return nullcontext()
    is_single = connections[alias].ops.bulk_batch_size(fields, rows) >= len(rows)
    return _last_write(model, alias) if is_single else nullcontext()


def _last_write(model, alias):
    connection = connections[alias]
    # Other engines commit without a network.
    return connection.last_write(model) if hasattr(connection, "last_write") else nullcontext()
