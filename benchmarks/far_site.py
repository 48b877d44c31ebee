"""A blog on one database, and its pages: the child process of `benchmarks.distance`.

It reads its DATABASES entry as JSON from the first line of standard input, makes the tables, answers "ready",
and then runs the work named on each line, "<times> <work>", and answers with the milliseconds of one run.
"tidy" deletes what was added.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings

import do_bridge

POSTS = 100
SESSIONS = "do_bridge.contrib.sessions"
#: Django's own way where the package has no gather().
gather: Callable[..., list[Any]] = getattr(do_bridge, "gather", lambda *reads: [list(read) for read in reads])
urlpatterns: list[Any] = []


def configure(database: dict[str, Any]) -> None:
    """Set up the project: one database, the package's sessions, Django's admin."""
    settings.configure(
        SECRET_KEY="for-measurements-alone",  # noqa: S106
        ALLOWED_HOSTS=["testserver"],
        USE_TZ=True,
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "do_bridge",
            SESSIONS,
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            f"{SESSIONS}.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        SESSION_ENGINE=f"{SESSIONS}.backend",
        MESSAGE_STORAGE="django.contrib.messages.storage.cookie.CookieStorage",
        ROOT_URLCONF=__name__,
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                # Before those of do_bridge, whose pages need its own admin site.
                "DIRS": [Path(django.__file__).parent / "contrib" / "admin" / "templates"],
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
    )
    django.setup()


def models() -> tuple[Any, Any]:
    """Return the models: a post, and a membership of its readers."""
    from django.contrib.auth.models import User
    from django.db import models

    class Membership(models.Model):
        user = models.ForeignKey(User, models.CASCADE, related_name="+")
        role = models.CharField(max_length=10)

        class Meta:
            app_label = "do_bridge"

    class Entry(models.Model):
        title = models.CharField(max_length=200)
        content = models.TextField()
        user = models.ForeignKey(User, models.PROTECT, related_name="+")
        published = models.DateTimeField(auto_now_add=True)

        class Meta:
            app_label = "do_bridge"
            indexes = [models.Index(fields=["-published", "-id"], name="newest")]
            ordering = ["-published", "-id"]

    return Membership, Entry


class Site:
    """The pages and the statements, each a method without arguments."""

    def __init__(self) -> None:
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection

        self.membership, self.entry = models()
        call_command("migrate", verbosity=0)
        with connection.schema_editor() as editor:
            editor.create_model(self.membership)
            editor.create_model(self.entry)
        self.user = User.objects.create_superuser("member", password=None)
        self.membership.objects.create(user=self.user, role="owner")
        self.kept = self.entry.objects.bulk_create(self.new(POSTS))[-1].pk
        self.first = self.kept - POSTS + 1
        self.visit, self.member = self.clients()

    def clients(self) -> tuple[Any, Any]:
        """Return the client of a visitor and that of a member; routes the pages."""
        from django.contrib import admin
        from django.test import Client
        from django.urls import path

        site = admin.AdminSite()
        site.register(self.entry, list_display=["title", "user", "published"], list_select_related=["user"])
        urlpatterns.extend([path("", self.page), path("new/", self.save), path("admin/", site.urls)])
        member = Client(SERVER_NAME="testserver")
        member.force_login(self.user)
        return Client(SERVER_NAME="testserver"), member

    def new(self, count: int) -> list[Any]:
        """Return posts that are not saved."""
        text = "some words that a person might have written here"
        return [self.entry(title=f"Post {n}", content=text, user_id=self.user.pk) for n in range(count)]

    def page(self, request: Any) -> Any:
        """Show ten posts; a member's page says what the member may do."""
        from django.http import HttpResponse

        posts = self.entry.objects.select_related("user")[:10]
        if request.COOKIES and request.user.is_authenticated:
            rows, member = gather(posts, self.membership.objects.filter(user_id=request.user.pk))
        else:
            rows, member = list(posts), []
        lines = [f"{row.title} by {row.user.username}" for row in rows]
        return HttpResponse("\n".join([*lines, *(row.role for row in member)]))

    def save(self, request: Any) -> Any:
        """Save a post of a member, as a form does."""
        from django.http import HttpResponseForbidden, HttpResponseRedirect

        if not self.membership.objects.filter(user_id=request.user.pk).exists():
            return HttpResponseForbidden()
        self.entry.objects.create(title=request.POST["title"], content="…", user_id=request.user.pk)
        return HttpResponseRedirect("/")

    def work(self) -> dict[str, Callable[[], Any]]:
        """Return what is measured, by name."""
        posts = self.entry.objects
        return {
            "visitor": lambda: expect(200, self.visit.get("/")),
            "member": lambda: expect(200, self.member.get("/")),
            "post saved": lambda: expect(302, self.member.post("/new/", {"title": "New"})),
            "admin list": lambda: expect(200, self.member.get("/admin/do_bridge/entry/")),
            "edit form": lambda: expect(200, self.member.get(f"/admin/do_bridge/entry/{self.kept}/change/")),
            "get": lambda: posts.get(pk=self.kept),
            "create": lambda: posts.create(title="New", content="…", user_id=self.user.pk),
            "list of 100": lambda: list(posts.filter(pk__lte=self.kept)),
            "count with LIKE": lambda: posts.filter(content__contains="person").count(),
            "5 writes in atomic()": self.block,
            "bulk_create(1000)": lambda: posts.bulk_create(self.new(1000)),
        }

    def block(self) -> None:
        """Change five posts in one transaction."""
        from django.db import transaction

        with transaction.atomic():
            for key in range(self.first, self.first + 5):
                self.entry.objects.filter(pk=key).update(title="Changed")

    def tidy(self) -> None:
        """Delete the posts that were added."""
        self.entry.objects.filter(pk__gt=self.kept).delete()


def expect(status: int, answer: Any) -> None:
    """Raise RuntimeError for another status."""
    if answer.status_code != status:
        raise RuntimeError(f"{answer.request['PATH_INFO']} answered {answer.status_code}")


def main() -> None:
    """Serve the parent."""
    configure(json.loads(sys.stdin.readline()))
    from django.db import close_old_connections

    site = Site()
    work = site.work()
    gc.collect()
    gc.disable()
    answer("ready")
    for line in sys.stdin:
        name = line.strip()
        if name == "tidy":
            site.tidy()
            close_old_connections()
            gc.collect()
            answer("ready")
            continue
        times, name = name.split(" ", 1)
        start = time.perf_counter()
        for _ in range(int(times)):
            work[name]()
            # As at the end of a request; Django's test client leaves it out.
            close_old_connections()
        answer(str((time.perf_counter() - start) * 1000 / int(times)))


def answer(text: str) -> None:
    """Write a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.modules["benchmarks.far_site"] = sys.modules["__main__"]
    main()
