"""Wires the package into a Django project."""

import sys

from django.apps import AppConfig


class DoBridgeConfig(AppConfig):
    """Registers checks and signals, and the tenants that the command line names."""

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
        from .tenancy.catch_up import watch_connections
        from .tenancy.directory import watch_tenants
        from .tenancy.forms import bind_form_fields
        from .tenancy.handing import keep_contexts
        from .tenancy.keeping import keep_rows
        from .tenancy.lookups import register_lookups
        from .tenancy.managers import bind_managers
        from .tenancy.namesakes import guard_joins
        from .tenancy.prefetching import guard_prefetching
        from .tenancy.provision import guard_lookup
        from .tenancy.querysets import guard_querysets
        from .tenancy.raw import guard_raw
        from .tenancy.raw_cursors import guard_raw_cursors
        from .tenancy.refreshing import guard_refreshing
        from .tenancy.relating import guard_relating
        from .tenancy.rows import guard_rows
        from .tenancy.typed import check_typed
        from .tenancy.unbound import guard_results

        check_typed(register_from_arguments(sys.argv))
        take_over_post_migrate()
        watch_connections()
        watch_tenants()
        keep_rows()
        guard_lookup()
        bind_managers()
        guard_prefetching()
        guard_querysets()
        guard_raw_cursors()
        guard_relating()
        guard_joins()
        guard_raw()
        guard_refreshing()
        keep_contexts()
        guard_results()
        guard_rows()
        register_lookups()
        bind_form_fields()
