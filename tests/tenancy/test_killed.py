"""SIGKILL amid commands: the ledger is true or says "in progress", and the same command repairs."""

import signal
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from accounts.models import Membership, Tenant
from blog.models import Post
from do_bridge.members.syncing import add_member
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant, unchecked
from do_bridge.tenancy.lifecycle.provision import template_dump
from do_bridge.tenancy.lifecycle.states import Do, Operation, next_step
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, of
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy import newer_code
from tests.tenancy.newer_code import NAME, RATING
from tests.tenancy.processes import finish, start

D1 = "d1:"
ONE_PAGE = 4096


@pytest.fixture
def slugs(empty_ledger):
    """Makes slugs that nobody has; what tests make of them is emptied."""
    made = []

    def make(number):
        prefix = unique_slug("k")[:10]
        made.extend(f"{prefix}-{index}" for index in range(number))
        return made[-number:]

    yield make
    for slug in made:
        empty_object(tenant_alias(slug))
        tenant_databases().release(tenant_alias(slug))


def the_object(slug):
    """Return how the names of a tenant's object begin on the wire, or of those of several."""
    return f"do:{settings.DATABASES['tenant']['NAME']}/{slug}"


def killed(commands, points, **options):
    """Run commands at once, each in a process that is killed at its point."""
    pairs = zip(commands, points, strict=True)
    processes = [start(*command, kill=point, **options) for command, point in pairs]
    for code, output in [finish(process) for process in processes]:
        assert code == -signal.SIGKILL, output


def checked(slug):
    """Return "ready" or "deleted" where the ledger and the object say so, or what is not finished."""
    row = leases.look(slug)
    held = read_tenant(slug)
    step = next_step(row, held, Operation.MIGRATE)
    if not row.fence or (row.state == ledger.DELETED and not row.operation):
        assert not row.is_registered
        assert not held.has_tables
        return None if not row.fence else ledger.DELETED
    if row.operation in ("", Operation.CREATE) and step == Do.KEEP:
        assert row.fingerprint == held.fingerprint == of(held.applied)
        assert row.is_registered
        return ledger.READY
    assert row.operation
    return row.operation


def run(*arguments):
    out = StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


def titles(slug):
    return list(Post.objects.using(tenant_alias(slug)).values_list("title", flat=True))


def test_creating_many(slugs, author, tmp_path):
    template_dump()
    groups = [slugs(3) for _ in range(4)]
    files = [tmp_path / f"{group[0]}.csv" for group in groups]
    for file, group in zip(files, groups, strict=True):
        file.write_text("\n".join(f"{slug},The {slug},ada" for slug in group))
    points = [
        (the_object(groups[0][0]), "", 1, False),
        (the_object(groups[1][1]), "", 1, True),
        (D1, 'INSERT INTO \\"accounts_tenant\\"', 1, False),
        (D1, 'INSERT INTO \\"accounts_tenant\\"', 1, True),
    ]
    killed([("create_tenants", file, "--jobs", "1") for file in files], points)
    for made, (file, group) in zip((0, 2, None, 0), zip(files, groups, strict=True), strict=True):
        left = [None] * 3 if made is None else [ledger.READY] * made + ["create"] * (3 - made)
        assert [checked(slug) for slug in group] == left
        assert Tenant.objects.filter(slug__in=group).count() == (0 if made is None else 3)
        assert "3 tenants, 0 failed" in run("create_tenants", file)
        assert {checked(slug) for slug in group} == {ledger.READY}
        assert Membership.objects.filter(tenant__slug__in=group, user=author).count() == 3


@pytest.fixture
def source(acme, author, tmp_path):
    """A tenant with a member and a post, and its dump."""
    add_member(author, acme)
    with tenant_context(acme):
        Post.objects.create(title="Kept", content="-", user_id=author.pk)
    dump_tenant(acme.slug, tmp_path / "source.sqlite3")
    return acme


