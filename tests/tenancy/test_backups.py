"""tenant_backup and tenant_restore_backup: dumps in a storage, and what they bring back."""

import gzip
import io
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils.timezone import now

from accounts.models import Tenant
from blog.models import Post
from do_bridge.management import backups
from do_bridge.management.backups import Backup, Damaged, list_backups, prune
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle.transfer import dump_shared
from do_bridge.tenancy.lifecycle.transfer.dump_shared import dump_database
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object, unique_slug
from tests.backends.engine_aliases import alias_for
from tests.tenancy.processes import finish, start
from tests.tenancy.test_dump import contents
from tests.tenancy.test_dump import odd as odd  # noqa: PLC0414 - a fixture

FOLDER = "django.core.files.storage.FileSystemStorage"
MEMORY = "django.core.files.storage.InMemoryStorage"


@pytest.fixture(params=[FOLDER, MEMORY], ids=["files", "memory"])
def storage(request, settings, tmp_path):
    """The storage STORAGES["backups"], of two kinds."""
    options = {"location": str(tmp_path / "backups")} if request.param == FOLDER else {}
    settings.STORAGES = {
        **settings.STORAGES,
        "backups": {"BACKEND": request.param, "OPTIONS": options},
    }
    return storages["backups"]


def run(command, *arguments, **options):
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=out, no_color=True, **options)
    return out.getvalue()


def back_up(*slugs, **options):
    """Back tenants up, and return the run."""
    run("tenant_backup", *slugs, **options)
    return list_backups(storages["backups"])[-1]


@pytest.fixture
def restored(db):
    """Slugs of tenants that a test restores; their objects are emptied afterwards."""
    made = []

    def make():
        made.append(unique_slug("restored"))
        return made[-1]

    yield make
    for slug in made:
        empty_object(tenant_alias(slug))


@pytest.fixture
def posts(acme, in_both):
    with tenant_context(acme):
        for number in range(3):
            Post.objects.create(title=f"Post {number}", content="-", user_id=in_both)
    return acme


def test_a_backup_has_d1_and_the_tenants_and_a_manifest(storage, posts, zeta):
    backup = back_up(posts.slug, zeta.slug)
    manifest = backup.manifest()
    names = ["shared", *sorted([f"tenant/{posts.slug}", f"tenant/{zeta.slug}"])]
    assert [entry["database"] for entry in manifest["databases"]] == names
    assert manifest["failed"] == {}
    assert manifest["started"] <= manifest["finished"]
    assert all(entry["consistent"] and entry["dangling"] == 0 for entry in manifest["databases"])
    assert sorted(storage.listdir(backup.name)[1]) == ["manifest.json", "plan.json", "shared.sqlite3.gz"]
    files = storage.listdir(f"{backup.name}/tenants")[1]
    assert sorted(files) == sorted(f"{slug}.sqlite3.gz" for slug in (posts.slug, zeta.slug))


def test_a_tenant_is_restored_with_every_row(storage, posts, restored, tmp_path):
    back_up(posts.slug)
    slug = restored()
    text = run("tenant_restore_backup", posts.slug, "--as", slug, "--name", "Restored")
    assert "From the backup" in text
    assert Tenant.objects.get(slug=slug).name == "Restored"
    with tenant_context(slug):
        assert set(Post.objects.values_list("title", flat=True)) == {"Post 0", "Post 1", "Post 2"}


def test_a_restored_object_holds_what_was_backed_up_value_by_value(storage, odd, restored, tmp_path):
    back_up(odd.slug)
    slug = restored()
    run("tenant_restore_backup", odd.slug, "--as", slug)
    before, after = tmp_path / "before", tmp_path / "after"
    dump_database(tenant_alias(odd.slug), before)
    dump_database(tenant_alias(slug), after)
    (rows, schema), (rows_after, schema_after) = contents(before), contents(after)
    for kept in ("kinds", "pairs", "bare", "counted", "100% odd name"):
        assert rows_after[kept] == rows[kept]
    assert {name for name in schema if not name.startswith(("_do", "sqlite_"))} <= set(schema_after)


