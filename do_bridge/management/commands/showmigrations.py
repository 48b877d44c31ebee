"""Django's showmigrations command, which does not migrate a tenant on first use."""

from django.core.management.commands import showmigrations

from do_bridge.tenancy.lifecycle.looking import unchecked


class Command(showmigrations.Command):
    """Show the migrations of a tenant as they are, without catching up first."""

    def handle(self, *args, **options):
        with unchecked(options["database"]):
            return super().handle(*args, **options)