def test_loading(source, slugs, tmp_path):
    made, file = slugs(5), tmp_path / "source.sqlite3"
    points = [
        (the_object(made[0]), "CREATE TABLE", 2, True),
        (the_object(made[1]), "INSERT INTO", 5, True),
        (the_object(made[2]), "INSERT OR REPLACE INTO _do_bridge_meta", 1, False),
        (the_object(made[3]), "INSERT OR REPLACE INTO _do_bridge_meta", 1, True),
        (D1, 'INSERT INTO \\"accounts_tenant\\"', 1, True),
    ]
    killed([("tenant_load", slug, file) for slug in made], points)
    for slug in made:
        assert checked(slug) == "load"
        run("tenant_load", slug, file)
        assert checked(slug) == ledger.READY
        assert Tenant.objects.filter(slug=slug).exists()
        assert titles(slug) == ["Kept"]


def test_copying(source, slugs, author):
    made = slugs(3)
    points = [
        (the_object(made[0]), "INSERT INTO", 2, True),
        (the_object(made[1]), "INSERT OR REPLACE INTO _do_bridge_meta", 1, True),
        (D1, 'INTO \\"accounts_membership\\"', 1, False),
    ]
    killed([("tenant_copy", source.slug, slug) for slug in made], points)
    for slug in made:
        assert checked(slug) == "copy"
        run("tenant_copy", source.slug, slug)
        assert checked(slug) == ledger.READY
        assert titles(slug) == ["Kept"]
        assert Membership.objects.get(tenant__slug=slug).user == author


def test_deleting(slugs, author, tmp_path):
    made = slugs(9)
    for slug in made:
        create_tenant(slug, slug, [author])
    erase, dumped = '"op": "erase"', the_object(made[7])
    points = [
        (D1, "INSERT INTO", 1, True),
        (the_object(made[1]), erase, 1, False),
        (the_object(made[2]), erase, 1, True),
        (D1, "DELETE FROM", 1, False),
        (D1, "DELETE FROM", 1, True),
        (the_object(made[5]), erase, 2, False),
        (the_object(made[6]), erase, 2, True),
        (dumped, "DROP TABLE", 1, True),
        (the_object(made[8]), erase, 1, False),
    ]
    commands = [("tenant_delete", slug, "--yes") for slug in made]
    for index in (7, 8):
        commands[index] += ("--dump", tmp_path / f"{made[index]}.sqlite3")
    killed(commands, points)
    states = [checked(slug) for slug in made]
    assert states == [*["delete"] * 4, *[ledger.DELETED] * 3, *["delete"] * 2]
    for slug in made:
        # A deletion that had ended can be run again, too.
        run("tenant_delete", slug, "--yes")
        assert checked(slug) == ledger.DELETED
        with unchecked(tenant_alias(slug)), connected(tenant_alias(slug)) as connection:
            assert connection.size() <= ONE_PAGE
    assert not Membership.objects.exists()
    create_tenant(made[0])
    assert checked(made[0]) == ledger.READY


def times_applied(slug):
    alias = tenant_alias(slug)
    with unchecked(alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE name = %s", [NAME])
        return cursor.fetchone()[0]


def migrate(group, *arguments):
    chosen = [word for slug in group for word in ("--tenant", slug)]
    return ["migrate", "--database", "tenant", "--noinput", *chosen, *arguments]


@pytest.mark.parametrize("way", ["forwards", "backwards", "faked"])
def test_migrating_many(slugs, tmp_path, way):
    arguments = {"forwards": [], "backwards": ["blog", "0001"], "faked": ["--fake"]}[way]
    groups = [slugs(3) for _ in range(3)]
    for group in groups:
        for slug in group:
            create_tenant(slug)
        ledger.reached(group, code_fingerprint())
    with newer_code.newer_code(tmp_path, RATING):
        if way == "backwards":
            run(*migrate([slug for group in groups for slug in group]))
        prefixes = [the_object(group[0].rpartition("-")[0]) for group in groups]
        points = [
            (prefixes[0], "INSERT OR REPLACE INTO _do_bridge_meta", 2, False),
            (prefixes[1], "INSERT OR REPLACE INTO _do_bridge_meta", 2, True),
            (D1, "SET state = value->>2", 1, False),
        ]
        commands = [migrate(group, "--jobs", "2", *arguments) for group in groups]
        killed(commands, points, folder=tmp_path)
        for group in groups:
            assert {checked(slug) for slug in group} == {"migrate"}
            assert "3 tenants, 0 failed" in run(*migrate(group, *arguments))
            assert {checked(slug) for slug in group} == {ledger.READY}
            assert {times_applied(slug) for slug in group} == {0 if way == "backwards" else 1}
