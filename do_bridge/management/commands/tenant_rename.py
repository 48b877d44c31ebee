"""The command tenant_rename: change the displayed name of a tenant."""

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import DatabaseError

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.tenant_rows import has_name
from do_bridge.tenancy.tenants import no_such_tenant, tenant_model


class Command(TenantsCommand):
    """Change the name in D1; the slug is the name of the tenant's object, and stays."""

    help = (
        "Changes the displayed name of a tenant. A slug can't be changed, because it is the name of the "
        "tenant's database: use tenant_copy and tenant_delete for that."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", help="The tenant's slug.")
        parser.add_argument("name", help="The new name.")

    def handle(self, *, slug, name, verbosity, **options):
        model = tenant_model()
        if not has_name(model):
            raise CommandError(
                f"{model._meta.label} has no field `name`, so a tenant has nothing but its slug. For another "
                f"slug, run `manage.py tenant_copy {slug} NEW`, then `manage.py tenant_delete {slug}`."
            )
        try:
            tenant = model._base_manager.using(conf("DIRECTORY_ALIAS")).filter(slug=slug).first()
            if tenant is None:
                raise CommandError(no_such_tenant(slug))
            tenant.name = model._meta.get_field("name").clean(name, tenant)
            tenant.save(update_fields=["name"])
        except ValidationError as error:
            raise CommandError(f"The name is not valid: {' '.join(error.messages)}") from error
        except DatabaseError as error:
            raise CommandError(f"Tenant {slug!r} was not renamed: {error}") from error
        if verbosity >= 1:
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug} is now named {name}."))