def test_d1_is_restored_into_an_empty_database(
    storage, django_db_setup, local_worker, django_db_blocker, tmp_path
):
    with django_db_blocker.unblock(), alias_for("d1", local_worker) as connection:
        tenant = Tenant.objects.create(slug=unique_slug("kept"), name="Kept")
        try:
            backup = Backup.start(storage, ["shared"])
            run("tenant_backup", "--resume")
        finally:
            tenant.delete()
        text = run("tenant_restore_backup", "--shared", "--database", connection.alias)
        assert "rows loaded" in text
        found = run_batch(connection, [("SELECT slug FROM accounts_tenant", None)])[0].rows
        assert (tenant.slug,) in {tuple(row) for row in found}
        again = tmp_path / "again.sqlite3"
        assert dump_database(connection.alias, again).consistent
        with backup.fetched("shared") as path:
            (rows, schema), (rows_after, schema_after) = contents(path), contents(again)
        assert rows_after == rows
        assert schema_after == schema


def test_d1_in_use_is_not_restored_over(storage, posts):
    back_up(posts.slug)
    with pytest.raises(CommandError, match="already has .* tables"):
        run("tenant_restore_backup", "--shared")


def test_a_tenant_in_use_is_not_restored_over(storage, posts):
    back_up(posts.slug)
    with pytest.raises(CommandError, match="Choose another slug, or delete"):
        run("tenant_restore_backup", posts.slug)


def test_the_dump_of_d1_is_a_sqlite_file_that_sqlite_finds_intact(storage, posts, tmp_path):
    back_up(posts.slug)
    file = tmp_path / "shared.sqlite3"
    run("tenant_restore_backup", "--shared", "--file", str(file))
    with closing(sqlite3.connect(file)) as source:
        assert source.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        slugs = {slug for (slug,) in source.execute("SELECT slug FROM accounts_tenant")}
    assert posts.slug in slugs
    with pytest.raises(CommandError, match="was not written: File exists"):
        run("tenant_restore_backup", "--shared", "--file", str(file))


def test_a_large_d1_is_read_in_pages_and_says_that_it_is_of_several_moments(
    posts, in_both, monkeypatch, tmp_path
):
    small, large = tmp_path / "small.sqlite3", tmp_path / "large.sqlite3"
    assert dump_database("default", small).consistent
    monkeypatch.setattr(dump_shared, "WHOLE_BYTES", 0)
    report = dump_database("default", large)
    assert not report.consistent
    assert contents(large) == contents(small)


def test_rows_of_several_moments_are_warned_of_and_noted(storage, posts, monkeypatch):
    monkeypatch.setattr(dump_shared, "WHOLE_BYTES", 0)
    assert "shared: the rows were not read at one moment." in run("tenant_backup", posts.slug)
    entry = list_backups(storage)[-1].entries()["shared"]
    assert not entry.consistent


# Interrupted and failed


def test_an_interrupted_run_continues_and_dumps_nothing_twice(storage, posts, zeta, monkeypatch):
    dump, seen = backups.dump_database, []

    def killed(alias, *arguments, **options):
        seen.append(alias)
        if alias == tenant_alias(zeta.slug):
            raise KeyboardInterrupt
        return dump(alias, *arguments, **options)

    monkeypatch.setattr(backups, "dump_database", killed)
    with pytest.raises((CommandError, KeyboardInterrupt)):
        run("tenant_backup", posts.slug, zeta.slug, jobs=1)
    (backup,) = list_backups(storage)
    assert not backup.is_finished
    assert "not finished" in run("tenant_backup", "--list")
    done = set(backup.entries())
    assert "shared" in done

    def counted(alias, *arguments, **options):
        seen.append(alias)
        return dump(alias, *arguments, **options)

    monkeypatch.setattr(backups, "dump_database", counted)
    # What a killed upload has left under the name.
    storage.save(f"{backup.name}/tenants/{zeta.slug}.sqlite3.gz", ContentFile(b"half"))
    del seen[:]
    assert f"Continuing the backup {backup.name}" in run("tenant_backup", "--resume")
    assert tenant_alias(zeta.slug) in seen
    assert "default" not in seen
    assert set(backup.entries()) == {"shared", f"tenant/{posts.slug}", f"tenant/{zeta.slug}"}
    with backup.fetched(f"tenant/{zeta.slug}"):
        pass
    run("tenant_backup", zeta.slug, "--resume", "--no-shared")
    assert len(list_backups(storage)) == 2


