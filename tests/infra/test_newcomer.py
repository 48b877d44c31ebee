"""What the README shows for a project of one's own works there, as it is written."""

import json
import re
import secrets
from pathlib import Path

import pytest

from tests import forking
from tests.conftest import site_environment
from tests.production import ProductionWorker

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "howto"
SECTION = (GUIDES / "existing-project.md").read_text() + (GUIDES / "admin.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
# What the table says of a relay on one's own machine.
LOCAL = dict(re.findall(r"^\| `(.+?)` \| `(.+?)` \|", SECTION, re.MULTILINE))
# Each names the file that it belongs to, in its first line.
FILES = [(match[1], block) for block in BLOCKS if (match := re.match(r"# ([a-z_/]+\.py)", block))]
ONLY_D1, TENANTS, TWO_ADMINS = (block for name, block in FILES if name == "shop/settings.py")
TENANT = dict(FILES)["accounts/models.py"]
POST = """
from django.db import models

class Post(models.Model):
    title = models.CharField(max_length=50)

    def __str__(self):
        return self.title
"""
STOCK_ADMIN = """
from django.contrib import admin

from .models import Post

admin.site.register(Post)
"""
# Somebody else's application, which knows nothing of tenants.
PHOTO = """
from django.db import models

class Photo(models.Model):
    caption = models.CharField(max_length=50)
"""
PHOTO_ADMIN = """
from django.contrib import admin

from .models import Photo

@admin.register(Photo)
class PhotoAdmin(admin.ModelAdmin):
    list_display = ["caption"]
"""
GALLERY = """
INSTALLED_APPS.append("gallery")
DO_BRIDGE["TENANT_MODELS"] += ("gallery",)
"""
PHOTO_CASE = """
    def test_a_photo_is_the_tenants(self):
        self.client.force_login(self.root)
        photos = "/t/acme/admin/gallery/photo/"
        self.assertRedirects(self.client.post(f"{photos}add/", {"caption": "Sunset"}), photos)
        self.assertContains(self.client.get(photos), "Sunset")
        self.assertEqual(self.client.get("/admin/gallery/photo/").status_code, 404)
"""
REGISTERED = """
from do_bridge.tenancy.databases import register_tenant

register_tenant("acme")
"""
CASES = """
from django.contrib.auth.models import User
from django.test import TestCase

class AdminTest(TestCase):
    databases = {"default", "tenant/acme"} if TENANTS else {"default"}

    @classmethod
    def setUpTestData(cls):
        cls.root = User.objects.create_superuser("root", "root@blog.example", "a-pass-word")
        if TENANTS:
            from accounts.models import Tenant

            Tenant.objects.create(slug="acme", name="Acme")

    def test_a_post_is_added_in_the_admin(self):
        self.client.force_login(self.root)
        posts = f"{'/t/acme' if TENANTS else ''}/admin/blog/post/"
        for page in ("/admin/", "/admin/auth/user/", posts, f"{posts}add/"):
            self.assertEqual(self.client.get(page).status_code, 200, page)
        self.assertRedirects(self.client.post(f"{posts}add/", {"title": "New"}), posts)
        self.assertContains(self.client.get(posts), "New")
"""


SLUG_ALONE = """
from django.db import models

class Tenant(models.Model):
    slug = models.SlugField(unique=True)
"""
CLIENT = """
from django.conf import settings
from django.db import models
from django.db.models.functions import Upper

class Client(models.Model):
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=50, db_column="called")
    plan = models.CharField(max_length=9, choices={"free": "Free", "pro": "Pro"})
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT)
    options = models.JSONField(default=dict)
    seats = models.IntegerField(db_default=5)
    shout = models.GeneratedField(
        expression=Upper("slug"), output_field=models.CharField(max_length=50), db_persist=False
    )
"""
SHELF = """
from django.db import models

class Book(models.Model):
    pass
"""
SIGN_UP = """
from django.contrib.auth.models import User
from clients.models import Client
from do_bridge.tenancy.lifecycle.creation import create_tenant

owner = User.objects.get()
client, created, how = create_tenant("gamma", "Gamma", fields={"plan": "free", "owner": owner})
print("made:", created, client.seats, client.shout, client.options)
for client in Client.objects.order_by("slug"):
    print("client:", client.slug, client.name, client.plan, client.owner_id == owner.pk, client.options)
"""


class Project:
    """A project that `startproject` made, with the package and the apps "accounts" and "blog"."""

    def __init__(self, folder, worker):
        self.folder, self.worker = folder, worker
        self.manage("startproject", "shop", ".", program="django-admin")
        # A link is to Python what a copy is, and has been compiled before.
        (folder / "do_bridge").symlink_to(ROOT / "do_bridge")
        for app, models in (("accounts", TENANT), ("blog", POST)):
            self.manage("startapp", app)
            self.write(f"{app}/models.py", models)

    def write(self, name, *texts):
        (self.folder / name).write_text("\n".join(texts))

    def configure(self, *blocks):
        """Put the README's settings behind those of `startproject`; what it leaves out is filled in."""
        text = "\n".join(blocks)
        filled = {
            "<the database's id>": LOCAL["NAME"],
            "<the id of another database, for tests>": LOCAL['TEST["NAME"]'],
            "https://do-bridge.<you>.workers.dev": self.worker.url,
        }
        for shown, given in filled.items():
            text = text.replace(shown, given)
        assert not re.search(r"\.\.\.|<", text)
        path = self.folder / "shop" / "settings.py"
        path.write_text(path.read_text() + text)

    def manage(self, *arguments, program="manage.py"):
        """Run one of Django's commands; return what it said."""
        done = self.run(*arguments, program=program)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, *arguments, program="manage.py"):
        """Run one of Django's commands; return the process that has ended."""
        start = ["-m", "django"] if program == "django-admin" else [program]
        environment = {"PATH": "/usr/bin:/bin", "RELAY_TOKEN": self.worker.token}
        return forking.run([*start, *arguments], cwd=self.folder, env=environment)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """A Worker of their own: what they write is configured data, which no test run empties."""
    with ProductionWorker(tmp_path_factory.mktemp("state"), token=secrets.token_urlsafe(32)) as running:
        yield running


