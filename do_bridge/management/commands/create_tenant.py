"""Creates a tenant: its row in the directory, its object, and its first members."""

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils.module_loading import import_string

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.directory import is_registered, tenant_model
from do_bridge.tenancy.provision import has_tables, provision
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug


class Command(BaseCommand):
    """Safe to repeat: what is there already stays, what is missing is made."""

    help = "Creates a tenant and its database, ready for use; safe to repeat."

    def add_arguments(self, parser):
        parser.add_argument("slug", help="1 to 63 lower-case letters, digits and inner hyphens")
        parser.add_argument("--name", help="What people read; the slug if left out.")
        parser.add_argument(
            "--member", action="append", default=[], metavar="USERNAME", help="A member; may be repeated."
        )
        parser.add_argument(
            "--adopt", action="store_true", help="Take over the data of a former tenant of this name."
        )

    def handle(self, *, slug, name, member, verbosity, adopt=False, **options):
        try:
            validate_slug(slug)
        except InvalidSlug as error:
            raise CommandError(str(error)) from error
        add_member = self._member_function() if member else None
        try:
            if not adopt:
                self._refuse_others_data(slug)
            tenant, created = self._row(slug, name)
            how = provision(slug)
        except DatabaseError as error:
            advice = (
                f"Run `migrate --database {conf('DIRECTORY_ALIAS')}` first" if _lacks_tables(error) else ""
            )
            raise CommandError(
                f"Tenant {slug!r} is not ready: {error}. {advice or 'Run the command again'}."
            ) from error
        for username in member:
            self._add(add_member, tenant, username)
        if verbosity >= 1:
            state = "created" if created else "was there already"
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug}: {state}, database {how}."))

    def _refuse_others_data(self, slug):
        """Refuse a new tenant whose object has tables: they may hold what another company wrote."""
        # The row once more: the same command may run twice at once, and have made both meanwhile.
        if not is_registered(slug) and has_tables(slug) and not is_registered(slug):
            raise CommandError(
                f"Nobody is registered as {slug!r}, but its database has tables already, maybe those of a "
                "tenant that was deleted. Choose another slug, or take them over with --adopt."
            )

    def _row(self, slug, name):
        model = tenant_model()
        defaults = {}
        if any(field.name == "name" for field in model._meta.concrete_fields):
            defaults["name"] = name or slug
        tenant, created = model._base_manager.using(conf("DIRECTORY_ALIAS")).get_or_create(
            slug=slug, defaults=defaults
        )
        if not created and name and "name" in defaults and tenant.name != name:
            tenant.name = name
            tenant.save(using=conf("DIRECTORY_ALIAS"), update_fields=["name"])
        return tenant, created

    def _member_function(self):
        path = conf("ADD_MEMBER")
        if not path:
            raise CommandError("--member needs DO_BRIDGE['ADD_MEMBER'], a function (tenant, username).")
        return import_string(path)

    def _add(self, add_member, tenant, username):
        try:
            add_member(tenant, username)
        except ObjectDoesNotExist as error:
            raise CommandError(f"There is no user {username!r}; the tenant is ready.") from error
        except Exception as error:
            # ADD_MEMBER is the project's own function, and may raise anything.
            raise CommandError(f"The tenant is ready, {username!r} is no member yet: {error}") from error


def _lacks_tables(error):
    return "no such table" in str(error)
