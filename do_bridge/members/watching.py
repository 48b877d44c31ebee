"""Connect the app to Django's signals and to the tenancy layer.

A saved membership or user is copied when D1's transaction has committed (`on_commit`). Changes without a
signal (`bulk_create()`, `update()`, SQL) are flagged by triggers in D1, and copied at the tenant's next use.
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
from do_bridge.tenancy.lifecycle.signals import shared_restored, tenant_filled, tenant_filling
from do_bridge.tenancy.replicated import users as people
from do_bridge.tenancy.schema.replay import directory_only

from . import copies, first, shape, syncing, triggers

# {"had": whether D1 had its triggers before the migration that is running}.
_migrating = {}


def watch():
    """Connect the signals; can be called more than once."""
    membership, user = shape.membership_model(), get_user_model()
    post_save.connect(_membership_saved, sender=membership, dispatch_uid="do_bridge_members.saved")
    post_delete.connect(_membership_deleted, sender=membership, dispatch_uid="do_bridge_members.deleted")
    post_save.connect(_user_saved, sender=user, dispatch_uid="do_bridge_members.user_saved")
    own = apps.get_app_config("do_bridge_members")
    pre_migrate.connect(_tables_change, sender=own, dispatch_uid="do_bridge_members.triggers_dropped")
    post_migrate.connect(_tables_changed, sender=own, dispatch_uid="do_bridge_members.triggers_made")
    directory.tenant_used.connect(syncing.repair_on_use, dispatch_uid="do_bridge_members.repair_on_use")
    tenant_filling.connect(syncing.flag_everybody, dispatch_uid="do_bridge_members.flag_everybody")
    tenant_filled.connect(syncing.fill_places, dispatch_uid="do_bridge_members.fill_places")
    shared_restored.connect(syncing.flag_all, dispatch_uid="do_bridge_members.flag_all")
    directory.more_annotations["do_bridge_members"] = syncing.row_annotations
    creation.default_first_members = first.first_members
    people.writer.statements = copies.statements
    people.writer.values = shape.copied_values


def _membership_saved(instance, using, raw=False, **kwargs):
    if raw or using != conf(shape.DIRECTORY):
        return
    user = getattr(instance, shape.user_link().name)
    _follow_later(instance, f"The membership of {user}")


def _membership_deleted(instance, using, **kwargs):
    if using == conf(shape.DIRECTORY):
        _follow_later(instance, "The end of the membership")


def _follow_later(membership, what):
    tenant, key = getattr(membership, shape.tenant_link().name), shape.user_link().attname
    after_commit(partial(_follow, tenant, getattr(membership, key), what))


def _user_saved(instance, using, created=False, raw=False, update_fields=None, **kwargs):
    # A sign-in saves only last_login, which is not copied.
    names = {field.name for field in shape.copied_fields()}
    is_same = update_fields is not None and not set(update_fields) & names
    if raw or created or is_same or using != conf(shape.DIRECTORY):
        return
    after_commit(partial(_follow_everywhere, instance))


def _follow(tenant, key, what):
    try:
        syncing.follow(tenant, [key], what)
    except syncing.CopyFailed:
        # The cached row lacks the dirty flag, and the next use of the tenant must see it.
        directory.lookup.forget(tenant.slug)
        raise


def _follow_everywhere(user):
    """Update the user's copy in each tenant of which the user is a member."""
    link = shape.tenant_link().name
    _Works(
        partial(_follow, getattr(membership, link), user.pk, f"The change of {user}")
        for membership in syncing.memberships(user=user).select_related(link)
    )()


def after_commit(work):
    """Call `work` when D1's open block commits, or at once without one.

    A CopyFailed does not keep other work from running.
    """
    alias = conf(shape.DIRECTORY)
    connection = connections[alias]
    place, last = set(connection.savepoint_ids), connection.run_on_commit[-1:]
    # The engine wraps each callback, so that it runs in the tenant that is current now.
    waiting = unwrap(last[0][1]) if last else None
    if isinstance(waiting, _Works) and last[0][0] == place:
        waiting.append(work)
    else:
        transaction.on_commit(_Works([work]), using=alias)


class _Works(list):
    """The callbacks of one block.

    Django itself would skip all callbacks after a failed one.
    """

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
    # `migrate do_bridge_members zero` drops the table of flags. `flush` passes no apps and keeps it.
    if using != conf(shape.DIRECTORY) or not (apps is None or _has_tables(apps)):
        return
    # Without triggers no change was flagged: the app is new, the fields differ, or a migrate was interrupted.
    had = _migrating.pop("had", True)
    if plan or apps is None or not had:
        triggers.make_triggers(flag_all=not had)


def _has_tables(state_apps):
    """Return whether the migrated state has all tables that the triggers name."""
    models = (shape.membership_model(), get_user_model(), directory.tenant_model(), triggers.DirtyFlag)
    return all(model._meta.model_name in state_apps.all_models[model._meta.app_label] for model in models)
