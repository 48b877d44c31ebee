"""The base class of the commands that work on tenants."""

from django.core.management.base import BaseCommand, CommandError

from do_bridge.tenancy.databases import tenant_databases


class TenantsCommand(BaseCommand):
    """Refuse to run in a project that has no databases for tenants."""

    def execute(self, *args, **options):
        databases = tenant_databases()
        if databases is None or not dict.__contains__(databases, databases.template):
            raise CommandError(
                "This project has no databases for tenants, because DATABASES is a plain dict or "
                "has no alias for the template. Write DATABASES = TenantDatabases({…}) and add the alias "
                "'tenant'. do_bridge's README shows an example."
            )
        return super().execute(*args, **options)
