"""What the commands about tenants have in common."""

from django.core.management.base import BaseCommand, CommandError

from do_bridge.tenancy.databases import tenant_databases


class TenantsCommand(BaseCommand):
    """A command of a project that has tenants."""

    def execute(self, *args, **options):
        databases = tenant_databases()
        if databases is None or not dict.__contains__(databases, databases.template):
            raise CommandError(
                "This project has no databases for tenants, because DATABASES is a plain dict or "
                "has no template. Write DATABASES = TenantDatabases({…}) with an alias 'tenant'; "
                "see do_bridge's README."
            )
        return super().execute(*args, **options)
