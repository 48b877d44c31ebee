"""Connects the app to Django's signals and to the tenancy layer.

A saved membership or user is copied at once, after D1's part is over (`on_commit`): nothing reaches an object
that D1 refused. What sends no signal (`bulk_create`, `update()`, SQL) has its dirty flags from D1's triggers
all the same, and is copied when the tenant is used next.
"""

from functools import partial
from inspect import unwrap

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_migrate, post_save, pre_migrate

from do_bridge.tenancy import tenants as directory
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import creation
from do_bridge.tenancy.lifecycle.signals import tenant_filled
from do_bridge.tenancy.replicated import users as people
from do_bridge.tenancy.schema.replay import directory_only

from . import copies, first, shape, syncing, triggers

# Whether D1 had its triggers before the migration that runs now: {"had": bool}.
_migrating = {}


def watch():
    """Connect everything; may be called again."""
    membership, user = shape.membership_model(), get_user_model()
    post_save.connect(_membership_saved, sender=membership, dispatch_uid="do_bridge_members.saved")
    post_delete.connect(_membership_deleted, sender=membership, dispatch_uid="do_bridge_members.deleted")
    post_save.connect(_user_saved, sender=user, dispatch_uid="do_bridge_members.user_saved")
    own = apps.get_app_config("do_bridge_members")
    pre_migrate.connect(_tables_change, sender=own, dispatch_uid="do_bridge_members.triggers_dropped")
    post_migrate.connect(_tables_changed, sender=own, dispatch_uid="do_bridge_members.triggers_made")
    directory.tenant_used.connect(syncing.repair_on_use, dispatch_uid="do_bridge_members.repair_on_use")
    tenant_filled.connect(syncing.fill_places, dispatch_uid="do_bridge_members.fill_places")
    directory.more_annotations["do_bridge_members"] = syncing.row_annotations
    creation.default_first_members = first.first_members
    people.writer.statements = copies.statements
    people.writer.values = shape.copied_values


def _membership_saved(instance, using, raw=False, **kwargs):
    if raw or using != conf(shape.DIRECTORY):
        return
    user = getattr(instance, shape.user_link().name)
    _follow_later(instance, f"The membership of {user} is")


def _membership_deleted(instance, using, **kwargs):
    if using == conf(shape.DIRECTORY):
        _follow_later(instance, "The member is removed")


def _follow_later(membership, what):
    tenant, key = getattr(membership, shape.tenant_link().name), shape.user_link().attname
    after_commit(partial(_follow, tenant, getattr(membership, key), what))


def _user_saved(instance, using, created=False, raw=False, update_fields=None, **kwargs):
    # A sign-in saves last_login alone, which no copy has.
    names = {field.name for field in shape.copied_fields()}
    is_same = update_fields is not None and not set(update_fields) & names
    if raw or created or is_same or using != conf(shape.DIRECTORY):
        return
    after_commit(partial(_follow_everywhere, instance))


def _follow(tenant, key, what):
    try:
        syncing.follow(tenant, [key], what)
    except syncing.CopyFailed:
        # So that this process sees the dirty flag when the tenant is used next.
        directory.lookup.forget(tenant.slug)
        raise


def _follow_everywhere(user):
    """Write the user's copy in each of the tenants."""
    link = shape.tenant_link().name
    _Works(
        partial(_follow, getattr(membership, link), user.pk, f"The change of {user} is")
        for membership in syncing.memberships(user=user).select_related(link)
    )()


def after_commit(work):
    """Call `work` when D1's open block is over, or now; what fails with CopyFailed stops no other work."""
    alias = conf(shape.DIRECTORY)
    connection = connections[alias]
    place, last = set(connection.savepoint_ids), connection.run_on_commit[-1:]
    # The engine wraps each callback, so that it runs in the context of now.
    waiting = unwrap(last[0][1]) if last else None
    if isinstance(waiting, _Works) and last[0][0] == place:
        waiting.append(work)
    else:
        transaction.on_commit(_Works([work]), using=alias)


class _Works(list):
    """What is to be done after one block: Django itself would drop everything behind the first failure."""

    def __call__(self):
        failures = []
        for work in self:
            try:
                work()
            except syncing.CopyFailed as exc:
                failures.append(exc)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            slugs = dict.fromkeys(slug for failure in failures for slug in failure.slugs)
            raise syncing.CopyFailed(failures[0].what, *slugs) from failures[0]


@directory_only
def _tables_change(using, plan=None, **kwargs):
    if using != conf(shape.DIRECTORY):
        return
    _migrating["had"] = triggers.are_there()
    if plan:
        triggers.drop_triggers()


@directory_only
def _tables_changed(using, plan=None, apps=None, **kwargs):
    # `migrate do_bridge_members zero` removes the flags' table; `flush` has no state, and leaves it.
    if using != conf(shape.DIRECTORY) or not (apps is None or _has_tables(apps)):
        return
    # Without them nothing was flagged: the app is new, or copies other fields, or a migrate was interrupted.
    had = _migrating.pop("had", True)
    if plan or apps is None or not had:
        triggers.make_triggers(flag_all=not had)


def _has_tables(state_apps):
    """Say whether the migrated state has all tables that the triggers name."""
    models = (shape.membership_model(), get_user_model(), directory.tenant_model(), triggers.DirtyFlag)
    return all(model._meta.model_name in state_apps.all_models[model._meta.app_label] for model in models)
