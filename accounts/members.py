"""What a user may do in a tenant."""

from accounts.models import Membership


def membership_of(user, slug):
    """Return the user's membership of the tenant, or None.

    Takes one round trip, none for an anonymous user.
    """
    return memberships_of(user, slug).first()


def memberships_of(user, slug):
    """Return the queryset of the user's membership of the tenant, for `gather()`."""
    if not user.is_authenticated:
        return Membership.objects.none()
    return Membership.objects.filter(user_id=user.pk, tenant__slug=slug).order_by()
