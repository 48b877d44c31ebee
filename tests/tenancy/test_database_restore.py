"""database_bookmark, database_restore, and a bookmark before D1 is migrated: a fake of Cloudflare's API."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils.timezone import now

from accounts.models import Tenant
from do_bridge.management import time_travel
from do_bridge.members.models import DirtyFlag
from do_bridge.tenancy.tenants import lookup
from tests.infra.fake_time_travel import ACCOUNT, TOKEN, FakeTimeTravel


@pytest.fixture
def fake(db, monkeypatch):
    with FakeTimeTravel(connections["default"].settings_dict["NAME"]) as running:
        monkeypatch.setenv("D1_API_BASE", running.api_base)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
        monkeypatch.setattr(time_travel, "in_test_environment", lambda: False)
        yield running


def run(*arguments):
    out = StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def test_bookmarks_of_now_and_of_a_moment_by_a_fake_api(fake):
    moment = now() - timedelta(days=1)
    assert run("database_bookmark").strip() == fake.bookmark()
    text = run("database_bookmark", "--at", moment.isoformat())
    assert text.splitlines() == [f"The moment is {moment:%Y-%m-%d %H:%M:%S} UTC.", fake.bookmark(moment)]


def test_a_restore_says_how_to_undo_it_and_what_follows_by_a_fake_api(fake, acme, zeta):
    before = fake.bookmark()

    def back(bookmark):
        # As the restore does it: a tenant that was made since is gone, another one is back.
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE accounts_tenant SET slug = 'back-again' WHERE slug = %s", [zeta.slug])

    fake.on_restore = back
    triggers = _without_triggers()
    try:
        text = run("database_restore", "--bookmark", "00000001-0", "--noinput")
    finally:
        Tenant.objects.filter(slug="back-again").update(slug=zeta.slug)
        _with_triggers(triggers)
        flagged = set(DirtyFlag.objects.values_list("slug", "user_key"))
        DirtyFlag.objects.all().delete()
        lookup.forget()
    assert f"database_restore --database default --bookmark {before}" in text
    assert f"create_tenant --adopt {zeta.slug}" in text
    assert "Tenant 'back-again' was deleted since" in text
    assert "migrate --database tenant" in text
    assert {(acme.slug, ""), ("back-again", "")} <= flagged


def _without_triggers():
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'accounts_tenant'"
    with connections["default"].cursor() as cursor:
        cursor.execute(sql)
        found = cursor.fetchall()
        for name, _ in found:
            cursor.execute(f'DROP TRIGGER "{name}"')
    return [text for _, text in found]


def _with_triggers(triggers):
    with connections["default"].cursor() as cursor:
        for text in triggers:
            cursor.execute(text.replace("%", "%%"))


def test_a_restore_to_a_moment_asks_the_api_for_its_bookmark_by_a_fake_api(fake):
    moment = now() - timedelta(hours=3)
    text = run("database_restore", "--to", moment.isoformat(), "--noinput")
    assert f"{moment:%Y-%m-%d %H:%M:%S} UTC" in text
    assert [one.split()[1] for one in fake.requests] == ["bookmark", "bookmark", "restore"]


def test_a_lost_answer_names_the_way_on_by_a_fake_api(fake):
    fake.fail = 500
    with pytest.raises(CommandError, match="Run the command again with the same bookmark"):
        run("database_restore", "--bookmark", "00000001-0", "--noinput")


@pytest.mark.parametrize("answer", ["", "no"], ids=["closed", "another answer"])
def test_nothing_is_done_without_the_right_answer(fake, monkeypatch, answer):
    def give(prompt):
        if not answer:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", give)
    with pytest.raises(CommandError, match="Nothing was restored"):
        run("database_restore", "--bookmark", "00000001-0")
    assert not any(one.startswith("POST") for one in fake.requests)


def test_while_tests_run_nothing_is_touched(fake, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(CommandError, match="while tests run"):
        run("database_restore", "--bookmark", "00000001-0", "--noinput")


@pytest.mark.parametrize("alias", ["tenant", "tenant/acme", "nowhere"])
def test_another_alias_than_one_of_d1_is_refused(fake, alias):
    with pytest.raises(CommandError, match="not an alias of a D1 database"):
        run("database_bookmark", "--database", alias)


def test_without_credentials_it_says_which_are_missing(fake, monkeypatch):
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN")
    monkeypatch.setenv("CLOUDFLARE_D1_TOKEN", "")
    with pytest.raises(CommandError, match="Set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_D1_TOKEN"):
        run("database_bookmark")


def test_a_migration_of_d1_prints_a_bookmark_before_it_by_a_fake_api(fake, newer):
    with newer("migrations.RunSQL('SELECT 1', 'SELECT 1')"):
        text = run("migrate", "--database", "default")
        assert f"database_restore --database default --bookmark {fake.bookmark()}" in text
        assert text.index("--bookmark") < text.index("0099_newer")
        # Nothing is left to be done.
        assert "--bookmark" not in run("migrate", "--database", "default")
        assert len(fake.requests) == 1
        call_command("migrate", "blog", _last_but_one(), database="default", verbosity=0)


def _last_but_one():
    from django.db.migrations.loader import MigrationLoader

    names = sorted(name for app, name in MigrationLoader(None).graph.nodes if app == "blog")
    return names[-2]


def test_a_migration_goes_on_without_its_bookmark_by_a_fake_api(fake, newer, monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "wrong")
    monkeypatch.setenv("CLOUDFLARE_D1_TOKEN", "")
    with newer("migrations.RunSQL('SELECT 1', 'SELECT 1')"):
        text = run("migrate", "--database", "default")
        assert "No bookmark of 'default' was taken" in text
        assert "0099_newer... OK" in text
        call_command("migrate", "blog", _last_but_one(), database="default", verbosity=0)


@pytest.mark.parametrize("verbosity", [1, 2])
def test_without_credentials_a_migration_says_so_only_at_verbosity_2(fake, monkeypatch, verbosity):
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN")
    monkeypatch.setenv("CLOUDFLARE_D1_TOKEN", "")
    text = run("migrate", "--database", "default", "--verbosity", verbosity)
    assert ("No bookmark of 'default' is taken" in text) == (verbosity == 2)
