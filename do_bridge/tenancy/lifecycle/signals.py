"""The signal by which a project makes members of a tenant that was filled."""

from django.dispatch import Signal

#: Sent with `target`, the slug of a tenant that was filled by a load or a copy, that took over an object,
#: or whose creation somebody else finished, and `source`, the slug of the one that it was copied from, or
#: None: members' places are the project's.
tenant_filled = Signal()
