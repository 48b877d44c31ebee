"""SIGKILL amid a move, on a stand-in for jurisdictions: all rows are there once, none is left."""

import os
import signal

import pytest
from django.conf import settings

from blog.models import Post
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.states import MOVING
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import unique_slug
from tests.tenancy.moves import clear, move, places_with_tables
from tests.tenancy.processes import finish, start

D1 = "d1:"
# (the object or D1, text of the request, which one of those, whether it is sent), in the order of a move.
STEPS = {
    "lease taken": (D1, "INSERT INTO", 1, True),
    "freezing": ("", MOVING, 1, False),
    "frozen": ("", MOVING, 1, True),
    "dumping": ("", "ORDER BY", 5, True),
    "target noted": (D1, "SET left_behind", 1, True),
    "filling begun": ("@eu", "CREATE TABLE _do_bridge_load", 1, True),
    "filling": ("@eu", "_do_bridge_load SET done", 3, True),
    "keys copied": ("@eu", "INTO _do_bridge_keys", 1, True),
    "filled": ("@eu", "DROP TABLE _do_bridge_load", 1, True),
    "switching": (D1, "SET jurisdiction", 1, False),
    "switched": (D1, "SET jurisdiction", 1, True),
    "thawed": ("@eu", f'"expect": "{MOVING}"', 1, True),
    "erasing": ("", '"op": "erase"', 2, False),
    "erased": ("", '"op": "erase"', 2, True),
    "ended": (D1, "SET left_behind", 2, True),
}
BEFORE = list(STEPS)[: list(STEPS).index("switched")]
AT_ONCE = 4
#: What comes after a kill. Each takes its part of the steps, or all of them in `make long`.
FOLLOWED_BY = 5
PARTS = int(os.environ.get("MOVE_KILL_PARTS", FOLLOWED_BY))


@pytest.fixture
def kill(db, author):
    """kill(part): {step: slug} of tenants with a post each, whose moves to "eu" were killed at each step."""
    made = {}

    def run(part):
        steps = list(STEPS)[part % PARTS :: PARTS]
        for step in steps:
            made[step] = slug = unique_slug("k")
            create_tenant(slug, slug, [author])
            with tenant_context(slug):
                Post.objects.create(title="Kept", content="-", user_id=author.pk)
        _kill(made, steps)
        return made

    yield run
    for slug in made.values():
        clear(slug)
        tenant_databases().release(tenant_alias(slug))


def _kill(made, steps):
    while steps:
        processes = []
        for step in steps[:AT_ONCE]:
            slug, (to, text, at, sent) = made[step], STEPS[step]
            whole = to if to == D1 else f"do:{settings.DATABASES['tenant']['NAME']}/{slug}{to}"
            order = ("tenant_move", slug, "--jurisdiction", "eu")
            processes.append((step, start(*order, kill=(whole, text, at, sent))))
        del steps[:AT_ONCE]
        for step, process in processes:
            code, output = finish(process)
            assert code == -signal.SIGKILL, f"{step}: {output}"


def titles(slug):
    return list(Post.objects.using(tenant_alias(slug)).values_list("title", flat=True))


def place(slug):
    row = leases.look(slug)
    assert (row.state, row.operation, row.left_behind) == (ledger.READY, "", None)
    return row.jurisdiction


def test_the_next_first_use_finds_the_rows_and_the_same_move_ends_it(kill):
    for step, slug in kill(0).items():
        lookup.forget()
        assert lookup.get(slug) is not None, step
        assert titles(slug) == ["Kept"], step
        assert leases.look(slug).jurisdiction == ("" if step in BEFORE else "eu"), step
        move(slug, "eu")
        assert place(slug) == "eu", step
        assert titles(slug) == ["Kept"], step
        assert places_with_tables(slug) == ["eu"], step


def test_the_same_move_ends_it(kill):
    for step, slug in kill(1).items():
        move(slug, "eu")
        assert place(slug) == "eu", step
        assert places_with_tables(slug) == ["eu"], step
        assert titles(slug) == ["Kept"], step


def test_a_move_elsewhere_takes_the_rows_there(kill):
    for step, slug in kill(2).items():
        move(slug, "us")
        assert place(slug) == "us", step
        assert places_with_tables(slug) == ["us"], step
        assert titles(slug) == ["Kept"], step


def test_a_move_back_takes_the_rows_back(kill):
    for step, slug in kill(3).items():
        move(slug, "none")
        assert place(slug) == "", step
        assert places_with_tables(slug) == [""], step
        assert titles(slug) == ["Kept"], step


def test_a_deletion_erases_both_objects(kill):
    from django.core.management import call_command

    for step, slug in kill(4).items():
        call_command("tenant_delete", slug, "--yes", verbosity=0)
        assert leases.look(slug).state == ledger.DELETED, step
        assert places_with_tables(slug) == [], step
