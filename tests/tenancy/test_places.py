"""Each tenant has a place: it is given at creation, found by every process, and never changed silently.

Jurisdictions are those of a stand-in, which the local runtime does not have.
"""

import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction

from accounts.models import Tenant
from blog.models import Post
from do_bridge.driver import OperationalError
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.models import TenantState
from do_bridge.tenancy import places, tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import refuse_elsewhere
from do_bridge.tenancy.lifecycle.provision import provision_noted
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.schema.errors import TenantElsewhere
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import unique_slug
from tests.tenancy.moves import clear, move, places_with_tables


@pytest.fixture
def slug(db):
    """A slug that nobody has; whatever a test makes of it is emptied."""
    made = unique_slug("p")
    yield made
    clear(made)


@pytest.fixture
def in_eu(slug, author):
    """The slug of a tenant in "eu" with a post, which this process knows."""
    create_tenant(slug, "Placed", [author], jurisdiction="eu")
    write(slug, author, "Before")
    ledger.reached(slug, code_fingerprint())
    return slug


@pytest.fixture
def seen(monkeypatch):
    """The databases of all requests from now on, without D1's."""
    request, found = RelaySession.request, []

    def note(self, message, deadline):
        if message.get("db", "").startswith("do:"):
            found.append(message["db"].partition("/")[2].rpartition("/")[2])
        return request(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", note)
    return found


def write(slug, author, title):
    with tenant_context(slug):
        return Post.objects.create(title=title, content="-", user_id=author.pk)


def titles(slug):
    return sorted(Post.objects.using(tenant_alias(slug)).values_list("title", flat=True))


def believe(slug, jurisdiction):
    """Let this process believe that a tenant is elsewhere, as one does that read the ledger before a move."""
    places.forget(slug)
    places.note(places._Row(slug, jurisdiction, "", 0))
    lookup.forget()


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


# At creation


@pytest.mark.parametrize("way", ["code", "command", "file", "field"])
def test_a_tenant_is_made_in_its_place(slug, author, tmp_path, seen, way):
    if way == "code":
        create_tenant(slug, "Placed", [author], jurisdiction="eu", location="weur")
    elif way == "command":
        run("create_tenant", slug, "--member", "ada", "--jurisdiction", "eu", "--location", "weur")
    elif way == "file":
        (tmp_path / "tenants.csv").write_text(f"{slug},Placed,ada\n")
        run("create_tenants", tmp_path / "tenants.csv", "--jurisdiction", "eu", "--location", "weur")
    else:
        create_tenant(slug, "Placed", [author], fields={"jurisdiction": "eu", "location": "weur"})
    row = leases.look(slug)
    assert (row.jurisdiction, row.location, row.left_behind) == ("eu", "weur", None)
    tenant = Tenant.objects.get(slug=slug)
    assert (tenant.jurisdiction, tenant.location) == ("eu", "weur")
    assert {name for name in seen if slug in name} == {f"{slug}@eu"}
    write(slug, author, "In its place")
    assert places_with_tables(slug) == ["eu"]


def test_a_row_that_is_added_alone_says_where_the_object_is_made(slug):
    Tenant.objects.create(slug=slug, name="By hand", jurisdiction="us", location="enam")
    row = leases.look(slug)
    assert (row.state, row.jurisdiction, row.location) == ("unused", "us", "enam")
    provision_noted(slug)
    assert places_with_tables(slug) == ["us"]


def test_the_hint_goes_with_the_call_that_makes_the_object_and_with_no_other(slug, author, monkeypatch):
    request, hints = RelaySession.request, []

    def note(self, message, deadline):
        if slug in message.get("db", ""):
            hints.append(message.get("location"))
        return request(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", note)
    create_tenant(slug, "Placed", [author], location="weur")
    assert hints == ["weur"]
    write(slug, author, "Later")
    assert set(hints[1:]) == {None}


def test_no_place_means_the_default_and_the_ledger_keeps_it(slug, settings, monkeypatch):
    monkeypatch.setattr(places, "default_jurisdiction", lambda: "eu")
    create_tenant(slug, "Placed")
    assert leases.look(slug).jurisdiction == "eu"
    assert Tenant.objects.get(slug=slug).jurisdiction == ""
    monkeypatch.undo()
    places.forget()
    assert titles(slug) == []
    assert places_with_tables(slug) == ["eu"]


def test_none_is_a_place_where_the_default_is_another(slug, monkeypatch):
    monkeypatch.setattr(places, "default_jurisdiction", lambda: "eu")
    create_tenant(slug, "Placed", jurisdiction="none")
    assert leases.look(slug).jurisdiction == ""
    assert places_with_tables(slug) == [""]


def test_an_unknown_place_is_refused_before_anything_is_made(slug):
    with pytest.raises(places.WrongPlace, match="jurisdiction is not one of none, eu, us, fedramp"):
        create_tenant(slug, jurisdiction="mars")
    with pytest.raises(places.WrongPlace, match="location is not one of wnam"):
        create_tenant(slug, location="mars")
    with pytest.raises(CommandError, match="invalid choice"):
        run("create_tenant", slug, "--jurisdiction", "mars")
    assert not leases.look(slug).fence


def test_a_project_without_the_field_has_one_place(slug, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "JURISDICTION_FIELD": None, "LOCATION_FIELD": None}
    with pytest.raises(places.WrongPlace, match="To place each tenant, set .*JURISDICTION_FIELD"):
        create_tenant(slug, jurisdiction="eu")
    create_tenant(slug, jurisdiction="none", location="weur")
    assert leases.look(slug).location == "weur"
    with pytest.raises(CommandError, match="All tenants of this project are in the jurisdiction 'none'"):
        move(slug, "eu")


def test_a_copy_is_made_where_its_source_is_and_a_load_where_it_is_told(in_eu, author, tmp_path):
    made = [unique_slug("p") for _ in range(3)]
    run("tenant_copy", in_eu, made[0])
    run("tenant_copy", in_eu, made[1], "--jurisdiction", "us")
    run("tenant_dump", in_eu, tmp_path / "dump.sqlite3")
    run("tenant_load", made[2], tmp_path / "dump.sqlite3", "--jurisdiction", "us", "--location", "enam")
    for slug, jurisdiction in zip(made, ("eu", "us", "us"), strict=True):
        assert leases.look(slug).jurisdiction == jurisdiction
        assert Tenant.objects.get(slug=slug).jurisdiction == jurisdiction
        assert titles(slug) == ["Before"]
        assert places_with_tables(slug) == [jurisdiction]
        clear(slug)


def test_a_tenant_that_was_deleted_may_come_back_elsewhere(in_eu, author, tmp_path):
    run("tenant_dump", in_eu, tmp_path / "dump.sqlite3")
    run("tenant_delete", in_eu, "--yes")
    assert places_with_tables(in_eu) == []
    create_tenant(in_eu, "Again", [author], jurisdiction="us")
    assert places_with_tables(in_eu) == ["us"]
    run("tenant_delete", in_eu, "--yes")
    # A load of what it was keeps to the last place, since nobody asks for another one.
    run("tenant_load", in_eu, tmp_path / "dump.sqlite3")
    assert (titles(in_eu), places_with_tables(in_eu)) == (["Before"], ["us"])


# Nobody changes it silently


def test_the_row_of_a_tenant_keeps_its_place(in_eu):
    tenant = Tenant.objects.get(slug=in_eu)
    for values in ({"jurisdiction": "us"}, {"jurisdiction": "none"}, {"location": "weur"}):
        with pytest.raises(DatabaseError, match="keeps the place .*manage.py tenant_move"):
            Tenant.objects.filter(pk=tenant.pk).update(**values)
    Tenant.objects.filter(pk=tenant.pk).update(name="Renamed")
    assert leases.look(in_eu).jurisdiction == "eu"


def test_creating_a_tenant_that_exists_elsewhere_names_both_places_and_the_way(in_eu):
    for asked in ("us", "none"):
        text = (
            f"^Tenant '{in_eu}' exists already in the jurisdiction 'eu', and '{asked}' was asked for. "
            f"To move it, run `manage.py tenant_move {in_eu} --jurisdiction {asked}`.$"
        )
        with pytest.raises(CommandError, match=text):
            run("create_tenant", in_eu, "--jurisdiction", asked)
        with pytest.raises(places.WrongPlace, match=text):
            create_tenant(in_eu, jurisdiction=asked)
    with pytest.raises(CommandError, match="location 'none', and 'weur' was asked for. A location can't"):
        run("create_tenant", in_eu, "--jurisdiction", "eu", "--location", "weur")
    assert "already exists" in run("create_tenant", in_eu, "--jurisdiction", "eu")
    assert (leases.look(in_eu).jurisdiction, Tenant.objects.get(slug=in_eu).jurisdiction) == ("eu", "eu")


def test_creating_a_tenant_again_without_its_location_keeps_the_location(slug, author):
    create_tenant(slug, "Placed", [author], jurisdiction="eu", location="weur")
    assert "already exists" in run("create_tenant", slug, "--jurisdiction", "eu")
    assert Tenant.objects.get(slug=slug).location == leases.look(slug).location == "weur"


def test_a_file_makes_its_other_tenants_if_one_exists_elsewhere(in_eu, tmp_path):
    slug = unique_slug("p")
    (tmp_path / "tenants.csv").write_text(f"{in_eu}\n{slug}\n")
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {in_eu}"):
        call_command(
            "create_tenants", str(tmp_path / "tenants.csv"), "--jurisdiction", "us", stdout=out, stderr=out
        )
    assert "exists already in the jurisdiction 'eu', and 'us' was asked for" in out.getvalue()
    assert leases.look(slug).jurisdiction == "us"
    clear(slug)


def test_a_load_that_replaces_refuses_another_place(in_eu, tmp_path):
    run("tenant_dump", in_eu, str(tmp_path / "dump.sqlite3"))
    for option in (["--jurisdiction", "us"], ["--location", "weur"]):
        with pytest.raises(CommandError, match="--replace keeps a tenant where it is. .*tenant_move"):
            run("tenant_load", in_eu, str(tmp_path / "dump.sqlite3"), "--replace", "--yes", *option)


# How it is found


def test_the_place_comes_with_the_row_of_the_tenant(in_eu, count_trips):
    places.forget()
    lookup.forget()
    connections[tenant_alias(in_eu)].close()
    with count_trips() as trips:
        lookup.get(in_eu)
        assert trips.count == 1
        assert titles(in_eu) == ["Before"]
        assert trips.count == 2


def test_without_the_row_the_place_is_read_once(in_eu, count_trips):
    places.forget()
    connections[tenant_alias(in_eu)].close()
    with count_trips() as trips:
        assert titles(in_eu) == ["Before"]
        assert trips.count == 2
        connections[tenant_alias(in_eu)].close()
        assert titles(in_eu) == ["Before"]
        assert trips.count == 3


def test_a_project_without_the_field_looks_nothing_up(slug, author, settings, count_trips):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "JURISDICTION_FIELD": None, "LOCATION_FIELD": None}
    create_tenant(slug, "One place", [author])
    places.forget()
    connections[tenant_alias(slug)].close()
    with count_trips() as trips:
        assert titles(slug) == []
        assert trips.count == 1


# Stale processes


def test_a_process_that_knows_an_older_place_goes_on_in_the_new_one(in_eu, author, seen):
    assert titles(in_eu) == ["Before"]
    move(in_eu, "us")
    believe(in_eu, "eu")
    seen.clear()
    write(in_eu, author, "After")
    assert seen[0] == f"{in_eu}@eu"
    assert seen[-1] == f"{in_eu}@us"
    assert titles(in_eu) == ["After", "Before"]
    assert places_with_tables(in_eu) == ["us"]


def test_a_place_is_known_to_other_threads_while_the_ledger_is_read_again(in_eu, author, monkeypatch):
    """Without one, a thread that has just read it would send its request to the old place once more."""
    known, look = [], leases.look

    def watched(slug):
        known.append(places.noted(slug))
        return look(slug)

    move(in_eu, "us")
    believe(in_eu, "eu")
    monkeypatch.setattr(leases, "look", watched)
    write(in_eu, author, "After")
    assert known
    assert None not in known
    assert places.noted(in_eu).jurisdiction == "us"


def test_a_ledger_that_went_back_is_believed(in_eu, author):
    """D1 was restored: what this process knows of a later move is not in it."""
    places.note(places._Row(in_eu, "us", "", 2**50))
    lookup.forget()
    write(in_eu, author, "After")
    assert titles(in_eu) == ["After", "Before"]


def test_a_transaction_begins_in_the_new_place(in_eu, author):
    move(in_eu, "us")
    believe(in_eu, "eu")
    connections[tenant_alias(in_eu)].close()
    with transaction.atomic(using=tenant_alias(in_eu)):
        write(in_eu, author, "One")
        write(in_eu, author, "Two")
    assert titles(in_eu) == ["Before", "One", "Two"]
    assert places_with_tables(in_eu) == ["us"]


@pytest.mark.parametrize("way", ["migrate", "catch up", "create", "fleet", "use"])
def test_a_stale_process_makes_no_tables_in_the_old_place(in_eu, way):
    move(in_eu, "us")
    believe(in_eu, "eu")
    connections[tenant_alias(in_eu)].close()
    if way == "migrate":
        run("migrate", "--database", tenant_alias(in_eu), "--noinput")
    elif way == "catch up":
        provision_noted(in_eu)
    elif way == "create":
        create_tenant(in_eu)
    elif way == "fleet":
        TenantState.objects.filter(slug=in_eu).update(fingerprint="")
        run("migrate", "--database", "tenant", "--noinput", "--tenant", in_eu)
    assert titles(in_eu) == ["Before"]
    assert places_with_tables(in_eu) == ["us"]


def test_under_a_lease_nothing_is_made_elsewhere(in_eu):
    lease = leases.take_many([leases.look(in_eu)], Operation.MIGRATE, seconds=0)[in_eu]
    believe(in_eu, "us")
    with pytest.raises(DatabaseError, match="was moved while 'migrate' ran"):
        refuse_elsewhere(lease)


def test_an_older_reading_of_the_ledger_does_not_replace_a_later_one(in_eu):
    before = leases.look(in_eu)
    move(in_eu, "us")
    places.note(before)
    assert places.noted(in_eu).jurisdiction == "us"


def test_a_process_with_another_default_gets_an_error_that_names_the_setting(in_eu, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "JURISDICTION_FIELD": None, "LOCATION_FIELD": None}
    for _ in range(2):
        places.forget()
        connections[tenant_alias(in_eu)].close()
        with pytest.raises(
            TenantElsewhere, match=r"in the jurisdiction 'eu'.*RELAY_JURISDICTION.*tenant_move"
        ):
            titles(in_eu)
    assert places_with_tables(in_eu) == ["eu"]
    # It can be moved to where the settings look for it.
    move(in_eu, "none")
    places.forget()
    assert titles(in_eu) == ["Before"]


# Writes whose answers are lost


def lose_answer(monkeypatch, text, then):
    """Lose the answer of the first request with `text`, and run `then()` before it is sent again."""
    from do_bridge import driver

    request, lost = RelaySession.request, []

    def lose(self, message, deadline):
        answer = request(self, message, deadline)
        if not lost and text in str(message.get("steps")):
            lost.append(message)
            other = threading.Thread(target=in_another_thread, args=(then,))
            other.start()
            other.join(60)
            raise driver.OperationalError("The answer is lost", effect="unknown", transient=True)
        return answer

    monkeypatch.setattr(RelaySession, "request", lose)
    return lost


def in_another_thread(work):
    try:
        work()
    finally:
        connections.close_all()


def test_a_write_that_is_sent_again_after_a_move_runs_once(in_eu, author, monkeypatch):
    lost = lose_answer(monkeypatch, "only once", lambda: move(in_eu, "us"))
    made = write(in_eu, author, "only once")
    assert lost
    assert titles(in_eu) == ["Before", "only once"]
    assert Post.objects.using(tenant_alias(in_eu)).get(title="only once").pk == made.pk
    assert places_with_tables(in_eu) == ["us"]


def test_a_commit_whose_answer_was_lost_before_a_move_is_not_reported_as_undone(in_eu, author, monkeypatch):
    lost = lose_answer(monkeypatch, "'commit'", lambda: move(in_eu, "us"))
    unknown = pytest.raises(DatabaseError, match="outcome of the commit is unknown")
    with unknown, transaction.atomic(using=tenant_alias(in_eu)):
        write(in_eu, author, "One")
        write(in_eu, author, "Two")
    assert lost
    assert titles(in_eu) == ["Before", "One", "Two"]


def test_a_relay_of_another_jurisdiction_refuses_and_nothing_is_made(in_eu, own_worker):
    worker = own_worker(variables={"JURISDICTION": "us"}).start()
    from do_bridge.driver import Connection
    from do_bridge.driver.transports.relay import RelayTransport

    transport = RelayTransport(worker.url, worker.token)
    try:
        connection = Connection(transport, f"do:test/tenants/{in_eu}@eu")
        with pytest.raises(OperationalError, match="serves the jurisdiction us alone"):
            connection.execute("SELECT 1")
    finally:
        transport.close()


def test_the_connection_of_a_tenant_in_a_place_is_named_by_it(in_eu):
    with connected(tenant_alias(in_eu)) as connection:
        assert connection.database.endswith(f"/{in_eu}@eu")
