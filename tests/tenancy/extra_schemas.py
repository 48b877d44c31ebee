"""Tenants with more migrations than the code has, and what can be asked of them."""

from io import StringIO

from django.core.management import call_command
from django.db import connections

from blog.models import Post
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.fencing import read_object
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.migrate.executor import settle_fingerprint
from do_bridge.tenancy.schema import known

GONE = ("shop", "0001_initial")
RECORD = "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, '2026-01-01 00:00:00')"


def count(slug):
    return Post.objects.using(tenant_alias(slug)).count()


def close(*slugs):
    """Close this thread's connections, as the end of a request does."""
    for slug in slugs:
        connections[tenant_alias(slug)].close()


def migrate(*arguments, database="tenant"):
    out = StringIO()
    words = ["migrate", *arguments, "--database", database]
    call_command(*words, interactive=False, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def found_in(slug):
    with unchecked(tenant_alias(slug)):
        return read_object(connections[tenant_alias(slug)])


def leave_app(slug, *migrations):
    """Write into an object what an app leaves behind that is then taken out of INSTALLED_APPS."""
    connection = connections[tenant_alias(slug)]
    with unchecked(tenant_alias(slug)):
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS shop_item (id integer PRIMARY KEY)")
            for app, name in migrations or [GONE]:
                cursor.execute(RECORD, [app, name])
        fingerprint = settle_fingerprint(connection)
    connection.close()
    # Another process did it.
    known.forget()
    return fingerprint
