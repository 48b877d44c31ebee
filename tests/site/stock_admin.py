"""Prints how many queries the admin's lists make with Django's own admin site on its own sqlite3 backend."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from pathlib import Path

import django
from django.conf import settings
from django.urls import path

PEOPLE, POSTS = 4, 30
# Set once the applications are ready.
urlpatterns: list[object] = []


def configure() -> None:
    """Take the site's settings with one database in memory, and without what serves tenants."""
    site = importlib.import_module("project.settings")
    values = {name: getattr(site, name) for name in dir(site) if name.isupper()}
    templates = Path(importlib.import_module("django.contrib.admin").__file__ or "").parent / "templates"
    middleware = [
        name.replace("do_bridge.contrib.sessions", "django.contrib.auth") for name in site.MIDDLEWARE
    ]
    values |= {
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        "DATABASE_ROUTERS": [],
        "MIDDLEWARE": [name for name in middleware if name.startswith("django.")],
        "SESSION_ENGINE": "django.contrib.sessions.backends.db",
        "ROOT_URLCONF": __name__,
        "TEMPLATES": [site.TEMPLATES[0] | {"DIRS": [templates]}],
    }
    settings.configure(**values)
    django.setup()


def lists() -> dict[str, int]:
    """Return the number of queries for the list of users and for that of posts, the second time."""
    from django.apps import apps
    from django.contrib.admin import AdminSite, ModelAdmin
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.admin import UserAdmin
    from accounts.models import User
    from blog.admin import PostAdmin
    from blog.models import Post

    options = ("date_hierarchy", "list_display", "list_filter", "list_select_related", "search_fields")
    site = AdminSite()
    site.register(User, UserAdmin)
    site.register(Post, type("StockPostAdmin", (ModelAdmin,), {k: getattr(PostAdmin, k) for k in options}))
    urlpatterns.append(path("admin/", site.urls))
    with connection.schema_editor() as editor:
        for model in apps.get_models():
            editor.create_model(model)
    User.objects.bulk_create(
        User(username=f"user {n}", is_staff=True, is_superuser=True) for n in range(PEOPLE)
    )
    first = User.objects.first()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    Post.objects.bulk_create(Post(title=f"{n}", user=first, published_at=moment) for n in range(POSTS))
    client = Client()
    client.force_login(first)
    counts = {}
    for name, page in (("users", "/admin/accounts/user/"), ("posts", "/admin/blog/post/")):
        assert client.get(page).status_code == 200
        with CaptureQueriesContext(connection) as queries:
            client.get(page)
        counts[name] = len(queries)
    return counts


if __name__ == "__main__":
    configure()
    print(json.dumps(lists()))  # noqa: T201
