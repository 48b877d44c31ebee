"""Django's showmigrations, which looks at a tenant without bringing it to head first."""

from django.core.management.commands import showmigrations

from do_bridge.tenancy.lifecycle.looking import unchecked


class Command(showmigrations.Command):
    """A tenant that is behind is shown as it is."""

    def handle(self, *args, **options):
        with unchecked(options["database"]):
            return super().handle(*args, **options)
