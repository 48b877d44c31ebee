"""The command tenant_bookmark: print and keep a bookmark of a tenant's history."""

from django.core.management.base import CommandError
from django.db import Error

from do_bridge.management.base import TenantsCommand
from do_bridge.management.moments import add_moment, shown
from do_bridge.management.named_tenants import refuse_unregistered
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.slugs import InvalidSlug, validate_slug


class Command(TenantsCommand):
    """Keep a moment to which `tenant_restore SLUG --bookmark B` goes back."""

    help = (
        "Prints a bookmark of the tenant's present state, or of its state at a moment of the last 30 days, "
        "and keeps it in the shared database. `manage.py tenant_restore SLUG --bookmark B` goes back to it."
    )

    def add_arguments(self, parser):
        parser.add_argument("slug", help="The tenant's slug.")
        add_moment(parser, "--at", "The moment.")
        parser.add_argument("--list", action="store_true", help="List the bookmarks that are kept instead.")

    def handle(self, *, slug, at, verbosity, **options):
        try:
            validate_slug(slug)
            refuse_unregistered(slug)
            if options["list"]:
                self._list(slug, verbosity)
                return
            row = leases.look(slug)
            bookmark = bookmarks.bookmark_of(row, at)
            bookmarks.record(row, bookmark, at)
        except InvalidSlug as error:
            raise CommandError(str(error)) from error
        except Error as error:
            text = str(error).rstrip(".")
            raise CommandError(f"No bookmark of tenant {slug!r} was taken. {text}.") from error
        if verbosity >= 1 and at is not None:
            self.stderr.write(f"The moment is {shown(at)}.")
        self.stdout.write(bookmark)

    def _list(self, slug, verbosity):
        found = list(bookmarks.listed(slug))
        if not found and verbosity >= 1:
            self.stderr.write(
                f"No bookmark of tenant {slug!r} is kept. `manage.py tenant_bookmark {slug}` keeps one."
            )
        for one in found:
            is_target = one.used and one.reason != bookmarks.RESTORE
            used = f", restored {shown(one.used)}" if is_target else ""
            self.stdout.write(f"{one.bookmark}  {shown(one.taken)}  {one.get_reason_display()}{used}")
