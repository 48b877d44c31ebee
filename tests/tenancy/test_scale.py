"""Many tenants: provisioned, migrated, interrupted, continued; 60 of them, or SCALE_TENANTS."""

import os
import signal
import threading
import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Membership, Tenant, User
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.members.models import DirtyFlag
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import template_dump
from do_bridge.tenancy.replicated import contenttypes
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy import newer_code
from tests.tenancy.cut_off import cut_off
from tests.tenancy.newer_code import INDEX, NAME, PYTHON, RATING

NUMBER = int(os.environ.get("SCALE_TENANTS", "60"))


class Requests:
    """The requests of the relay's sessions: which databases they went to; may press Ctrl-C at one of them."""

    def __init__(self):
        self.databases = []
        self.interrupt_at = None
        self._lock = threading.Lock()

    @property
    def to_objects(self):
        return [name for name in self.databases if name.startswith("do:")]

    def slugs(self):
        return {name.rpartition("/")[2] for name in self.to_objects}

    def note(self, message):
        with self._lock:
            self.databases.append(message.get("db", ""))
            if message.get("db", "").startswith("do:") and len(self.to_objects) == self.interrupt_at:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.fixture
def requests(monkeypatch):
    """What is sent while the test runs."""
    made = Requests()
    send = RelaySession.request

    def request(self, message, deadline):
        made.note(message)
        return send(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    return made


@pytest.fixture
def remembered_rows(monkeypatch, db):
    """Let the directory's content types be read once, as outside of test runs."""
    monkeypatch.setattr(contenttypes, "in_test_environment", lambda: False)
    contenttypes.forget_directory_rows()
    template_dump()
    contenttypes.directory_rows()
    yield
    contenttypes.forget_directory_rows()


@pytest.fixture
def fleet(remembered_rows, author, tmp_path):
    """The slugs of so many tenants, made from a file; their objects are emptied afterwards."""

    def make(number=NUMBER):
        prefix = unique_slug("s")[:9]
        made = [f"{prefix}-{index:05}" for index in range(number)]
        slugs.extend(made)
        file = tmp_path / "tenants.csv"
        lines = ["slug,name,members", *(f"{slug},The {slug},ada" for slug in made)]
        file.write_text("\n".join(lines), encoding="utf-8")
        return made, file

    slugs = []
    yield make
    for slug in slugs:
        empty_object(tenant_alias(slug))
        tenant_databases().release(tenant_alias(slug))


def run(command, *arguments, **options):
    """Run a command; return (output, seconds)."""
    out = StringIO()
    start = time.monotonic()
    try:
        call_command(command, *arguments, stdout=out, stderr=out, **options)
    except CommandError as error:
        error.output = out.getvalue()
        raise
    finally:
        seconds = time.monotonic() - start
        print(f"\n{command} {' '.join(map(str, arguments))}: {seconds:.1f} s")  # noqa: T201
    return out.getvalue(), seconds


def migrate(*arguments):
    return run("migrate", "--database", "tenant", *arguments, interactive=False)[0]


def times_applied(slugs):
    """Return {slug: how often the newer migration is recorded}, asked of the objects themselves."""
    found = {}
    with unchecked():
        for slug in slugs:
            alias = tenant_alias(slug)
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT count(*) FROM django_migrations WHERE name = %s", [NAME])
                found[slug] = cursor.fetchone()[0]
            tenant_databases().release(alias)
    return found


def applied_at(slugs):
    """Return when the newer migration was applied, as the objects say."""
    with unchecked():
        for slug in slugs:
            with connections[tenant_alias(slug)].cursor() as cursor:
                cursor.execute("SELECT applied FROM django_migrations WHERE name = %s", [NAME])
                yield cursor.fetchone()[0]


def slugs_at(fingerprint):
    # Test databases of other modules stand in the ledger, but have no row in the directory.
    registered = Tenant.objects.values("slug")
    rows = TenantState.objects.filter(state="ready", fingerprint=fingerprint, slug__in=registered)
    return set(rows.values_list("slug", flat=True))


def break_object(slug):
    """Make the newer migration fail in one tenant."""
    alias = tenant_alias(slug)
    with unchecked(), connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE blog_post ADD COLUMN rating integer")
    tenant_databases().release(alias)


@pytest.mark.timeout(1200 if NUMBER > 100 else 120)
def test_many_are_made_and_a_migration_over_them_is_interrupted_and_continued(
    fleet, requests, tmp_path, empty_ledger
):
    slugs, file = fleet()
    before = len(requests.databases)
    assert f"{NUMBER} tenants, 0 failed: {NUMBER} created" in run("create_tenants", str(file))[0]
    assert len(requests.databases) - before <= 2 * NUMBER
    assert len(requests.to_objects) == NUMBER
    assert slugs_at(code_fingerprint()) == set(slugs)
    assert Membership.objects.filter(tenant__slug__in=slugs, user__username="ada").count() == NUMBER
    assert User.objects.using(tenant_alias(slugs[-1])).get().username == "ada"

    # Nothing to do: no object is asked.
    asked = len(requests.to_objects)
    before = len(requests.databases)
    assert f"{NUMBER} tenants, 0 failed: 0 migrated, {NUMBER} already up to date" in migrate()
    assert len(requests.to_objects) == asked
    assert len(requests.databases) - before <= 3

    with newer_code.newer_code(tmp_path, RATING, INDEX):
        old_slugs = set(slugs)
        requests.databases.clear()
        requests.interrupt_at = NUMBER // 2
        with pytest.raises(CommandError, match="Interrupted after") as caught:
            migrate("--jobs", "3")
        assert caught.value.returncode == 130
        requests.interrupt_at = None
        done = slugs_at(code_fingerprint())
        assert 0 < len(done) < NUMBER
        assert not TenantState.objects.filter(operation="migrate").exists()
        applied = times_applied(slugs)
        assert {slug for slug, times in applied.items() if times} == done

        broken = sorted(old_slugs - done)[1]
        break_object(broken)
        requests.databases.clear()
        with pytest.raises(CommandError, match=f"1 of {NUMBER} tenants failed: {broken}") as caught:
            migrate("--jobs", "3")
        assert "duplicate column name" in caught.value.output
        # Those that were done are not touched again.
        assert requests.slugs() == old_slugs - done
        # Each tenant's own time, not that of the one whose statements the others got.
        assert len(set(applied_at(sorted(old_slugs - {broken})[:5]))) == 5
        assert times_applied(slugs) == {slug: int(slug != broken) for slug in slugs}
        state = ledger.states(broken)[broken]
        assert (state.status, "duplicate column name" in state.error) == ("migrate failed", True)

        with unchecked(), connections[tenant_alias(broken)].cursor() as cursor:
            cursor.execute("ALTER TABLE blog_post DROP COLUMN rating")
        requests.databases.clear()
        assert f"{NUMBER} tenants, 0 failed: 1 migrated" in migrate()
        assert requests.slugs() == {broken}
        assert slugs_at(code_fingerprint()) == set(slugs)


def test_an_interrupted_creation_leaves_each_tenant_whole_or_unmade_and_is_continued(fleet, requests):
    slugs, file = fleet(12)
    requests.interrupt_at = 4
    with pytest.raises(CommandError, match="Interrupted with .* not done") as caught:
        run("create_tenants", str(file), "--jobs", "2")
    assert caught.value.returncode == 130
    made = set(Tenant.objects.filter(slug__in=slugs).values_list("slug", flat=True))
    assert made == requests.slugs() == slugs_at(code_fingerprint())
    assert 4 <= len(made) < 12
    requests.interrupt_at = None
    assert f"12 tenants, 0 failed: {12 - len(made)} created" in run("create_tenants", str(file))[0]
    assert slugs_at(code_fingerprint()) == set(slugs)


def test_a_tenant_is_at_head_and_has_its_first_member_after_two_round_trips(
    remembered_rows, author, count_trips
):
    slug = unique_slug("two")
    with count_trips() as trips:
        tenant, created, how = create_tenant(slug, "Two & Co", [author])
    assert (trips.count, created, how) == (2, True, "provisioned")
    assert Tenant.objects.get(slug=slug) == tenant
    assert Membership.objects.get(tenant=tenant).user == author
    assert not DirtyFlag.objects.filter(slug=tenant.slug).exists()
    assert User.objects.using(tenant_alias(slug)).get().pk == author.pk
    assert ledger.is_at(ledger.states(slug)[slug], code_fingerprint())
    again = create_tenant(slug, "Two & Sons", [author])
    assert (again[0].pk, again[1], again[2]) == (tenant.pk, False, "migrated")
    assert Tenant.objects.get(slug=slug).name == "Two & Sons"
    empty_object(tenant_alias(slug))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("one\nTWO", "Line 2.*lower-case.*Nothing was created"),
        ("one\none", "Line 2 repeats the slug 'one'"),
        ("one,One,nobody", "User 'nobody' does not exist. Nothing was created"),
        ("one,One,ada,more", "Line 1 has more than three columns"),
        ('one,"One\ntwo,Two\nthree,Three', "Line 3: unexpected end of data. Nothing was created"),
        ("one," + "x" * 200_000, "Line 1: field larger than field limit"),
    ],
)
def test_a_file_with_a_wrong_line_makes_nothing(author, tmp_path, requests, lines, message):
    (tmp_path / "wrong.csv").write_text(lines)
    with pytest.raises(CommandError, match=message):
        run("create_tenants", str(tmp_path / "wrong.csv"))
    assert requests.to_objects == []
    assert not Tenant.objects.exists()


