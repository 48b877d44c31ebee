"""Backups by django-dbbackup and into S3, restored from there; tenants' files in S3."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import boto3
import django

S3 = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}


def main():
    django.setup()
    from django.core.management import call_command

    client = boto3.client("s3", endpoint_url=os.environ["S3_URL"], **S3)
    for bucket in ("media", "backups"):
        client.create_bucket(Bucket=bucket)
    Path("dbbackup").mkdir()
    call_command("migrate", verbosity=0)
    fill()
    play_dbbackup()
    play_tenant_backup()
    play_files(client)
    print("Backups, restores and files are right.")  # noqa: T201


def fill():
    """Make two tenants with a post each."""
    from accounts.models import User
    from blog.models import Post
    from do_bridge.tenancy import tenant_context
    from do_bridge.tenancy.lifecycle.creation import create_tenant

    ada = User.objects.create_user("ada", password="a-pass-word")
    for slug in ("acme", "zeta"):
        create_tenant(slug, members=[ada])
        with tenant_context(slug):
            Post.objects.create(title=f"of {slug}", content="-", user_id=ada.pk)


def titles(slug):
    from blog.models import Post
    from do_bridge.tenancy import tenant_context

    with tenant_context(slug):
        return list(Post.objects.values_list("title", flat=True))


def failing(*arguments, **options):
    """The message of a command that fails on one line."""
    from django.core.management import CommandError, call_command

    try:
        call_command(*arguments, **options)
    except CommandError as error:
        return str(error)
    raise AssertionError(f"{arguments} did not fail")


def play_dbbackup():
    """The dump of a tenant has its rows and not D1's; each is restored; what can't be is one line."""
    from django.core.management import call_command

    call_command("dbbackup", "--database", "tenant/acme", verbosity=0)
    call_command("dbbackup", verbosity=0)
    names = {path.name for path in Path("dbbackup").glob("*.sqlite3")}
    (acme,) = (name for name in names if name.startswith("tenant-acme"))
    (shared,) = (name for name in names if name.startswith("default"))
    with closing(sqlite3.connect(f"dbbackup/{acme}")) as file:
        assert file.execute("SELECT title FROM blog_post").fetchall() == [("of acme",)]
        assert file.execute("SELECT count(*) FROM accounts_tenant").fetchone() == (0,)
    with closing(sqlite3.connect(f"dbbackup/{shared}")) as file:
        assert file.execute("SELECT count(*) FROM accounts_tenant").fetchone() == (2,)

    restore = ("dbrestore", "--noinput", "--input-filename", acme, "--database")
    assert "already has tables" in failing(*restore, "tenant/acme", verbosity=0)
    # django-dbbackup notes the engine of each file beside it.
    assert "different database engine" in failing(*restore, "default", verbosity=0)
    call_command("tenant_delete", "acme", "--yes", verbosity=0)
    assert "does not exist" in failing("dbbackup", "--database", "tenant/acme", verbosity=0)
    call_command(*restore, "tenant/acme", verbosity=0)
    assert titles("acme") == ["of acme"]
    assert "template" in failing("dbbackup", "--database", "tenant", verbosity=0)
    assert "--exclude-tables" in failing("dbbackup", "--exclude-tables", "blog_post", verbosity=0)
    # A file of D1 in D1, which holds rows.
    restore = ("dbrestore", "--noinput", "--input-filename", shared, "--database", "default")
    assert "already has" in failing(*restore, verbosity=0)


def play_tenant_backup():
    """The whole site in S3, restored from it under another slug."""
    from django.core.files.storage import storages
    from django.core.management import call_command

    from do_bridge.management.backups import list_backups

    call_command("tenant_backup", "--resume", "--keep", "1", verbosity=0)
    call_command("tenant_backup", "--resume", "--keep", "1", verbosity=0)
    (backup,) = list_backups(storages["backups"])
    assert set(backup.entries()) == {"shared", "tenant/acme", "tenant/zeta"}
    call_command("tenant_restore_backup", "zeta", "--as", "zeta-restored", verbosity=0)
    assert titles("zeta-restored") == ["of zeta"]
    call_command("tenant_restore_backup", "--shared", "--file", "shared.sqlite3", verbosity=0)
    with closing(sqlite3.connect("shared.sqlite3")) as file:
        slugs = {slug for (slug,) in file.execute("SELECT slug FROM accounts_tenant")}
    assert slugs == {"acme", "zeta"}


def play_files(client):
    """The same names of two tenants in one bucket, with every method of the storage."""
    from django.core.exceptions import SuspiciousFileOperation
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage as storage

    from do_bridge.tenancy import tenant_context

    for slug in ("acme", "zeta"):
        with tenant_context(slug):
            assert storage.save("a/report.txt", ContentFile(slug.encode())) == "a/report.txt"
    keys = {item["Key"] for item in client.list_objects_v2(Bucket="media")["Contents"]}
    assert keys == {"t/acme/a/report.txt", "t/zeta/a/report.txt"}
    with tenant_context("zeta"):
        with storage.open("a/report.txt") as file:
            assert file.read() == b"zeta"
        assert storage.exists("a/report.txt")
        assert storage.size("a/report.txt") == 4
        assert storage.listdir("") == (["a"], [])
        assert storage.listdir("a") == ([], ["report.txt"])
        assert "/t/zeta/a/report.txt" in storage.url("a/report.txt")
        assert storage.get_modified_time("a/report.txt")
        assert storage.save("a/report.txt", ContentFile(b"second")).startswith("a/report_")
        for name in ("../acme/a/report.txt", "..\\acme\\a\\report.txt", "/t/acme/a/report.txt"):
            for method in (storage.open, storage.exists, storage.url, storage.delete):
                try:
                    method(name)
                except SuspiciousFileOperation:
                    continue
                raise AssertionError((method, name))
        storage.delete("a/report.txt")
        assert not storage.exists("a/report.txt")
    with tenant_context("acme"):
        assert storage.exists("a/report.txt")


if __name__ == "__main__":
    main()
