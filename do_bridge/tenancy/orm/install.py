"""Installs what keeps tenants apart in Django's ORM, forms and signals."""

from django.apps import apps
from django.db.models.signals import class_prepared

from do_bridge.tenancy.replicated.users import has_same_keys, is_user_model
from do_bridge.tenancy.sides import follows_context

from .forms import bind_forms
from .handing import keep_contexts
from .lookups import register_lookups
from .managers import bind_managers
from .raw_cursors import watch_raw_cursors
from .relations import bind_relations
from .rows import bind_rows
from .statements import watch_statements


def keep_tenants_apart():
    """Install the checks that `docs/apart.md` describes; may be called again."""
    watch_statements()
    watch_raw_cursors()
    keep_contexts()
    register_lookups()
    bind_forms()
    for model in apps.get_models(include_auto_created=True):
        bind(model)
    class_prepared.connect(_bind_late, dispatch_uid="do_bridge.bind")


def bind(model):
    """Bind a model's querysets, relations and rows, if it has rows in tenants' databases."""
    if has_rows_in_tenants(model):
        bind_managers(model)
        bind_rows(model)
    bind_relations(model, lambda each: has_rows_in_tenants(each) or has_same_keys(each))


def has_rows_in_tenants(model):
    """Say whether a model's rows are in tenants' databases, if only as copies of users."""
    return follows_context(model) or is_user_model(model)


def _bind_late(sender, **kwargs):
    # Those of migrations live as long as one migration, of one database.
    if sender.__module__ != "__fake__":
        bind(sender)
