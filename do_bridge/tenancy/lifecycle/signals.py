"""The signal with which a project gives a filled tenant its members."""

from django.dispatch import Signal

#: Sent with `target`, the slug of a tenant that a load or a copy has filled, that has taken over an object,
#: or whose creation another process has finished. `source` is the slug of the copied tenant, or None.
tenant_filled = Signal()
