"""Counts round trips, and rows read and written, of common operations: `python -m benchmarks.round_trips`."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import write_result
from do_bridge.relay import LocalRelay, bundle

DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"
SLUG = "acme"


@dataclass(frozen=True)
class Count:
    """What an operation took; None for rows where the runtime did not tell all of them."""

    name: str
    trips: int
    read: int | None
    written: int | None


class Records(logging.Handler):
    """Keeps the records of `do_bridge.queries`."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


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


def counted(counts: list[Count], name: str, work: Any) -> Any:
    """Run `work` and add what it took to `counts`."""
    from do_bridge import driver

    records, logger = Records(), logging.getLogger("do_bridge.queries")
    logger.addHandler(records)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    with driver.count_trips() as trips:
        result = work()
    logger.removeHandler(records)
    told = [record for record in records.kept if record.statements]
    sums = (sum_of([record.rows_read for record in told]), sum_of([record.rows_written for record in told]))
    counts.append(Count(name, trips.count, *sums))
    return result


def sum_of(numbers: list[int | None]) -> int | None:
    """The sum, or None where one is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def operations(counts: list[Count]) -> None:
    """Measure the ORM on a tenant's object."""
    from accounts.models import User
    from blog.models import Post

    using = f"tenant/{SLUG}"
    posts, users = Post.objects.using(using), User.objects.using(using)
    author = users.create(username="author")
    post = counted(counts, "`create`", lambda: posts.create(title="One", content="…", user_id=author.pk))
    counted(counts, "`get(pk=…)`", lambda: posts.get(pk=post.pk))
    counted(counts, "`save()` of an existing object", post.save)
    many = [Post(title=str(number), content="…", user_id=author.pk) for number in range(5000)]
    counted(counts, "`bulk_create(1000)`", lambda: posts.bulk_create(many[:1000]))
    posts.bulk_create(many[1000:])
    counted(counts, "`bulk_update(5000)`", lambda: posts.bulk_update(many, ["title", "content"]))
    keys = list(posts.values_list("pk", flat=True))[:5000]
    counted(counts, "`filter(pk__in=5000)`", lambda: list(posts.filter(pk__in=keys)))
    counted(counts, "`iterator()` over 5,000 rows", lambda: list(posts.iterator()))
    counted(counts, "`delete()` of an object without children", post.delete)
    chosen = posts.filter(pk__in=keys[1:1001])
    counted(counts, "`filter(…).delete()` of 1,000 objects", chosen.delete)
    posts.filter(pk__in=keys[1001:4600]).delete()
    groups(counts, using)


def groups(counts: list[Count], using: str) -> None:
    """Measure deleting objects that others point at: groups with their permissions."""
    from django.contrib.auth.models import Group, Permission

    made = Group.objects.using(using).bulk_create([Group(name=str(number)) for number in range(1000)])
    permission = Permission.objects.using(using).first()
    through = Group.permissions.through
    through.objects.using(using).bulk_create(
        [through(group_id=group.pk, permission_id=permission.pk) for group in made]
    )
    counted(counts, "`delete()` of 1,000 objects with children", Group.objects.using(using).all().delete)


def pages(counts: list[Count]) -> None:
    """Measure pages of the site with 400 posts; sign-in is not counted, connections are warm."""
    from django.test import Client

    from accounts.models import Tenant, User
    from do_bridge.members.syncing import add_member

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
            measured: list[Count] = []
            response = counted(measured, name, lambda client=client, path=path: client.get(path))
            assert response.status_code == 200, (path, response.status_code)  # noqa: S101
        counts += measured


def table(counts: list[Count]) -> str:
    """The counts as Markdown."""
    lines = ["| operation | round trips | rows read | rows written |", "|---|---|---|---|"]
    for count in counts:
        rows = ["" if number is None else f"{number:,}" for number in (count.read, count.written)]
        lines.append("| " + " | ".join([count.name, str(count.trips), *rows]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Write and print the table."""
    with (
        tempfile.TemporaryDirectory() as state,
        LocalRelay(Path(state), source=bundle.SOURCE) as worker,
    ):
        configure(worker)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", database="default", verbosity=0)
        call_command("create_tenant", SLUG, verbosity=0)
        counts: list[Count] = []
        operations(counts)
        pages(counts)
    text = table(counts)
    write_result("round_trips.md", text)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
