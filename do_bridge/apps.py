"""Connect the package to a Django project."""

import sys

from django.apps import AppConfig

from . import django_compat  # noqa: F401 - it refuses a Django that this package does not know


class DoBridgeConfig(AppConfig):
    """Register checks and signals, and the tenants named on the command line."""

    name = "do_bridge"
    verbose_name = "Cloudflare databases"

    def ready(self):
        from . import checks, checks_safety  # noqa: F401 - they register the system checks
        from .management.failures import expect_failures
        from .tenancy.contenttypes import take_over_post_migrate
        from .tenancy.databases import register_from_arguments, tenant_databases
        from .tenancy.logging import watch_calls

        expect_failures(sys.argv)
        watch_calls()
        if tenant_databases() is None:
            return
        from .tenancy import fencing
        from .tenancy.catch_up import watch_connections
        from .tenancy.directory import watch_tenants
        from .tenancy.keeping import keep_rows
        from .tenancy.orm.isolation import keep_tenants_apart
        from .tenancy.people import refuse_full_copies, send_copies
        from .tenancy.provision import guard_lookup
        from .tenancy.typed import check_typed

        check_typed(register_from_arguments(sys.argv))
        take_over_post_migrate()
        watch_connections()
        fencing.watch_connections()
        watch_tenants()
        keep_rows()
        send_copies()
        refuse_full_copies()
        guard_lookup()
        keep_tenants_apart()
