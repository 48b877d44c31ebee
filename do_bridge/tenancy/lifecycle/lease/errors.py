"""The errors of operations that can't begin or continue."""

from django.db import OperationalError


class LeaseError(OperationalError):
    """An operation on a tenant can't begin or continue."""


class Held(LeaseError):
    """Another operation on the tenant did not end in time; nothing was done."""


class LeaseLost(LeaseError):
    """Another operation has taken the tenant over."""


class Unfinished(LeaseError):
    """Another operation on the tenant was interrupted and must be run again first.

    Nothing was done.
    """
