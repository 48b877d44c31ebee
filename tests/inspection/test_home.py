"""A tenant's home: links, numbers, and copy, dump, restore and delete with the code of the commands."""

import re
import signal
import sqlite3
import tempfile
from contextlib import closing
from io import BytesIO

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.backends.sqlite_file.filling import CountsDiffer, Filling
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.tenants import is_registered, lookup
from do_bridge.testing import empty_object
from tests.inspection.pages import LOOK, plain, text
from tests.tenancy.processes import finish, start

HOME = "/admin/databases/tenant/acme/home/"
SQLITE = b"SQLite format 3\0"


@pytest.fixture
def spare(site):
    """Slugs that a test makes tenants of; they are deleted after it."""
    slugs = ["spare", "spare-copy"]
    for slug in slugs:
        empty_object(f"tenant/{slug}")
    yield slugs
    for slug in slugs:
        call_command("tenant_delete", slug, yes=True, verbosity=0) if is_registered(slug) else None
        empty_object(f"tenant/{slug}")
    lookup.forget()


@pytest.fixture
def dumped(site, write_post, tmp_path):
    """The bytes of acme's dump with one post, "Before"."""
    write_post(title="Before")
    path = tmp_path / "acme.sqlite3"
    call_command("tenant_dump", "acme", str(path), verbosity=0)
    return path.read_bytes()


def titles(slug="acme"):
    return sorted(Post.objects.using(f"tenant/{slug}").values_list("title", flat=True))


def restore(client, data, typed="acme"):
    upload = SimpleUploadedFile("acme.sqlite3", data)
    return client.post(HOME, {"do": "restore", "restore-typed": typed, "restore-file": upload}, follow=True)


def test_the_home_leads_to_the_site_the_admin_and_the_database_and_tells_how_it_is(root, write_post):
    write_post()
    page = root.get(HOME)
    for url in (
        "/t/acme/",
        "/t/acme/admin/",
        "/admin/databases/tenant/acme/",
        "/admin/databases/tenant/acme/usage/",
    ):
        assert f'href="{url}"' in text(page), url
    told = plain(page)
    assert "State up to date" in told
    assert "Last activity 20" in told
    assert "Size on disk" in told


def test_the_tenants_admin_leads_to_each_home(root, site):
    assert f'href="{HOME}"' in text(root.get("/admin/accounts/tenant/"))
    assert f'href="{HOME}"' in text(root.get(f"/admin/accounts/tenant/{site.tenants['acme'].pk}/change/"))


def test_a_new_tenant_ends_at_its_home(root, spare):
    values = {
        "slug": "spare",
        "name": "Spare",
        "memberships-TOTAL_FORMS": 0,
        "memberships-INITIAL_FORMS": 0,
    }
    answer = root.post("/admin/accounts/tenant/add/", values)
    assert answer.url == "/admin/databases/tenant/spare/home/"
    assert "Tenant spare was added." in plain(root.get(answer.url))


def test_a_copy_has_the_data_and_the_members_and_ends_at_its_own_home(root, site, spare, write_post):
    write_post(title="Copied")
    answer = root.post(HOME, {"do": "copy", "copy-slug": "spare", "copy-name": "A spare one"})
    assert answer.url == "/admin/databases/tenant/spare/home/"
    assert titles("spare") == ["Copied"]
    assert Tenant.objects.get(slug="spare").name == "A spare one"
    assert Membership.objects.filter(tenant__slug="spare").count() == 2


@pytest.mark.parametrize(
    ("slug", "told"),
    [("globex", "exists already"), ("No Slug", "lower-case"), ("", "This field is required")],
)
def test_a_copy_to_a_wrong_slug_is_refused_on_the_page(root, site, slug, told):
    page = root.post(HOME, {"do": "copy", "copy-slug": slug})
    assert told in plain(page)
    assert Tenant.objects.count() == 2


