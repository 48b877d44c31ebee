"""Keys of Django's cache that say whose they are: it is one store, and every tenant writes to it."""

from do_bridge.tenancy.context import current

DIRECTORY_SPACE = "directory"


def tenant_key(key, key_prefix, version):
    """A `KEY_FUNCTION` for CACHES: the tenant is part of the key, so that no tenant reads another's.

    Inside a tenant its space is the tenant's own. Everywhere else, in the directory and where nothing
    is current, it is the directory's: what sessions and other things of no tenant are kept in. A slug has no
    colon, so no key of one space can spell that of another. Template fragments, `cache_page` and low-level
    calls all go through it.
    """
    slug = current().slug
    space = f"tenant:{slug}" if slug else DIRECTORY_SPACE
    return f"{space}:{key_prefix}:{version}:{key}"


def directory_key(key, key_prefix, version):
    """A `KEY_FUNCTION` for what all tenants share, such as the cache behind `cached_db` sessions."""
    return f"{DIRECTORY_SPACE}:{key_prefix}:{version}:{key}"
