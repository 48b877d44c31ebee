"""Counts the round trips of common operations: `python -m benchmarks.round_trips` prints them as Markdown."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from worker.local import LocalWorker

DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"
SLUG = "acme"


def configure(worker: Any) -> None:
    """Point the site's settings at the local Worker, before Django reads them."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="project.settings",
        SECRET_KEY="for-measurements-alone",  # noqa: S106
        SECURE="False",
        ALLOWED_HOSTS="testserver",
        CLOUDFLARE_DATABASE_ID=DATABASE_ID.format(0),
        D1_TRANSPORT="relay",
        RELAY_URL=worker.url,
        RELAY_TOKEN=worker.token,
    )


def counted(rows: list[tuple[str, int]], name: str, work: Any) -> Any:
    """Run `work` and add its number of trips to `rows`."""
    from do_bridge import driver

    with driver.count_trips() as trips:
        result = work()
    rows.append((name, trips.count))
    return result


def operations(rows: list[tuple[str, int]]) -> None:
    """Measure the ORM on a tenant's object."""
    from accounts.models import User
    from blog.models import Post

    using = f"tenant/{SLUG}"
    posts, users = Post.objects.using(using), User.objects.using(using)
    author = users.create(username="author")
    post = counted(rows, "`create`", lambda: posts.create(title="One", content="…", user_id=author.pk))
    counted(rows, "`get(pk=…)`", lambda: posts.get(pk=post.pk))
    counted(rows, "`save()` of an existing object", post.save)
    many = [Post(title=str(number), content="…", user_id=author.pk) for number in range(5000)]
    counted(rows, "`bulk_create(1000)`", lambda: posts.bulk_create(many[:1000]))
    posts.bulk_create(many[1000:])
    counted(rows, "`bulk_update(5000)`", lambda: posts.bulk_update(many, ["title", "content"]))
    keys = list(posts.values_list("pk", flat=True))[:5000]
    counted(rows, "`filter(pk__in=5000)`", lambda: list(posts.filter(pk__in=keys)))
    counted(rows, "`iterator()` over 5,000 rows", lambda: list(posts.iterator()))
    counted(rows, "`delete()` of an object without children", post.delete)
    counted(rows, "`filter(…).delete()` of 1,000 objects", lambda: posts.filter(pk__in=keys[1:1001]).delete())
    groups(rows, using)


def groups(rows: list[tuple[str, int]], using: str) -> None:
    """Measure deleting objects that others point at: groups with their permissions."""
    from django.contrib.auth.models import Group, Permission

    made = Group.objects.using(using).bulk_create([Group(name=str(number)) for number in range(1000)])
    permission = Permission.objects.using(using).first()
    through = Group.permissions.through
    through.objects.using(using).bulk_create(
        [through(group_id=group.pk, permission_id=permission.pk) for group in made]
    )
    counted(rows, "`delete()` of 1,000 objects with children", Group.objects.using(using).all().delete)


def pages(rows: list[tuple[str, int]]) -> None:
    """Measure pages of the site; sign-in is not counted, connections are warm."""
    from django.test import Client

    from accounts.members import add_member
    from accounts.models import Tenant, User

    member = User.objects.create_user("member")
    staff = User.objects.create_superuser("staff")
    add_member(member, Tenant.objects.get(slug=SLUG))
    for name, user, path in [
        ("a tenant's page of posts, visitor", None, f"/t/{SLUG}/"),
        ("a tenant's page of posts, member", member, f"/t/{SLUG}/"),
        ("a tenant's admin list of posts", staff, f"/t/{SLUG}/admin/blog/post/"),
        ("D1's admin list of users", staff, "/admin/accounts/user/"),
    ]:
        client = Client()
        if user:
            client.force_login(user)
        for _ in range(2):  # the second one finds the process's caches filled, as most do
            measured: list[tuple[str, int]] = []
            response = counted(measured, name, lambda client=client, path=path: client.get(path))
            assert response.status_code == 200, (path, response.status_code)  # noqa: S101
        rows += measured


def main() -> None:
    with tempfile.TemporaryDirectory() as state, LocalWorker(0, Path(state), os.urandom(16).hex()) as worker:
        configure(worker)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", database="default", verbosity=0)
        call_command("create_tenant", SLUG, verbosity=0)
        rows: list[tuple[str, int]] = []
        operations(rows)
        pages(rows)
    lines = ["| operation | round trips |", "|---|---|", *(f"| {name} | {count} |" for name, count in rows)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