def test_the_ledger_has_a_lease_while_a_migration_runs_either_way_and_faked_too(fleet, tmp_path):
    slugs, file = fleet(3)
    run("create_tenants", str(file))
    seen = []

    def listen(alias):
        slug = alias.rpartition("/")[2]
        state = ledger.states(slug)[slug]
        seen.append((slug, state.state, state.operation))

    with newer_code.newer_code(tmp_path, RATING, PYTHON):
        newer_code.heard.append(listen)
        migrate("--tenant", slugs[0], "--tenant", slugs[2])
        assert sorted(seen) == [(slug, "ready", "migrate") for slug in (slugs[0], slugs[2])]
        assert times_applied(slugs) == {slugs[0]: 1, slugs[1]: 0, slugs[2]: 1}
        seen.clear()
        migrate("blog", "0001")
        assert sorted(seen) == [(slug, "ready", "migrate") for slug in (slugs[0], slugs[2])]
        assert times_applied(slugs) == dict.fromkeys(slugs, 0)
        seen.clear()
        migrate("--fake")
        assert seen == []
        assert times_applied(slugs) == dict.fromkeys(slugs, 1)
        assert slugs_at(code_fingerprint()) == set(slugs)


def test_backwards_too_those_that_are_there_already_are_not_touched(fleet, requests, tmp_path):
    slugs, file = fleet(4)
    run("create_tenants", str(file))
    with newer_code.newer_code(tmp_path, RATING):
        migrate("--tenant", slugs[0])
        requests.databases.clear()
        assert "4 tenants, 0 failed: 1 migrated, 3 already up to date" in migrate("blog", "0001")
        assert requests.slugs() == {slugs[0]}


