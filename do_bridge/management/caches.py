"""Advice about caches, which keep the entries of a tenant's former data."""

from django.conf import settings

from do_bridge.contrib.cache import is_by_tenant

_OF_ONE_PROCESS = "django.core.cache.backends.locmem.LocMemCache"
_EMPTY = "django.core.cache.backends.dummy.DummyCache"


def warn_of_caches(command):
    """Print how each cache with keys by tenant is cleared.

    The entries of one tenant alone can't be: Django's caches can't list their keys.
    """
    for alias, values in settings.CACHES.items():
        backend = values.get("BACKEND")
        if not is_by_tenant(values.get("KEY_FUNCTION")) or backend == _EMPTY:
            continue
        if backend == _OF_ONE_PROCESS:
            where, remedy = ", in the memory of each process", "Restart the processes of the site."
        else:
            call = f"from django.core.cache import caches; caches['{alias}'].clear()"
            where, remedy = "", f'To clear it for all tenants, run `manage.py shell -c "{call}"`.'
        command.stderr.write(
            command.style.WARNING(f"The cache {alias!r} may still have entries from before{where}. {remedy}")
        )
