"""docs/move.md works as it is written: a site of Django's sqlite3 engine arrives with every row."""

import copy
import json
import re
import secrets
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.infra.test_newcomer import ONLY_D1, TENANT, TENANTS, Project

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "move.md").read_text()
OLD = """
INSTALLED_APPS += ["accounts", "blog"]
"""
BACK = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "back.sqlite3"}}
DATABASE_ROUTERS = []
"""
BLOG = """
import uuid

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower


class Section(models.Model):
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")
    name = models.CharField(max_length=50, unique=True)
    cover = models.ForeignKey("Post", models.SET_NULL, null=True, related_name="+")


class Label(models.Model):
    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    word = models.CharField(max_length=50)
    near = models.ManyToManyField("self")


class Post(models.Model):
    title = models.CharField(max_length=50)
    text = models.TextField(blank=True)
    section = models.ForeignKey(Section, models.CASCADE, related_name="posts")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT)
    labels = models.ManyToManyField(Label, through="Labelled")
    price = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    ratio = models.FloatField(null=True)
    large = models.BigIntegerField(null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    span = models.DurationField(null=True)
    data = models.JSONField(default=dict)
    blob = models.BinaryField(null=True)
    address = models.GenericIPAddressField(null=True)
    sold = models.BooleanField(default=False)
    stock = models.PositiveIntegerField(default=0)
    shout = models.GeneratedField(
        expression=Lower("title"), output_field=models.CharField(max_length=50), db_persist=True
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint("section", Lower("title"), name="title_once"),
            models.CheckConstraint(condition=Q(stock__lt=1_000_000), name="stocked"),
        ]
        indexes = [
            models.Index(F("moment").desc(), name="newest"),
            models.Index(fields=["price"], condition=Q(sold=True), name="sold"),
        ]


class Labelled(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
    label = models.ForeignKey(Label, models.CASCADE)
    weight = models.IntegerField(default=0)

    class Meta:
        unique_together = [("post", "label")]


class Remark(models.Model):
    kind = models.ForeignKey(ContentType, models.CASCADE)
    key = models.CharField(max_length=50)
    about = GenericForeignKey("kind", "key")
    text = models.TextField()
"""
FILL = """
import datetime as dt, uuid
from decimal import Decimal
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from blog.models import *

utc = dt.timezone.utc
later = dt.datetime(2050, 1, 1, tzinfo=utc)
users = [
    User.objects.create_user(
        f"user{n}", f"user{n}@site.example", "pass-word", pk=10 + n, date_joined=later
    ) for n in range(4)
]
users[0].groups.add(Group.objects.create(name="writers"))
users[1].user_permissions.add(Permission.objects.get(codename="add_post"))
Session.objects.create(session_key="secret-session-key", session_data="x", expire_date=later)
root = Section.objects.create(name="root")
sections = [root, *(Section.objects.create(name=f"section {n}", parent=root) for n in range(9))]
root.parent = sections[9]
root.save()
labels = [Label.objects.create(key=uuid.UUID(int=n + 1), word=f"label {n} 🙂") for n in range(20)]
labels[0].near.add(labels[1], labels[2])
values = [None, Decimal("0.1"), Decimal("5"), Decimal("-123456789.1234"), Decimal("0.0001")]
posts = [
    Post(
        title=f"Title {n}", text="Ünïcode\\n\\x01'\\"" * (n % 70),
        section=sections[n % 10], author=users[n % 3],
        price=values[n % 5], ratio=[None, 0.1, 5.0, -1e300][n % 4], large=[None, 2**62 + n, -(2**63)][n % 3],
        day=dt.date(1900 + n % 200, 1 + n % 12, 1),
        moment=dt.datetime(2024, 1, 1, 10, tzinfo=utc) + dt.timedelta(microseconds=n),
        clock=dt.time(n % 24, 5, 0, n), span=dt.timedelta(days=-n, microseconds=n),
        data={"n": n, "list": [1.5, None, "ä"], "large": 2**53 + 1},
        blob=None if n % 3 else bytes(range(n % 256)),
        address="2001:db8::1" if n % 2 else None, sold=bool(n % 2), stock=n,
    )
    for n in range(300)
]
Post.objects.bulk_create(posts)
posts = list(Post.objects.all())
Labelled.objects.bulk_create(
    Labelled(post=post, label=labels[i % 20], weight=i) for i, post in enumerate(posts)
)
root.cover = posts[7]
root.save()
kind = ContentType.objects.get_for_model(Post)
Remark.objects.bulk_create(Remark(kind=kind, key=str(post.pk), text="about") for post in posts[:50])
LogEntry.objects.create(user=users[3], content_type=kind, object_id="1", object_repr="x", action_flag=1)
"""
# Every row of every model through the ORM; of the models that exist in the old project alone.
READ = """
import json, sys
from django.apps import apps
for model in sorted(apps.get_models(include_auto_created=True), key=lambda model: model._meta.label):
    if model._meta.app_label in LABELS:
        fields = [field.attname for field in model._meta.concrete_fields]
        rows = [
            repr([getattr(row, name) for name in fields])
            for row in model._base_manager.using(ALIAS).order_by("pk")
        ]
        print("ROWS " + json.dumps([model._meta.label, rows]))
"""
EVERYTHING = ("admin", "auth", "blog", "contenttypes", "sessions")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A site on Django's sqlite3 engine, full of rows; `before` is what its ORM reads."""
    made = Project(tmp_path_factory.mktemp("site"), SimpleNamespace(token=""))
    made.write("accounts/models.py", "")
    made.write("blog/models.py", BLOG)
    made.settings = made.folder / "shop" / "settings.py"
    made.stock = made.settings.read_text()
    made.settings.write_text(made.stock + OLD)
    made.manage("makemigrations", "blog")
    run(made, "Before you begin")
    made.manage("shell", "-c", FILL)
    made.before = read(made, EVERYTHING)
    made.settings.write_text(made.stock)
    return made


@pytest.fixture
def site(filled, tmp_path, own_worker):
    """A copy of that site, and a Worker of its own, whose databases are empty."""
    made = copy.copy(filled)
    made.folder = shutil.copytree(filled.folder, tmp_path / "site", symlinks=True)
    made.settings = made.folder / "shop" / "settings.py"
    with own_worker(token=secrets.token_urlsafe(32)) as made.worker:
        yield made


def commands(heading):
    """The commands that the page shows below a heading, in their order."""
    text = re.split(rf"^#+ {re.escape(heading)}\n", PAGE, flags=re.MULTILINE)[1]
    text = re.split(r"^#+ ", text, flags=re.MULTILINE)[0] if "```" in text else text
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [
        line.strip().removeprefix("python manage.py ")
        for block in blocks
        for line in block.splitlines()
        if line.strip()
    ]


def run(project, heading, *only):
    """Run the page's commands below a heading, all or those of these numbers; return what they said."""
    lines = commands(heading)
    assert lines
    chosen = [lines[number] for number in only] if only else lines
    return [project.manage(*shlex.split(line)) for line in chosen]


def read(project, labels, alias="default"):
    """Return {model: rows as texts} that a project's ORM reads."""
    told = project.manage("shell", "-c", f"LABELS, ALIAS = {tuple(labels)!r}, {alias!r}\n{READ}")
    lines = [line.removeprefix("ROWS ") for line in told.splitlines() if line.startswith("ROWS ")]
    return dict(map(json.loads, lines))


def one_object():
    settings = ONLY_D1.replace("backends.d1", "backends.durable_object")
    return re.sub(r' *"(OPTIONS|TEST)": .*\n', "", settings.replace("<the database's id>", "moved"))


@pytest.mark.parametrize("settings", [ONLY_D1, one_object()], ids=["d1", "durable_object"])
def test_every_row_arrives_and_goes_back(site, settings):
    site.configure(settings)
    dry, loaded, migrated = run(site, "To D1")
    assert "rows would be loaded. Nothing was written." in dry
    assert re.search(r"^  blog_post +300$", loaded, re.MULTILINE)
    assert "Each table has the same number of rows" in loaded
    assert "Applying do_bridge.0001_initial" in migrated
    after = read(site, EVERYTHING)
    for model, rows in site.before.items():
        # Of apps that came with the package there are more.
        assert rows == after[model][: len(rows)], model
    assert after["blog.Post"] == site.before["blog.Post"]
    assert "No migrations to apply" in site.manage("migrate")
    assert "no issues" in site.manage("check")
    assert "No changes detected" in site.manage("makemigrations", "--check", "blog")
    # A fixture has no microseconds, as the page says.
    change = "Section.objects.create(name='new'); Post.objects.update(moment=None, clock=None)"
    site.manage("shell", "-c", f"from blog.models import *; {change}")

    run(site, "How to go back", 0)
    written = read(site, ("blog",))
    site.settings.write_text(site.stock + OLD + BACK)
    run(site, "How to go back", 1, 2)
    assert read(site, ("blog",)) == written
    assert read(site, ("auth",))["auth.User"] == after["auth.User"]


def test_a_tenant_of_the_site_has_its_rows_and_comes_back_as_a_file(site):
    site.configure(ONLY_D1)
    run(site, "To D1")
    site.write("accounts/models.py", TENANT)
    site.settings.write_text(site.stock)
    site.configure(ONLY_D1, TENANTS)
    (site.folder / "shop" / "tenant_urls.py").write_text("urlpatterns = []\n")
    *_, dry, loaded, migrated, _ = run(site, "To D1 with tenants")
    assert "auth_user 1 of 4" in dry and "django_session 1 of 1" in dry
    assert "Each table has the same number of rows" in loaded
    after = read(site, EVERYTHING, "tenant/acme")
    assert {model: after[model] for model in after if model.startswith("blog.")} == {
        model: rows for model, rows in site.before.items() if model.startswith("blog.")
    }
    assert len(after["auth.User"]) == 3
    assert after["sessions.Session"] == after["admin.LogEntry"] == after["auth.Group"] == []
    assert not any("pbkdf2" in row or "@site.example" in row for row in after["auth.User"])
    left = read(site, ("blog",))
    assert left["blog.Post"] == []

    run(site, "How to go back", 3)
    file = BACK.replace("back.sqlite3", "acme.sqlite3")
    site.settings.write_text(site.stock + OLD + file)
    assert read(site, ("blog",)) == {
        model: rows for model, rows in after.items() if model.startswith("blog.")
    }
    site.manage(
        "shell",
        "-c",
        "from blog.models import *; Post.objects.first().delete(); Label.objects.all().delete()",
    )
    # With the old site's apps it has nothing to migrate.
    assert "blog.0001" not in site.manage("migrate", "--plan")


def test_the_page_names_the_columns_of_a_user_that_travel():
    from do_bridge.tenancy.lifecycle.transfer.copied_rows import COPIED

    row = next(line for line in PAGE.splitlines() if line.startswith("| users among them"))
    assert set(re.findall(r"`(\w+)`", row)) == COPIED
