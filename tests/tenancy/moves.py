"""Moves of tenants for tests: the objects of a tenant in each jurisdiction of the stand-in."""

from io import StringIO

from django.core.management import call_command

from blog.models import Post
from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.driver.internal import NOT_RUNTIME
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle.emptying import connected

PLACES = ("", "eu", "us")
#: What the ledger has as the end of a lease that nobody renews.
EXPIRED = "2000-01-01T00:00:00+00:00"
_NAMES = f"SELECT name FROM sqlite_master WHERE type = 'table' AND {NOT_RUNTIME}"  # noqa: S608


def move(slug, jurisdiction, *more):
    """Move a tenant by the command; return what it printed."""
    out = StringIO()
    call_command("tenant_move", slug, "--jurisdiction", jurisdiction, *more, stdout=out, stderr=out)
    return out.getvalue()


def places_with_tables(slug):
    """Return the jurisdictions in which the tenant has an object with tables."""
    found = []
    for jurisdiction in PLACES:
        with connected(tenant_alias(slug), jurisdiction) as connection:
            if connection.execute(_NAMES).fetchall():
                found.append(jurisdiction)
    return found


def clear(slug):
    """Empty all objects of a tenant, and forget it."""
    for jurisdiction in PLACES:
        with connected(tenant_alias(slug), jurisdiction) as connection:
            empty(connection)
    TenantState.objects.filter(slug=slug).delete()


def write(slug, author, title):
    """Write a post of a tenant; return it."""
    with tenant_context(slug):
        return Post.objects.create(title=title, content="-", user_id=author.pk)


def titles(slug):
    """Return the titles of a tenant's posts."""
    return sorted(Post.objects.using(tenant_alias(slug)).values_list("title", flat=True))
