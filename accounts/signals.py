"""Takes every change of a membership or a member's name on to the tenants' objects.

The objects are written once D1's part is over (`on_commit`): nothing reaches them that D1 refused. What these
receivers never hear of (`bulk_create`, `update()`, SQL) is marked by D1's triggers all the same.
"""

from functools import partial
from inspect import unwrap

from django.apps import apps
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_migrate, post_save, pre_migrate
from django.dispatch import receiver

from accounts import marks, members
from accounts.models import Membership, User
from do_bridge.tenancy.directory import lookup, tenant_used
from do_bridge.tenancy.members import tenant_filled
from do_bridge.tenancy.replay import directory_only

DIRECTORY = members.DIRECTORY

tenant_used.connect(members.repair_on_use, dispatch_uid="accounts.repair_on_use")
tenant_filled.connect(members.fill_places, dispatch_uid="accounts.fill_places")


@receiver(post_save, sender=Membership)
def membership_saved(instance, using, raw=False, **_kwargs):
    if raw or using != DIRECTORY:
        return
    what = f"The membership of {instance.user} is"
    after_commit(partial(_follow, instance.tenant, instance.user_id, what))


@receiver(post_delete, sender=Membership)
def membership_deleted(instance, using, **_kwargs):
    if using == DIRECTORY:
        after_commit(partial(_follow, instance.tenant, instance.user_id, "The member is removed"))


@receiver(post_save, sender=User)
def user_saved(instance, using, created=False, raw=False, update_fields=None, **_kwargs):
    # A sign-in saves last_login alone, which no copy has.
    untouched = update_fields is not None and not set(update_fields) & set(members.COPIED)
    if raw or created or untouched or using != DIRECTORY:
        return
    after_commit(partial(_follow_everywhere, instance))


def _follow(tenant, key, what):
    try:
        members.follow(tenant, [key], what)
    except members.CopyFailed:
        # So that this process sees the mark when the tenant is used next.
        lookup.forget(tenant.slug)
        raise


def _follow_everywhere(user):
    """Write the user's copy in each of the tenants."""
    _Works(
        partial(_follow, membership.tenant, user.pk, f"The change of {user} is")
        for membership in user.memberships.select_related("tenant")
    )()


def after_commit(work):
    """Call `work` when D1's open block is over, or now; what fails with CopyFailed stops no other work."""
    connection = connections[DIRECTORY]
    place, last = set(connection.savepoint_ids), connection.run_on_commit[-1:]
    # The engine wraps each callback, so that it runs in the context of now.
    waiting = unwrap(last[0][1]) if last else None
    if isinstance(waiting, _Works) and last[0][0] == place:
        waiting.append(work)
    else:
        transaction.on_commit(_Works([work]), using=DIRECTORY)


class _Works(list):
    """What is to be done after one block: Django itself would drop everything behind the first failure."""

    def __call__(self):
        failures = []
        for work in self:
            try:
                work()
            except members.CopyFailed as exc:
                failures.append(exc)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            slugs = dict.fromkeys(slug for failure in failures for slug in failure.slugs)
            raise members.CopyFailed(failures[0].what, *slugs) from failures[0]


@receiver(pre_migrate, sender=apps.get_app_config("accounts"))
@directory_only
def tables_change(using, plan, **_kwargs):
    if using == DIRECTORY and plan:
        marks.drop_triggers(DIRECTORY)


@receiver(post_migrate, sender=apps.get_app_config("accounts"))
@directory_only
def tables_changed(using, apps=None, **_kwargs):
    # `migrate accounts 0001` takes the marks' table away; `flush` tells of no state, and leaves it.
    if using == DIRECTORY and (apps is None or "outofstep" in apps.all_models["accounts"]):
        marks.make_triggers(DIRECTORY, members.COPIED)
