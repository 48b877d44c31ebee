"""Takes every change of a membership or a member's name on to the tenants' objects.

The object is written once D1's part is over (`on_commit`): nothing reaches it that D1 refused.
"""

from functools import partial

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from accounts import members
from accounts.models import Membership, User

DIRECTORY = "default"


@receiver(post_save, sender=Membership)
def membership_saved(instance, using, raw=False, **_kwargs):
    if raw or using != DIRECTORY:
        return
    copy = partial(
        members.copy_users,
        [instance.user],
        instance.tenant.slug,
        what=f"The membership of {instance.user} is",
    )
    transaction.on_commit(copy, using=DIRECTORY)


@receiver(post_delete, sender=Membership)
def membership_deleted(instance, using, **_kwargs):
    if using != DIRECTORY:
        return
    deactivate = partial(members.deactivate_copy, instance.user_id, instance.tenant.slug)
    transaction.on_commit(deactivate, using=DIRECTORY)


@receiver(post_save, sender=User)
def user_saved(instance, using, created=False, raw=False, update_fields=None, **_kwargs):
    # A sign-in saves last_login alone, which no copy has.
    untouched = update_fields is not None and not set(update_fields) & set(members.COPIED)
    if raw or created or untouched or using != DIRECTORY:
        return
    transaction.on_commit(partial(_copy_everywhere, instance), using=DIRECTORY)


def _copy_everywhere(user):
    """Write the user's copy in each of the tenants; goes on past a failure and raises the first."""
    failed = None
    for membership in user.memberships.select_related("tenant"):
        try:
            members.copy_users([user], membership.tenant.slug, what=f"The change of {user} is")
        except members.CopyFailed as exc:
            failed = failed or exc
    if failed:
        raise failed