@pytest.fixture
def project(tmp_path, worker):
    return Project(tmp_path, worker)


def test_the_databases_of_a_local_worker_are_those_that_the_text_names():
    config = json.loads((ROOT / "worker" / "wrangler.jsonc").read_text())
    main, tests, *clones = [entry["database_id"] for entry in config["d1_databases"]]
    assert (LOCAL["NAME"], LOCAL['TEST["NAME"]']) == (main, tests)
    assert f'`["{clones[0]}", …]`, to `…{clones[-1][-3:]}`' in SECTION


@pytest.mark.parametrize("engine", ["d1", "durable_object"])
def test_a_project_with_one_database_has_djangos_admin_and_its_tests(project, engine):
    settings = ONLY_D1
    if engine == "durable_object":
        settings = settings.replace("backends.d1", "backends.durable_object")
        settings = settings.replace("<the database's id>", "newcomer")
        settings = re.sub(r' *"(OPTIONS|TEST)": .*\n', "", settings)
    project.configure(settings)
    project.write("blog/admin.py", STOCK_ADMIN)
    project.write("blog/tests.py", "TENANTS = False", CASES)
    project.manage("makemigrations", "accounts", "blog")
    project.manage("migrate")
    assert "no issues" in project.manage("check")
    assert "OK" in project.manage("test")


def test_a_project_with_tenants_is_what_the_text_says_when_every_block_is_in_its_file(project):
    project.manage("startapp", "gallery")
    project.write("gallery/models.py", PHOTO)
    project.write("gallery/admin.py", PHOTO_ADMIN)
    for name in dict.fromkeys(name for name, _ in FILES):
        blocks = [block for file, block in FILES if file == name]
        if name == "shop/settings.py":
            project.configure(*blocks, GALLERY)
        else:
            project.write(name, *blocks)
    project.write("blog/tests.py", "TENANTS = True", REGISTERED, CASES + PHOTO_CASE)
    project.manage("makemigrations", "accounts", "blog", "gallery")
    assert "no issues" in project.manage("check")
    for command in re.findall(r"python manage\.py (.*?)\s+#", SECTION):
        project.manage(*[word.strip('"') for word in command.split()])
    assert "OK" in project.manage("test")


