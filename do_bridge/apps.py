"""Connect the package to a Django project."""

import sys

from django.apps import AppConfig

from . import django_compat  # noqa: F401 - it refuses a Django that this package does not know


class DoBridgeConfig(AppConfig):
    """Register checks and signals, and the tenants named on the command line."""

    name = "do_bridge"
    verbose_name = "Cloudflare databases"

    def ready(self):
        from .checks import domains, replicas, safety, sessions, settings  # noqa: F401 - they register the checks
        from .contrib.logging import watch_calls
        from .management.failures import expect_failures
        from .tenancy.databases import register_from_arguments, tenant_databases
        from .tenancy.replicated.contenttypes import take_over_post_migrate

        expect_failures(sys.argv)
        watch_calls()
        if tenant_databases() is None:
            return
        from .management.named_tenants import check_typed
        from .tenancy.domains import watch_domains
        from .tenancy.lifecycle import fencing
        from .tenancy.lifecycle.keeping import keep_rows
        from .tenancy.lifecycle.provision import guard_lookup
        from .tenancy.migrate.catch_up import watch_connections
        from .tenancy.orm.install import keep_tenants_apart
        from .tenancy.replicated.users import refuse_full_copies, send_copies
        from .tenancy.tenants import watch_tenants

        check_typed(register_from_arguments(sys.argv))
        take_over_post_migrate()
        watch_connections()
        fencing.watch_connections()
        watch_tenants()
        watch_domains()
        keep_rows()
        send_copies()
        refuse_full_copies()
        guard_lookup()
        keep_tenants_apart()
