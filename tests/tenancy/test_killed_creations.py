"""A creation that never reached the object: whatever comes next makes it, with the members' copies."""

import signal

import pytest
from django.conf import settings
from django.core.management import call_command

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.provision import template_dump
from do_bridge.tenancy.lifecycle.states import State
from do_bridge.tenancy.schema.fingerprint import META_TABLE, code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.lost_rows import lose_row
from tests.tenancy.processes import finish, start


@pytest.fixture
def slug(db, author):
    """A slug whose creation was killed after its row, and before its object."""
    slug = unique_slug("cut-off")
    template_dump()
    kill("create_tenant", slug, "--member", "ada", at=(the_object(slug), "", 1, False))
    yield slug
    empty_object(tenant_alias(slug))


def the_object(slug):
    return f"do:{settings.DATABASES['tenant']['NAME']}/{slug}"


def kill(*arguments, at):
    code, output = finish(start(*arguments, kill=at))
    assert code == -signal.SIGKILL, output


def copies_after_use(slug):
    lookup.forget()
    assert lookup.get(slug) is not None
    Post.objects.using(tenant_alias(slug)).count()
    # A second look-up follows the dirty flags.
    lookup.forget()
    assert lookup.get(slug) is not None
    return list(User.objects.using(tenant_alias(slug)).values_list("username", flat=True))


def test_a_move_to_where_it_is_makes_the_object(slug):
    call_command("tenant_move", slug, "--jurisdiction", "none", verbosity=0)
    row = leases.look(slug)
    assert (row.state, row.operation, row.fingerprint) == (State.READY, "", code_fingerprint())
    assert copies_after_use(slug) == ["ada"]


@pytest.mark.parametrize("sent", [False, True], ids=["before the object", "after the object"])
@pytest.mark.parametrize(
    "command",
    [
        ("migrate", "--noinput", "--database", "tenant/{}"),
        ("create_tenant", "{}"),
        ("tenant_move", "{}", "--jurisdiction", "none"),
    ],
    ids=" ".join,
)
def test_a_second_kill_loses_no_member(slug, command, sent):
    words = [word.format(slug) for word in command]
    kill(*words, at=(the_object(slug), "CREATE TABLE", 1, sent))
    assert copies_after_use(slug) == ["ada"]
    assert leases.look(slug).state == State.READY


def test_members_of_an_object_that_was_being_taken_over_are_copied(acme, author):
    lose_row(acme.slug)
    ledger.forget(acme.slug)
    words = ("create_tenant", acme.slug, "--adopt", "--member", "ada")
    kill(*words, at=(the_object(acme.slug), f"INSERT INTO {META_TABLE}", 2, True))
    assert leases.look(acme.slug).operation == "create"
    assert copies_after_use(acme.slug) == ["ada"]