def test_a_tenant_model_of_ones_own_gets_the_values_that_it_needs(tmp_path, own_worker):
    with own_worker() as worker:
        project = Project(tmp_path, worker)
        project.manage("startapp", "clients")
        project.write("accounts/models.py", SLUG_ALONE)
        project.write("clients/models.py", CLIENT)
        project.configure(ONLY_D1, TENANTS, 'INSTALLED_APPS.append("clients")')
        project.manage("makemigrations", "accounts", "blog", "clients")
        project.manage("migrate")
        for _ in range(2):
            told = project.manage("create_tenant", "acme", "--name", "Acme")
            assert "accounts.Tenant has no field `name`" in told

        settings = tmp_path / "shop" / "settings.py"
        settings.write_text(settings.read_text() + '\nDO_BRIDGE["TENANT_MODEL"] = "clients.Client"\n')
        project.manage(
            "shell", "-c", "from django.contrib.auth.models import User; User.objects.create(pk=7)"
        )
        for arguments, told in (
            (
                ("create_tenant", "beta"),
                "CommandError: clients.Client needs a value for plan, owner. Add",
            ),
            (("create_tenant", "beta", "--set", "plan=free"), "clients.Client needs a value for owner."),
            (
                ("create_tenant", "beta", "--set", "plan=secret", "--set", "owner=7"),
                "--set plan: the value is not",
            ),
            (
                ("create_tenant", "beta", "--set", "plan=free", "--set", "owner=8"),
                "--set owner: the value is not",
            ),
            (("create_tenant", "beta", "--set", "colour=red"), "plan, owner, options, seats"),
            (("tenant_copy", "acme", "beta"), "clients.Client needs a value for plan, owner."),
        ):
            done = project.run(*arguments)
            assert told in done.stderr
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert "secret" not in done.stderr
        values = ("--set", "plan=pro", "--set", "owner=7", "--set", 'options={"a": 1}')
        assert "created" in project.manage("create_tenant", "beta", "--name", "Beta", *values)
        # What is there needs no values, and keeps those that are not given.
        assert "already exists" in project.manage("create_tenant", "beta", "--name", "Bet")
        assert "already exists" in project.manage("create_tenant", "beta", "--set", "plan=free")
        project.manage("tenant_copy", "beta", "delta", *values)
        told = project.manage("shell", "-c", SIGN_UP)
        assert "made: True 5 GAMMA {}" in told
        assert [line for line in told.splitlines() if line.startswith("client:")] == [
            "client: beta Bet free True {'a': 1}",
            "client: delta delta pro True {'a': 1}",
            "client: gamma Gamma free True {}",
        ]


def test_a_database_that_the_demo_has_migrated_is_no_project_of_ones_own(tmp_path, own_worker):
    with own_worker() as worker:
        environment = {"PATH": "/usr/bin:/bin", **site_environment(worker)}
        demo = forking.run(["manage.py", "migrate", "--database", "default"], env=environment)
        assert demo.returncode == 0, demo.stderr
        project = Project(tmp_path, worker)
        project.configure(ONLY_D1)
        refused = project.run("migrate")
        assert refused.returncode == 1
        assert (
            "was migrated by another project: it has migrations of auth and no table auth_user"
            in refused.stderr
        )
        assert len(refused.stderr.splitlines()) == 1

        # Without users the names of the apps tell.
        project.manage("startapp", "shelf")
        project.write("shelf/models.py", SHELF)
        settings = tmp_path / "shop" / "settings.py"
        own = 'INSTALLED_APPS = ["do_bridge", "django.contrib.contenttypes", "shelf"]\n'
        settings.write_text(settings.read_text() + own)
        project.write("shop/urls.py", "urlpatterns = []")
        project.manage("makemigrations", "shelf")
        refused = project.run("migrate")
        assert (
            "migrations of accounts, admin, auth, blog, do_bridge_inspection, do_bridge_members, sessions "
            "and none of shelf" in refused.stderr
        )
        project.manage("migrate", "--plan")
        project.manage("migrate", "--with-other-apps", "shelf")
        # From now on the others are like apps that were taken out.
        project.manage("migrate")
