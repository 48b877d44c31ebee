"""The signals after which the copies of members are written again."""

from django.dispatch import Signal

#: Sent with `target`, the slug of a tenant whose members may have neither copies nor dirty flags, before its
#: object is filled: if the process is killed in between, the next use still has to write the copies.
tenant_filling = Signal()

#: Sent with `target`, the slug of a tenant that a load or a copy has filled, that was taken back to a moment,
#: that has taken over an object, or whose creation another process has finished. `source` is the slug of the
#: copied tenant, or None.
tenant_filled = Signal()

#: Sent after the shared database was taken back to a moment: what tenants have copied of it may be newer.
shared_restored = Signal()
