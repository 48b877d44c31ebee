"""An interrupted load that goes on in another jurisdiction: on a stand-in for jurisdictions."""

import signal

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.lease.lease_sql import directory, names
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import unique_slug
from tests.lifecycle.conftest import tenants_on
from tests.tenancy.moves import clear, places_with_tables
from tests.tenancy.processes import finish, start


@pytest.fixture
def slug(db, history_worker, tmp_path):
    """A slug that a tenant has had before."""
    slug = unique_slug("elsewhere")
    with tenants_on(history_worker):
        create_tenant(slug)
        dump_tenant(slug, tmp_path / "dump.sqlite3")
        run("tenant_delete", slug, "--yes")
        yield slug
        clear(slug)
        tenant_databases().release(tenant_alias(slug))


def run(*arguments):
    call_command(*map(str, arguments), verbosity=0)


def load_killed(slug, file, *more):
    name = f"do:{settings.DATABASES['tenant']['NAME']}/{slug}"
    code, output = finish(start("tenant_load", slug, file, *more, kill=(name, "INSERT INTO", 5, True)))
    assert code == -signal.SIGKILL, output


def test_what_was_sent_before_is_erased_on_a_stand_in(slug, tmp_path):
    file = tmp_path / "dump.sqlite3"
    load_killed(slug, file)
    load_killed(slug, file, "--jurisdiction", "eu")
    assert places_with_tables(slug) == ["eu"]
    run("tenant_load", slug, file, "--jurisdiction", "us")
    assert places_with_tables(slug) == ["us"]
    row = leases.look(slug)
    assert (row.jurisdiction, row.left_behind, row.operation) == ("us", None, "")


def test_a_deletion_erases_what_was_sent_to_both_places_on_a_stand_in(slug, tmp_path):
    file = tmp_path / "dump.sqlite3"
    load_killed(slug, file)
    states, _, _ = names()
    # As the load that was killed when it had just taken its lease in the other place.
    moved = (
        f"UPDATE {states} SET jurisdiction = 'eu', left_behind = '', expires = '2000-01-01' WHERE slug = %s"
    )
    run_batch(directory(), [(moved, [slug])])
    with pytest.raises(
        CommandError, match="in the jurisdictions 'none' and 'eu'. Run `manage.py tenant_delete"
    ):
        run("tenant_load", slug, file, "--jurisdiction", "us")
    run("tenant_delete", slug, "--yes")
    assert places_with_tables(slug) == []
    run("tenant_load", slug, file, "--jurisdiction", "us")
    assert places_with_tables(slug) == ["us"]
