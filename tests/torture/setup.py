"""Makes what the attacks begin with: D1 migrated, a member, tenants, accounts, a file to load."""

from pathlib import Path

from django.contrib.auth import get_user_model
from django.db import connections

from accounts.models import Tenant
from do_bridge.tenancy import directory_context, tenant_alias
from do_bridge.tenancy.replicated.sql import run_batch

from .books import ORM_TENANTS, accounts_statement
from .load_tenants import MEMBER, quietly

FIRST_TENANTS = ("first-0", "first-1", "first-2")


def set_up(folder: Path) -> None:
    """Make all of it; in a process of its own."""
    quietly("migrate", database="default")
    get_user_model().objects.db_manager("default").create_user(MEMBER, password=None, name="Ada")
    for slug in (*ORM_TENANTS, *FIRST_TENANTS):
        with directory_context():
            quietly("create_tenant", slug, member=[MEMBER])
    for alias in ("default", *map(tenant_alias, ORM_TENANTS)):
        run_batch(connections[alias], [(accounts_statement(), None)])
    assert Tenant.objects.using("default").count() == len(ORM_TENANTS) + len(FIRST_TENANTS)
    quietly("tenant_dump", FIRST_TENANTS[0], str(folder / "dump.sqlite3"))
