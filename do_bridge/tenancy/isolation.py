"""Installs what keeps tenants apart in Django's ORM and forms, one call for each concern."""

from .forms import bind_form_fields
from .handing import keep_contexts
from .lookups import register_lookups
from .managers import bind_managers
from .namesakes import guard_joins
from .prefetching import guard_prefetching
from .querysets import guard_querysets
from .raw import guard_raw
from .raw_cursors import guard_raw_cursors
from .refreshing import guard_refreshing
from .relating import guard_relating
from .rows import guard_rows
from .unbound import guard_results


def keep_tenants_apart():
    """Install the guards that `docs/apart.md` describes; may be called again."""
    bind_managers()
    guard_prefetching()
    guard_querysets()
    guard_raw_cursors()
    guard_relating()
    guard_joins()
    guard_raw()
    guard_refreshing()
    keep_contexts()
    guard_results()
    guard_rows()
    register_lookups()
    bind_form_fields()