def test_a_restore_brings_the_data_of_the_file_and_keeps_members_and_rights(root, site, dumped, write_post):
    write_post(title="After")
    User.objects.filter(pk=site.bo.pk).update(name="Bo the Second")
    told = plain(restore(root, dumped))
    assert "Tenant acme has the data of the file." in told
    assert titles() == ["Before"]
    assert Membership.objects.filter(tenant__slug="acme").count() == 2
    assert User.objects.using("tenant/acme").get(pk=site.bo.pk).name == "Bo the Second"
    assert leases.look("acme").operation == ""


def unfit():
    """A SQLite file that is no tenant."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE other (id integer primary key)")
        return connection.serialize()


@pytest.mark.parametrize(
    ("data", "typed", "told"),
    [
        (b"no database at all", "acme", "This is not a SQLite file."),
        (SQLITE + b"\0" * 200, "acme", "was not loaded"),
        (unfit(), "acme", "was not loaded"),
        (unfit(), "globex", "This is not the slug of this tenant."),
    ],
    ids=["text", "broken", "another file", "another slug"],
)
def test_a_wrong_file_or_slug_changes_nothing(root, site, write_post, data, typed, told):
    write_post(title="Kept")
    assert told in plain(restore(root, data, typed))
    assert titles() == ["Kept"]
    assert leases.look("acme").operation == ""


def test_a_load_that_fails_after_the_data_went_brings_it_back(
    site, dumped, write_post, tmp_path, monkeypatch
):
    write_post(title="Kept")
    path = tmp_path / "again.sqlite3"
    path.write_bytes(dumped)
    finish, calls = Filling.finish, []

    def fail_once(self, *args):
        calls.append(1)
        if len(calls) == 1:
            raise CountsDiffer("as if a row had been lost")
        return finish(self, *args)

    monkeypatch.setattr(Filling, "finish", fail_once)
    with pytest.raises(CommandError, match="The tenant has its data of before again"):
        call_command("tenant_load", "acme", str(path), replace=True, yes=True, verbosity=0)
    assert titles() == ["Before", "Kept"]
    assert leases.look("acme").operation == ""


@pytest.mark.parametrize("stops", [CountsDiffer, KeyboardInterrupt])
def test_data_that_does_not_come_back_stays_in_a_file(
    site, dumped, write_post, tmp_path, monkeypatch, capsys, stops
):
    write_post(title="Kept")
    path = tmp_path / "again.sqlite3"
    path.write_bytes(dumped)

    def fail(self, *args):
        raise stops("as if a row had been lost")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(Filling, "finish", fail)
        with pytest.raises(CommandError, match="as if a row had been lost|Interrupted"):
            call_command("tenant_load", "acme", str(path), replace=True, yes=True, verbosity=0)
    kept = re.search(r"data of before is in (\S+)\.", capsys.readouterr().err)[1]
    call_command("tenant_load", "acme", kept, replace=True, yes=True, verbosity=0)
    assert titles() == ["Before", "Kept"]
    assert len(list(tmp_path.glob("tenant-replace-*"))) == 1


def test_an_unfit_file_leaves_no_dump(site, tmp_path, monkeypatch, capsys):
    path = tmp_path / "unfit.sqlite3"
    path.write_bytes(unfit())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(CommandError, match="was not loaded"):
        call_command("tenant_load", "acme", str(path), replace=True, yes=True, verbosity=0)
    assert "data of before" not in capsys.readouterr().err
    assert not list(tmp_path.glob("tenant-replace-*"))


def test_a_restore_beside_another_operation_is_refused(root, site, dumped, settings):
    from do_bridge.tenancy.lifecycle.looking import read_tenant
    from do_bridge.tenancy.lifecycle.states import Operation

    settings.DO_BRIDGE = settings.DO_BRIDGE | {"LEASE_SECONDS": 1}
    lease = leases.take("acme", Operation.MIGRATE, lambda: read_tenant("acme"))
    with leases.kept(lease):
        monkey = plain(restore(root, dumped))
    leases.give_back([lease])
    assert "is busy" in monkey
    assert titles() == ["Before"]


def test_a_restore_that_is_killed_goes_on_with_the_same_file(root, site, spare, dumped, tmp_path):
    call_command("create_tenant", "spare", verbosity=0)
    path = tmp_path / "again.sqlite3"
    path.write_bytes(dumped)
    # The second guarded request: the data has gone, and the first rows of the file are on their way.
    arguments = ("tenant_load", "spare", path, "--replace", "--yes")
    code, output = finish(start(*arguments, kill=("do:", "INSERT INTO _do_bridge_meta", 2, True)))
    assert code == -signal.SIGKILL, output
    lookup.forget()
    page = "/admin/databases/tenant/spare/home/"
    assert root.get("/t/spare/").status_code == 503
    assert "restore not finished" in plain(root.get(page))
    upload = SimpleUploadedFile("again.sqlite3", dumped)
    values = {"do": "restore", "restore-typed": "spare", "restore-file": upload}
    assert "Tenant spare has the data of the file." in plain(root.post(page, values, follow=True))
    assert titles("spare") == ["Before"]


def test_the_command_asks_before_it_replaces(site, dumped, tmp_path, monkeypatch):
    path = tmp_path / "again.sqlite3"
    path.write_bytes(dumped)
    monkeypatch.setattr("builtins.input", lambda prompt: "globex")
    with pytest.raises(CommandError, match="Nothing was replaced"):
        call_command("tenant_load", "acme", str(path), replace=True, verbosity=0)
    with pytest.raises(CommandError, match="does not exist. Load the file without --replace"):
        call_command("tenant_load", "nobody", str(path), replace=True, yes=True, verbosity=0)


def test_a_deletion_wants_the_slug(root, spare):
    call_command("create_tenant", "spare", verbosity=0)
    page = "/admin/databases/tenant/spare/home/"
    assert "This is not the slug" in plain(root.post(page, {"do": "delete", "delete-typed": "acme"}))
    assert is_registered("spare")
    told = root.post(page, {"do": "delete", "delete-typed": "spare"}, follow=True)
    assert "Tenant spare was deleted." in plain(told)
    assert not is_registered("spare")
    assert root.get(page).status_code == 404


def test_each_work_needs_its_own_permissions(staff, site, dumped):
    client = staff(LOOK)
    page = plain(client.get(HOME))
    for label in ("Restore", "Delete", "Download", "Slug of the copy"):
        assert label not in page
    for values in (
        {"do": "copy", "copy-slug": "spare"},
        {"do": "restore", "restore-typed": "acme", "restore-file": BytesIO(dumped)},
        {"do": "delete", "delete-typed": "acme"},
    ):
        answer = client.post(HOME, values)
        assert answer.status_code == 403, values["do"]
    site.sam.user_permissions.add(Permission.objects.get(codename="delete_tenant"))
    assert "Type the slug to continue" in plain(client.get(HOME))
    assert titles() == ["Before"]


def test_a_deletion_that_a_dead_worker_cuts_off_is_told_and_finished_from_the_same_page(
    root, spare, monkeypatch
):
    call_command("create_tenant", "spare", verbosity=0)
    page, values = "/admin/databases/tenant/spare/home/", {"do": "delete", "delete-typed": "spare"}
    with monkeypatch.context() as patched:
        patched.setitem(connections["tenant/spare"].settings_dict, "HOST", "http://127.0.0.1:9")
        connections["tenant/spare"].close()
        assert "could not be reached" in plain(root.get(page))
        assert "could not be reached" in plain(root.post(page, values))
    connections["tenant/spare"].close()
    lookup.forget()
    assert "Tenant spare was deleted." in plain(root.post(page, values, follow=True))


def test_a_tenants_own_admin_has_no_home(root, site):
    assert root.get("/t/acme/admin/databases/tenant/acme/home/").status_code == 404
