"""Takes every change of a membership or a member's name on to the tenants' objects.

The objects are written once D1's part is over (`on_commit`): nothing reaches them that D1 refused.
"""

from functools import partial

from django.db import connections, transaction
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
    after_commit(copy)


@receiver(post_delete, sender=Membership)
def membership_deleted(instance, using, **_kwargs):
    if using == DIRECTORY:
        after_commit(partial(members.deactivate_copy, instance.user_id, instance.tenant.slug))


@receiver(post_save, sender=User)
def user_saved(instance, using, created=False, raw=False, update_fields=None, **_kwargs):
    # A sign-in saves last_login alone, which no copy has.
    untouched = update_fields is not None and not set(update_fields) & set(members.COPIED)
    if raw or created or untouched or using != DIRECTORY:
        return
    after_commit(partial(_copy_everywhere, instance))


def after_commit(work):
    """Call `work` when D1's open block is over, or now; what fails with CopyFailed stops no other work."""
    connection = connections[DIRECTORY]
    place, last = set(connection.savepoint_ids), connection.run_on_commit[-1:]
    if last and isinstance(last[0][1], _Works) and last[0][0] == place:
        last[0][1].append(work)
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


def _copy_everywhere(user):
    """Write the user's copy in each of the tenants."""
    _Works(
        partial(members.copy_users, [user], membership.tenant.slug, what=f"The change of {user} is")
        for membership in user.memberships.select_related("tenant")
    )()