def test_a_killed_process_leaves_a_run_that_continues(settings, tmp_path, posts, zeta):
    settings.STORAGES = {
        **settings.STORAGES,
        "backups": {"BACKEND": FOLDER, "OPTIONS": {"location": str(tmp_path / "backups")}},
    }
    last = connections[tenant_alias(max(posts.slug, zeta.slug))].settings_dict["NAME"]
    arguments = ["tenant_backup", posts.slug, zeta.slug, "--jobs", "1"]
    folder = tmp_path / "backups"
    killed = start(*arguments, kill=(f"do:{last}", "blog_post", 1, False), backups=str(folder))
    code, _ = finish(killed)
    assert code != 0
    (backup,) = list_backups(storages["backups"])
    assert not backup.is_finished
    assert len(backup.entries()) == 2
    run("tenant_backup", "--resume")
    assert len(backup.entries()) == 3
    assert [
        name for name in (tmp_path / "backups" / backup.name / "tenants").iterdir() if name.suffix == ".json"
    ] == []


def test_a_tenant_that_fails_is_named_and_the_others_are_backed_up(storage, posts, zeta, monkeypatch):
    dump = backups.dump_database

    def failing(alias, *arguments, **options):
        if alias == tenant_alias(zeta.slug):
            raise OSError("the disk is full")
        return dump(alias, *arguments, **options)

    run("tenant_backup", posts.slug)
    monkeypatch.setattr(backups, "dump_database", failing)
    with pytest.raises(CommandError, match=f"1 databases are not in the backup .*: tenant/{zeta.slug}"):
        run("tenant_backup", posts.slug, zeta.slug, "--keep", "1")
    first, second = list_backups(storage)
    assert first.is_finished, "an older one is kept if the new one is not complete"
    assert list(second.manifest()["failed"]) == [f"tenant/{zeta.slug}"]
    assert f"tenant/{posts.slug}" in second.entries()
    assert "1 failed" in run("tenant_backup", "--list")


def test_a_tenant_that_was_deleted_meanwhile_is_left_out_of_what_continues(storage, posts):
    backup = Backup.start(storage, ["shared", f"tenant/{posts.slug}", "tenant/gone-by-now"])
    run("tenant_backup", "--resume")
    assert set(backup.entries()) == {"shared", f"tenant/{posts.slug}"}


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_damaged_file_is_not_restored(storage, posts, restored, harm):
    backup = back_up(posts.slug)
    path = f"{backup.name}/tenants/{posts.slug}.sqlite3.gz"
    storage.delete(path)
    if harm == "changed":
        storage.save(path, ContentFile(gzip.compress(b"something else")))
    with pytest.raises(CommandError, match="SHA-256 differs|can't be read"):
        run("tenant_restore_backup", posts.slug, "--as", restored())


def test_what_is_not_in_a_backup_is_an_error_of_one_line(storage, posts):
    with pytest.raises(CommandError, match=f"No backup has 'tenant/{posts.slug}'"):
        run("tenant_restore_backup", posts.slug)
    backup = back_up(posts.slug, "--no-shared")
    with pytest.raises(CommandError, match="The backup '2001' does not exist"):
        run("tenant_restore_backup", posts.slug, "--backup", "2001")
    with pytest.raises(CommandError, match="has no dump of 'shared'"):
        run("tenant_restore_backup", "--shared", "--backup", backup.name)
    for wrong in ([], [posts.slug, "--shared"], ["Not A Slug"]):
        with pytest.raises(CommandError, match="Name one tenant|not a valid slug"):
            run("tenant_restore_backup", *wrong)


