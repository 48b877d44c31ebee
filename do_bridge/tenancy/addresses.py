"""The current tenant's script prefix and URLconf, which `reverse()` uses."""

from typing import NamedTuple

from django.conf import settings
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf

from .conf import conf


class Address(NamedTuple):
    """The script prefix and URLconf of a thread or task.

    The URLconf may be None. Django stores both for each thread and task.
    """

    prefix: str
    urlconf: str | None


def current():
    """Return the Address of this thread or task."""
    return Address(get_script_prefix(), get_urlconf())


def set_current(address):
    """Set the Address of this thread or task."""
    set_script_prefix(address.prefix)
    set_urlconf(address.urlconf)


def inside(scope, blocks):
    """Return the Address inside a new block, or None to keep the present one.

    `blocks` are the open blocks. Inside a tenant the script prefix contains the tenant's path. Without a
    tenant it is the prefix outside all tenants' blocks: in a request the one that the middleware has set.
    """
    if scope.is_migration or (blocks and scope.slug and blocks[-1].scope.slug == scope.slug):
        return None
    place = next((place for place in reversed(range(len(blocks))) if blocks[place].manager.base), None)
    request = blocks[place] if place is not None else None
    own = blocks[place + 1 :] if request else blocks
    home = own[0].before if own else current()
    if not scope.is_tenant or (request and request.scope.slug == scope.slug):
        return home
    base = request.manager.base if request else home.prefix
    if base == "/" and settings.FORCE_SCRIPT_NAME:
        # Django sets FORCE_SCRIPT_NAME only for requests and for the thread that started Django.
        base = settings.FORCE_SCRIPT_NAME
    # A request by path keeps using paths, because its host may not be part of TENANT_DOMAIN.
    by_path = not conf("TENANT_DOMAIN") or (request is not None and base != home.prefix)
    path = path_of(scope.slug) if by_path else ""
    return Address(f"{base.rstrip('/')}/{path}", conf("TENANT_URLCONF") or home.urlconf)


def path_of(slug):
    """Return a tenant's path without a leading slash, for example "t/acme/"."""
    return f"{conf('TENANT_PATH').strip('/')}/{slug}/"
