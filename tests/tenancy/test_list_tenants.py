"""The commands list_tenants and tenant_rename."""

import io
import json
import re

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from accounts.models import Tenant
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import unique_slug


def run(command, *arguments, **options):
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def listed(*arguments, **options):
    rows = map(json.loads, run("list_tenants", *arguments, "--json", **options).splitlines())
    return {row["slug"]: row for row in rows}


@pytest.fixture
def unused(db):
    """A tenant whose object was never used."""
    return Tenant.objects.create(slug=unique_slug("unused"), name="Unused")


def test_tenants_are_listed_with_their_states(acme, unused):
    rows = listed()
    assert rows[acme.slug]["state"] == "ready"
    assert rows[acme.slug]["schema"] == "up to date"
    assert rows[acme.slug]["since"]
    assert "size" not in rows[acme.slug]
    since = rows[unused.slug].pop("since")
    assert since is None or since.endswith("+00:00")
    assert rows[unused.slug] == {
        "slug": unused.slug,
        "name": "Unused",
        "state": "unused",
        "operation": "",
        "error": "",
        "schema": "",
        "jurisdiction": "",
        "location": "",
        "left_behind": None,
    }


def test_a_list_costs_no_round_trip_for_each_tenant(acme, zeta, trips):
    before = trips.count
    listed()
    assert trips.count - before <= 5


def test_sizes_are_read_from_the_objects_and_an_unused_one_stays_unused(acme, unused):
    rows = listed("--sizes")
    assert rows[acme.slug]["size"] > 100_000
    assert rows[unused.slug]["size"] is None
    table = run("list_tenants", "--sizes", acme.slug)
    assert " KB" in table
    assert table.endswith("1 tenants.\n")


def test_a_tenant_that_is_behind_or_failed_shows_it(acme, zeta):
    TenantState.objects.filter(slug=acme.slug).update(fingerprint="0" * 64)
    TenantState.objects.filter(slug=zeta.slug).update(
        operation="migrate", error="Broken: why,\nin two lines."
    )
    try:
        rows = listed(acme.slug, zeta.slug)
        assert rows[acme.slug]["schema"] == "behind"
        assert (rows[zeta.slug]["operation"], rows[zeta.slug]["error"]) == (
            "migrate",
            "Broken: why,\nin two lines.",
        )
        _, row, reason, _ = run("list_tenants", zeta.slug, no_color=True).splitlines()
        assert "migrate failed" in row
        command = f"manage.py migrate --database tenant/{zeta.slug}"
        assert reason == f"    Broken: why, in two lines. To finish it, run `{command}` again."
    finally:
        ledger.emptied(acme.slug)
        ledger.emptied(zeta.slug)


@pytest.mark.parametrize("operation", list(Operation))
def test_the_command_below_a_failed_row_can_be_typed(acme, operation):
    TenantState.objects.filter(slug=acme.slug).update(operation=operation, error="Broken: why")
    try:
        typed = re.search("run `manage.py (.*)` again", run("list_tenants", acme.slug))[1].split()
    finally:
        ledger.emptied(acme.slug)
    places = {"FILE": "a.sqlite3", "SOURCE": "other", "JURISDICTION": "eu"}
    command = load_command_class(get_commands()[typed[0]], typed[0])
    options = command.create_parser("manage.py", typed[0]).parse_args(
        [places.get(one, one) for one in typed[1:]]
    )
    assert acme.slug in " ".join(str(value) for value in vars(options).values())


def test_the_help_explains_the_column_since(capsys):
    with pytest.raises(SystemExit, match="0"):
        load_command_class("do_bridge", "list_tenants").run_from_argv(["manage.py", "list_tenants", "--help"])
    assert "has been in this state (in settings.TIME_ZONE)" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_slug_is_an_error_of_one_line(acme):
    with pytest.raises(CommandError, match="Tenant 'nobody' does not exist"):
        run("list_tenants", acme.slug, "nobody")


def test_sizes_that_cannot_be_read_are_named_after_the_list(acme, monkeypatch):
    from do_bridge import driver

    def fail(connection):
        raise driver.OperationalError("the relay is away")

    monkeypatch.setattr(driver.Connection, "size", fail)
    with pytest.raises(CommandError, match=f"The sizes of 1 of 1 tenants could not be read: {acme.slug}"):
        run("list_tenants", "--sizes", acme.slug)


def test_a_name_is_changed_and_the_cache_forgets_the_old_one(acme):
    assert lookup.get(acme.slug).name != "Acme & Sons"
    assert "now named Acme & Sons" in run("tenant_rename", acme.slug, "Acme & Sons")
    assert lookup.get(acme.slug).name == "Acme & Sons"


NOT_RENAMED = [("nobody", "N", "does not exist"), (None, "", "valid")]


@pytest.mark.parametrize(("slug", "name", "message"), NOT_RENAMED)
def test_a_wrong_name_or_slug_is_refused_in_one_line(acme, slug, name, message):
    with pytest.raises(CommandError, match=message):
        run("tenant_rename", slug or acme.slug, name)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["showmigrations", "blog"], "[X] 0001_initial"),
        (["sqlmigrate", "blog", "0001"], "CREATE TABLE"),
        (["inspectdb", "blog_post"], "class BlogPost"),
        (["sqlflush"], "DELETE FROM"),
        (["dumpdata", "blog"], "[]"),
        (["migrate", "--plan"], "No planned migration operations"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_everyday_commands_work_on_one_tenant(acme, arguments, shown):
    assert shown in run(*arguments, database=tenant_alias(acme.slug))


def test_all_tenants_command_shows_every_tenants_result(acme, zeta):
    names = ("--tenant", acme.slug, "--tenant", zeta.slug)
    text = run("all_tenants_command", *names, "showmigrations", "blog")
    assert text.count("[X] 0001_initial") == 2
    assert "2 tenants, 0 failed." in text


def test_the_place_of_each_tenant_is_listed_and_what_a_move_has_not_erased(acme, zeta):
    TenantState.objects.filter(slug=acme.slug).update(jurisdiction="eu", location="weur", left_behind="")
    slugs = (acme.slug, zeta.slug)
    first, second = sorted(run("list_tenants", *slugs).splitlines()[1:-1])
    assert "eu (none not erased)" in first
    assert " none " in second
    row = json.loads(run("list_tenants", acme.slug, "--json"))
    assert (row["jurisdiction"], row["location"], row["left_behind"]) == ("eu", "weur", "")