def test_wrong_arguments_are_errors_of_one_line(db, settings):
    settings.STORAGES = {name: value for name, value in settings.STORAGES.items() if name != "backups"}
    with pytest.raises(CommandError, match="STORAGES has no storage 'backups'"):
        run("tenant_backup")
    with pytest.raises(CommandError, match="1 or more"):
        run("tenant_backup", "--keep", "0")


def test_an_unknown_tenant_is_an_error_before_anything_is_written(storage, acme):
    with pytest.raises(CommandError, match="Tenant 'nobody' does not exist"):
        run("tenant_backup", "nobody")
    assert list_backups(storage) == []


# Retention


@pytest.fixture
def history(storage):
    """Makes runs of the last days: `f` failed, `u` unfinished, else complete; the latest is of today."""

    def make(kinds):
        for age, kind in enumerate(reversed(kinds)):
            name = (now() - timedelta(days=age)).strftime("%Y-%m-%dT00-00-00Z")
            backup = Backup(storage, name)
            backup._write(backups.PLAN, {"format": 1, "wanted": []})
            storage.save(f"{name}/tenants/x.sqlite3.gz", ContentFile(b"x"))
            if kind != "u":
                backup.finish({"shared": "why"} if kind == "f" else {})
        return SimpleNamespace(names=[backup.name for backup in list_backups(storage)])

    return make


@pytest.mark.parametrize(
    ("kinds", "keep", "days", "left"),
    [
        ("cccc", 2, None, "cc"),
        ("ccfcu", 2, None, "cfcu"),
        ("cuffc", 1, None, "c"),
        ("ffu", 1, None, "ffu"),
        ("cccccc", None, 3, "ccc"),
        ("cccccc", 2, 4, "cccc"),
        ("cfff", None, 1, "cfff"),
    ],
)
def test_old_runs_are_deleted_and_never_the_last_complete_one(storage, history, kinds, keep, days, left):
    before = history(kinds).names
    gone = prune(storage, keep, days)
    after = [backup.name for backup in list_backups(storage) if backup._files("")]
    assert gone == before[: len(kinds) - len(left)]
    assert after == before[len(kinds) - len(left) :]
    assert not [name for name in gone if storage.exists(f"{name}/tenants/x.sqlite3.gz")]


def test_other_folders_of_the_storage_are_left_alone(storage, history):
    storage.save("photos/2020.jpg", ContentFile(b"x"))
    history("ccc")
    prune(storage, 1)
    assert storage.exists("photos/2020.jpg")


def test_a_run_with_a_broken_manifest_is_named(storage, posts):
    backup = back_up(posts.slug)
    storage.delete(f"{backup.name}/manifest.json")
    storage.save(f"{backup.name}/manifest.json", ContentFile(b"{"))
    with pytest.raises(Damaged, match="manifest.json can't be read"):
        backup.entries()
    with pytest.raises(CommandError, match="manifest.json can't be read"):
        run("tenant_restore_backup", posts.slug)


def test_the_manifest_holds_no_secret(storage, posts):
    text = json.dumps(back_up(posts.slug).manifest())
    assert connections["default"].settings_dict["PASSWORD"] not in text


def test_after_a_loss_of_the_objects_a_tenant_is_restored_under_its_own_slug(storage, posts):
    back_up(posts.slug)
    alias = tenant_alias(posts.slug)
    state = TenantState.objects.get(slug=posts.slug)
    empty_object(alias)
    # As in a D1 that was restored: it knows the tenant, whose object is empty.
    Tenant.objects.get_or_create(slug=posts.slug)
    state.save()
    run("tenant_restore_backup", posts.slug)
    with tenant_context(posts.slug):
        assert Post.objects.count() == 3
