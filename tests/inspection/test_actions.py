"""What the pages about databases do: answer SQL that reads, and take actions that were confirmed."""

import logging
import sqlite3
from contextlib import closing

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections

from do_bridge.inspection.inspected import Inspected
from tests.inspection.pages import ACME, D1, LOOK, plain, text

# SQL


def test_the_sql_page_answers_and_logs_who_asked_what(root, site, caplog):
    caplog.set_level(logging.INFO, "do_bridge.inspection")
    assert "Answer" not in plain(root.get(f"{ACME}sql/?sql=SELECT+41%2B1"))
    page = plain(root.post(f"{ACME}sql/", {"sql": "SELECT 41 + 1 AS answer, NULL, x'00'", "run": ""}))
    assert "1 row in" in page
    assert "answer NULL x&#x27;00&#x27; 42 NULL 1 bytes" in page
    entry = LogEntry.objects.using("default").get(object_repr="SQL on Tenant acme")
    assert entry.user_id == site.root.pk
    assert "1 row\nSELECT 41 + 1 AS answer" in entry.change_message
    assert "tenant/acme" in caplog.text
    assert f"user {site.root.pk}" in caplog.text


def test_an_attempt_to_write_is_refused_logged_and_changes_nothing(root, write_post, site):
    key = write_post()
    for path in (ACME, "/t/acme/admin/databases/tenant/acme/"):
        page = root.post(f"{path}sql/", {"sql": "WITH a AS (SELECT 1) DELETE FROM blog_post", "run": ""})
        assert "Only SELECT, VALUES and WITH … SELECT can be run here, not DELETE." in text(page)
    assert str(key) in plain(root.get(f"{ACME}tables/blog_post/"))
    assert LogEntry.objects.using("default").filter(change_message__contains="refused").count() == 2


def test_the_plan_is_shown_on_demand(root, site):
    page = plain(root.post(f"{ACME}sql/", {"sql": "SELECT * FROM blog_post WHERE id = 1", "plan": ""}))
    assert "The statement was planned, and not run." in page
    assert "SEARCH blog_post USING INTEGER PRIMARY KEY" in page


def test_an_error_of_sqlite_is_told_on_the_page(root, site):
    page = root.post(f"{D1}sql/", {"sql": "SELECT a FROM nowhere", "run": ""})
    assert "no such table: nowhere" in plain(page)


# Actions


def test_an_action_asks_first_and_then_does_it(root, site):
    asked = root.post("/admin/databases/action/", {"action": "check", "database": ["tenant/acme", "shared"]})
    assert "Look for damage" in text(asked)
    assert 'value="tenant/acme"' in text(asked)
    chosen = {"action": "check", "database": ["tenant/acme", "shared"], "confirmed": "yes"}
    done = plain(root.post("/admin/databases/action/", chosen, follow=True))
    assert "Tenant acme: no damage, up to date, and matches the models." in done
    assert "D1, the shared database: no damage" in done
    assert root.get("/admin/databases/action/").status_code == 405


def test_migrate_and_sync_say_what_became_of_them(root, site):
    migrated = {"action": "migrate", "database": ["tenant/acme"], "confirmed": "yes"}
    assert "no migrations to apply" in plain(root.post("/admin/databases/action/", migrated, follow=True))
    from accounts.models import User

    User.objects.using("tenant/acme").filter(pk=site.bo.pk).update(name="Wrong")
    synced = {"action": "sync", "database": ["tenant/acme", "shared"], "confirmed": "yes"}
    assert "members are up to date" in plain(root.post("/admin/databases/action/", synced, follow=True))
    assert User.objects.using("tenant/acme").get(pk=site.bo.pk).name == "Bo"


def test_an_action_on_a_database_that_does_not_answer_is_reported(root, site, monkeypatch):
    from do_bridge.inspection import actions

    monkeypatch.setattr(actions, "CHECK_SECONDS", 0.3)
    chosen = {"action": "check", "database": ["tenant/globex", "tenant/acme"], "confirmed": "yes"}
    monkeypatch.setattr(actions, "CHECK_SECONDS", 1.5)
    with Inspected("globex").connect(8) as busy:
        busy.begin()
        busy.execute("SELECT 1")
        done = plain(root.post("/admin/databases/action/", chosen, follow=True))
        busy.rollback()
    assert "Tenant globex: check failed" in done
    assert "Tenant acme: no damage" in done


def test_a_migration_that_fails_by_its_own_code_is_told_and_holds_up_no_other(root, site, monkeypatch):
    from do_bridge.inspection import actions

    def migrate(command, database, **options):
        if database == "tenant/acme":
            raise KeyError("what the migration looked for")

    monkeypatch.setattr(actions, "call_command", migrate)
    chosen = {"action": "migrate", "database": ["tenant/acme", "tenant/globex"], "confirmed": "yes"}
    done = plain(root.post("/admin/databases/action/", chosen, follow=True))
    assert "Tenant acme: migrate failed: KeyError: &#x27;what the migration looked for&#x27;" in done
    assert "Tenant globex: no migrations to apply." in done


def test_a_dump_is_a_file_that_sqlite_opens(root, write_post, tmp_path):
    write_post(title="In the file")
    chosen = {"action": "dump", "database": "tenant/acme"}
    assert "Download as a SQLite file" in text(root.post("/admin/databases/action/", chosen))
    answer = root.post("/admin/databases/action/", {**chosen, "confirmed": "yes"})
    assert 'filename="acme.sqlite3"' in answer.headers["Content-Disposition"]
    file = tmp_path / "acme.sqlite3"
    file.write_bytes(b"".join(answer.streaming_content))
    with closing(sqlite3.connect(file)) as opened:
        assert opened.execute("SELECT title FROM blog_post").fetchall() == [("In the file",)]
    two = {"action": "dump", "database": ["tenant/acme", "tenant/globex"]}
    assert "Select one database to download." in plain(
        root.post("/admin/databases/action/", two, follow=True)
    )


def test_a_tenant_whose_members_are_out_of_sync_is_marked(root, site):
    from do_bridge.members.syncing import CopyFailed, remove_member

    assert "members out of sync" not in plain(root.get("/admin/databases/"))
    with Inspected("globex").connect(5) as busy:
        busy.begin()
        busy.execute("SELECT 1")
        connections["tenant/globex"].close()
        settings = connections["tenant/globex"].settings_dict
        patience = settings["OPTIONS"].get("timeout")
        settings["OPTIONS"]["timeout"] = 0.5
        try:
            with pytest.raises(CopyFailed, match="sync_members"):
                remove_member(site.gil, site.tenants["globex"])
        finally:
            settings["OPTIONS"]["timeout"] = patience or 30
            connections["tenant/globex"].close()
        busy.rollback()
    assert plain(root.get("/admin/databases/")).count("members out of sync") == 1


def test_actions_need_the_right_to_change(staff):
    client = staff(LOOK)
    assert 'name="action"' not in text(client.get("/admin/databases/"))
    chosen = {"action": "migrate", "database": "tenant/acme", "confirmed": "yes"}
    assert client.post("/admin/databases/action/", chosen).status_code == 403


def test_what_was_not_chosen_well_is_said(root, site):
    def said(**fields):
        return plain(root.post("/admin/databases/action/", fields, follow=True))

    assert "No action selected." in said(database="shared")
    assert "No action selected." in said(action="drop", database="shared")
    assert "Choose databases." in said(action="check")
    assert "Select the tenants to sync members." in said(action="sync", database="shared")
    assert (
        root.post("/admin/databases/action/", {"action": "check", "database": "tenant/../x"}).status_code
        == 404
    )
