"""The command create_tenant: create a tenant's Durable Object and its rows in D1."""

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils.module_loading import import_string

from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.management.base import TenantsCommand
from do_bridge.management.placing import add_place_arguments
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.creation import (
    NO_FIRST_MEMBERS,
    create_tenant,
    first_members_function,
    users_by_name,
)
from do_bridge.tenancy.lifecycle.keeping import is_kept
from do_bridge.tenancy.lifecycle.lease.leases import LeaseError
from do_bridge.tenancy.lifecycle.provision import ObjectTaken
from do_bridge.tenancy.lifecycle.tenant_rows import (
    FieldsMissing,
    WrongField,
    add_set_argument,
    has_name,
    parse_fields,
)
from do_bridge.tenancy.places import WrongPlace
from do_bridge.tenancy.slugs import InvalidSlug, validate_new_slug
from do_bridge.tenancy.tenants import tenant_model


class Command(TenantsCommand):
    """Create what is missing and keep what exists, so the command can be repeated."""

    help = "Creates a tenant and its database. Run it again after a failure: it keeps what exists."

    def add_arguments(self, parser):
        parser.add_argument("slug", help="1 to 63 lower-case letters, digits and inner hyphens.")
        parser.add_argument("--name", help="The displayed name. Default: the slug.")
        parser.add_argument(
            "--member",
            action="append",
            default=[],
            metavar="USERNAME",
            help="Add this user as a member. Can be repeated.",
        )
        add_set_argument(parser)
        add_place_arguments(parser)
        parser.add_argument(
            "--adopt",
            action="store_true",
            help="Take over tables that the database already has, for example those of a former tenant.",
        )

    def handle(self, *, slug, name, member, verbosity, adopt=False, fields=(), **options):
        try:
            validate_new_slug(slug)
        except InvalidSlug as error:
            raise CommandError(str(error)) from error
        try:
            # Without DO_BRIDGE['FIRST_MEMBERS'], members are added one by one at the end.
            together = users_by_name(member) if first_members_function() else {}
            tenant, created, how = create_tenant(
                slug,
                name or "",
                list(together.values()),
                adopt=adopt,
                fields=parse_fields(fields),
                jurisdiction=options["jurisdiction"],
                location=options["location"],
            )
        except (
            ObjectDoesNotExist,
            ObjectTaken,
            LeaseError,
            FieldsMissing,
            WrongField,
            WrongPlace,
        ) as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            if is_kept(error):
                raise CommandError(f"Tenant {slug!r} exists already. {error}") from error
            first = f"Run `manage.py migrate --database {conf('DIRECTORY_ALIAS')}` first"
            advice = first if is_missing_table(error) else ""
            raise CommandError(
                f"Tenant {slug!r} is not ready: {error}. {advice or 'Run the command again'}."
            ) from error
        for username in member:
            if username not in together:
                self._add(tenant, username)
        if name and not has_name(tenant_model()):
            self.stderr.write(
                f"--name was ignored, because {tenant_model()._meta.label} has no field `name`."
            )
        if verbosity >= 1:
            state = "created" if created else "already exists"
            self.stdout.write(self.style.SUCCESS(f"Tenant {slug}: {state}, database {how}."))

    def _add(self, tenant, username):
        path = conf("ADD_MEMBER")
        if not path:
            raise CommandError(f"The tenant is ready, but has no members. {NO_FIRST_MEMBERS}")
        try:
            import_string(path)(tenant, username)
        except ObjectDoesNotExist as error:
            raise CommandError(
                f"The tenant is ready, but user {username!r} does not exist. Create the user, then run the "
                "command again."
            ) from error
        except Exception as error:
            # ADD_MEMBER is the project's own function, and may raise anything.
            raise CommandError(f"The tenant is ready, but adding {username!r} failed: {error}") from error