def test_a_tenant_with_a_half_unapplied_migration_gets_no_later_one_from_the_others(fleet, tmp_path, caplog):
    slugs, file = fleet(3)
    run("create_tenants", str(file))
    half = (RATING, PYTHON, INDEX)
    caplog.set_level("INFO", "do_bridge.migrations")
    with newer_code.newer_code(tmp_path, *half, name="0098_half", atomic=False):
        migrate()
        newer_code.heard.append(fail)
        with pytest.raises(CommandError, match="1 of 1 tenants failed"):
            migrate("blog", "0001", "--tenant", slugs[1])
        newer_code.heard.clear()
        later = 'migrations.AddField("post", "stars", models.IntegerField(null=True))'
        with newer_code.newer_code(tmp_path, later):
            with pytest.raises(CommandError, match=f"1 of 3 tenants failed: {slugs[1]}") as caught:
                migrate("--jobs", "1")
            assert "0098_half was interrupted while it was unapplied" in caught.value.output
            refused = [text for text in caplog.messages if "one by one" in text]
            assert [slugs[1] in text for text in refused] == [True]
            assert times_applied(slugs) == {slugs[0]: 1, slugs[1]: 0, slugs[2]: 1}
            migrate("blog", "0001", "--tenant", slugs[1])
            assert "3 tenants, 0 failed: 1 migrated" in migrate()


def fail(alias):
    raise RuntimeError(f"no luck in {alias}")


def test_what_a_crash_left_behind_is_seen_and_repaired_by_the_next_run(fleet, requests, tmp_path):
    slugs, file = fleet(4)
    run("create_tenants", str(file))
    with newer_code.newer_code(tmp_path, RATING):
        migrate("--tenant", slugs[0])
        # One died before the change and one after it, neither came to say so; one was never noted at all.
        cut_off([slugs[0], slugs[1]], "migrate")
        ledger.forget(slugs[2])
        assert "4 tenants, 0 failed: 4 migrated" in migrate()
        assert times_applied(slugs) == dict.fromkeys(slugs, 1)
        assert slugs_at(code_fingerprint()) == set(slugs)
        # An unfinished deletion is not a migration's to repair.
        cut_off(slugs[3], "delete")
        with pytest.raises(CommandError, match=f"1 of 4 tenants failed: {slugs[3]}"):
            migrate()


def test_check_and_plan_tell_who_is_behind_and_change_nothing(fleet, requests, tmp_path):
    slugs, file = fleet(3)
    run("create_tenants", str(file))
    requests.databases.clear()
    assert "3 tenants, 0 failed" in migrate("--check")
    assert "up to date" in migrate("--plan")
    assert requests.to_objects == []
    with newer_code.newer_code(tmp_path, RATING):
        migrate("--tenant", slugs[1])
        with pytest.raises(CommandError, match=f"2 of 3 tenants are behind: {slugs[0]}, {slugs[2]}"):
            migrate("--check")
        plan = migrate("--plan")
        assert f"Tenant {slugs[0]}, and 1 other tenants" in plan
        assert "Add field rating to post" in plan
        assert times_applied(slugs) == {slugs[0]: 0, slugs[1]: 1, slugs[2]: 0}
        assert not TenantState.objects.exclude(state="ready").exists()


def test_a_tenant_that_no_one_has_is_refused(db, requests):
    with pytest.raises(CommandError, match="'nobody'"):
        migrate("--tenant", "nobody")
    with pytest.raises(CommandError, match="no migration that begins with '0900'"):
        migrate("blog", "0900")
    assert requests.to_objects == []
