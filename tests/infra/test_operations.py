"""Every command of docs/howto/operations.md does what the page says, on a local relay and stand-ins."""

import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge import driver
from do_bridge.contrib.sessions.backend import SessionStore
from do_bridge.models import TenantState
from do_bridge.relay import envfile, ports
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.lifecycle.provision import has_tables
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.infra.fake_cloudflare import DATABASE
from tests.infra.operations import Operations, commands_of
from tests.infra.operations_places import history, residency
from tests.infra.pages import ROOT
from tests.lifecycle.conftest import tenants_on
from tests.tenancy.cut_off import cut_off
from tests.tenancy.lost_rows import lose_row

PAGE = ROOT / "docs" / "howto" / "operations.md"
ACCOUNT = {
    "CLOUDFLARE_ACCOUNT_ID": "0123456789abcdef0123456789abcdef",
    "CLOUDFLARE_API_TOKEN": "an-api-token",
    "CLOUDFLARE_DATABASE_ID": DATABASE.format(7),
}
SLEEP = time.sleep
OLD = "the-old-token-of-the-relay-0123456789"


class TheSite:
    """The tenants and the user of the page, and what a test asks of them."""

    def __init__(self, folder):
        self.folder = folder
        self.slugs = {
            name: unique_slug(name.replace("-", "")) for name in ("acme", "acme-before", "acme-eu", "drill")
        }
        self.acme = self.slugs["acme"]
        self.ada = User.objects.create_user("ada", password="secret-of-ada", name="Ada L")
        self.bo = User.objects.create_user("bo", name="Bo")
        create_tenant(self.acme, "Acme", [self.ada, self.bo])
        self.post("first")

    @property
    def names(self):
        files = ("acme.sqlite3", "acme-wrong.sqlite3", "acme-last.sqlite3", "acme-now.sqlite3", "drill.json")
        words = {name: str(self.folder / name) for name in files}
        keys = {text: text.replace("7", str(self.ada.pk)) for text in ("user=7", "user_id=7", "pk=7")}
        return {**self.slugs, **words, **keys}

    def post(self, title):
        with tenant_context(self.acme):
            Post.objects.create(title=title, content="-", user_id=self.ada.pk)

    def titles(self, name="acme"):
        posts = Post.objects.using(tenant_alias(self.slugs[name]))
        return list(posts.order_by("pk").values_list("title", flat=True))

    def state(self):
        return ledger.states([self.acme])[self.acme]


@pytest.fixture
def site(db, history_worker, tmp_path, settings):
    # Other modules register tenants of their own.
    TenantState.objects.all().delete()
    backups = {"location": str(tmp_path / "backups")}
    storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": backups}
    settings.STORAGES = {**settings.STORAGES, "backups": storage}
    with tenants_on(history_worker):
        made = TheSite(tmp_path)
        yield made
        for slug in made.slugs.values():
            empty_object(tenant_alias(slug))
            ledger.forget(slug)
    lookup.forget()


@pytest.fixture
def walk(site):
    return Operations(site.names)


def daily(walk, site):
    @walk.step("python manage.py relay status")
    def _():
        done = yield
        assert done.error == ""
        assert "package" in done.output and "relay" in done.output

    @walk.step("python manage.py list_tenants --sizes")
    def _():
        done = yield
        assert done.error == ""
        assert site.acme in done.output and "up to date" in done.output and "KB" in done.output

    @walk.step("python manage.py migrate --database tenant --check")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py sync_members --check")
    def _():
        done = yield
        assert done.error == ""


def backups(walk, site):
    @walk.step("python manage.py tenant_backup --resume --keep 30")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py tenant_backup --list")
    def _():
        done = yield
        assert "2 databases" in done.output

    @walk.step("python manage.py tenant_dump acme acme.sqlite3 --strict")
    def _():
        done = yield
        assert done.error == ""
        with closing(sqlite3.connect(site.folder / "acme.sqlite3")) as file:
            assert file.execute("SELECT title FROM blog_post").fetchall() == [("first",)]

    @walk.step("python manage.py tenant_restore_backup acme --as drill")
    def _():
        done = yield
        assert done.error == ""
        assert site.titles("drill") == ["first"]

    @walk.step("python manage.py tenant_command drill dumpdata blog --output drill.json")
    def _():
        done = yield
        assert done.error == ""
        assert '"first"' in (site.folder / "drill.json").read_text()

    @walk.step("python manage.py tenant_delete drill --yes")
    def _():
        done = yield
        assert done.error == ""
        assert not has_tables(site.slugs["drill"])

    @walk.step("python manage.py tenant_dump acme acme-wrong.sqlite3 --strict")
    def _():
        site.post("wrong")
        done = yield
        assert done.error == ""
        with closing(sqlite3.connect(site.folder / "acme-wrong.sqlite3")) as file:
            assert file.execute("SELECT count(*) FROM blog_post").fetchone() == (2,)

    @walk.step("python manage.py tenant_load acme acme.sqlite3 --replace --yes")
    def _():
        done = yield
        assert done.error == ""
        assert site.titles() == ["first"]
        assert Membership.objects.filter(tenant__slug=site.acme).count() == 2

    @walk.step("python manage.py tenant_restore_backup acme --as acme-before")
    def _():
        done = yield
        assert done.error == ""
        assert site.titles("acme-before") == ["first"]


def deletions(walk, site):
    @walk.step("python manage.py tenant_dump acme acme-last.sqlite3 --strict")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py tenant_delete acme-before --yes")
    def _():
        done = yield
        assert done.error == ""

    for _ in range(2):

        @walk.step("python manage.py tenant_delete acme --yes")
        def _():
            done = yield
            assert done.error == ""
            assert not Tenant.objects.filter(slug=site.acme).exists()
            assert not Membership.objects.filter(tenant__slug=site.acme).exists()
            assert not read_tenant(site.acme).has_tables
            assert site.state().state == ledger.DELETED

    @walk.step("python manage.py tenant_load acme acme-last.sqlite3")
    def _():
        done = yield
        assert done.error == ""
        assert site.titles() == ["first"]
        assert not Membership.objects.filter(tenant__slug=site.acme).exists()

    @walk.step("python manage.py create_tenant acme --member ada")
    def _():
        done = yield
        assert done.error == ""
        assert Membership.objects.get(tenant__slug=site.acme).user == site.ada


def users(walk, site):
    commands = [line for line in commands_of(PAGE) if "shell -c" in line]
    which, count, rename, everywhere, sessions, delete = commands

    @walk.step(which)
    def _():
        done = yield
        assert site.acme in done.output.split()

    @walk.step(count)
    def _():
        done = yield
        assert f"'{site.acme}': 1" in done.output

    @walk.step(rename)
    def _():
        yield
        assert User.objects.get(pk=site.ada.pk).username == "erased-7"

    @walk.step("python manage.py sync_members")
    def _():
        done = yield
        assert done.error == ""
        assert copy_of(site).username == "erased-7"

    @walk.step(everywhere)
    def _():
        # As in a tenant that the user has left, whose copy has the name of before.
        User.objects.using(tenant_alias(site.acme)).filter(pk=site.ada.pk).update(
            username="ada", name="Ada L"
        )
        done = yield
        assert done.error == ""
        assert (copy_of(site).username, copy_of(site).name) == ("erased-7", "")

    @walk.step(sessions)
    def _():
        rows = SessionStore.get_model_class().objects
        rows.create(session_key="hers", expire_date=timezone.now(), user=site.ada)
        rows.create(session_key="his", expire_date=timezone.now(), user=site.bo)
        yield
        assert [row.session_key for row in rows.all()] == ["his"]
        rows.all().delete()

    @walk.step(delete)
    def _():
        yield
        assert not User.objects.filter(pk=site.ada.pk).exists()
        assert copy_of(site).username == "erased-7"
        assert site.titles() == ["first"]

    @walk.step("python manage.py sync_members --check")
    def _():
        done = yield
        assert done.error == ""


def copy_of(site):
    return User.objects.using(tenant_alias(site.acme)).get(pk=site.ada.pk)


def upgrades(walk, site, cloudflare, env_file, local_worker):
    relay = "python manage.py relay deploy --no-migrate"

    @walk.step(relay)
    def _():
        env_file(**ACCOUNT, RELAY_URL=cloudflare.url, RELAY_TOKEN=OLD)
        with no_waiting():
            done = yield
        assert done.error == ""
        assert works(cloudflare.url, OLD)

    for database in ("default", "tenant"):

        @walk.step(f"python manage.py migrate --database {database} --plan")
        def _():
            done = yield
            assert done.error == ""

        @walk.step(f"python manage.py migrate --database {database}")
        def _():
            done = yield
            assert done.error == ""

    @walk.step("python manage.py relay status")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py relay doctor")
    def _():
        # It examines one relay, and the tenants' is another one here.
        with tenants_on(local_worker):
            done = yield
        assert done.error == "", done.output[-3000:]

    @walk.step("python manage.py migrate --database tenant sessions zero")
    def _():
        done = yield
        assert done.error == ""
        assert site.state().state == ledger.READY

    @walk.step("python manage.py migrate --database default sessions zero")
    def _():
        done = yield
        assert done.error == ""

    @walk.step(f"{relay} --allow-older")
    def _():
        with no_waiting():
            done = yield
        assert done.error == ""
        assert len(cloudflare.uploads) == 2

    for database in ("default", "tenant"):

        @walk.step(f"python manage.py migrate --database {database}")
        def _():
            done = yield
            assert done.error == ""
            assert not Session.objects.exists()


@contextmanager
def no_waiting():
    """Let a deployment not wait for busy objects; everything else in the page's order does wait."""
    time.sleep = lambda seconds: None
    try:
        yield
    finally:
        time.sleep = SLEEP


def works(url, token):
    transport = driver.relay(url, token)
    try:
        driver.connect(transport, "do:test/token").execute("SELECT 1")
    except driver.OperationalError:
        return False
    finally:
        transport.close()
    return True


@contextmanager
def silent_d1(monkeypatch):
    """Let nothing answer for the shared database, while the tenants' objects do answer."""
    connection = connections["default"]
    nobody = driver.relay(f"http://{ports.HOST}:{ports.free_port()}", OLD)
    parameters = connection.get_connection_params() | {"transport": nobody, "timeout": 1.0}
    connection.close()
    with monkeypatch.context() as patched:
        patched.setattr(connection, "get_connection_params", lambda: parameters)
        yield
    connection.close()


def outages(walk, site, monkeypatch):
    @walk.step("python manage.py relay status")
    def _():
        with monkeypatch.context() as patched:
            for values in dict.values(connections.settings):
                if values.get("HOST"):
                    patched.setitem(values, "HOST", f"http://{ports.HOST}:{ports.free_port()}")
            done = yield
        assert "not answer" in done.error or "can't be reached" in done.error or "could not" in done.error

    @walk.step("python manage.py list_tenants")
    def _():
        with silent_d1(monkeypatch):
            done = yield
        assert "list of tenants can't be read" in done.error

    @walk.step("python manage.py tenant_dump acme acme-now.sqlite3")
    def _():
        done = yield
        assert done.error == ""


def tenants_that_fail(walk, site):
    @walk.step("python manage.py list_tenants acme")
    def _():
        cut_off(site.acme, "migrate", "no such column")
        done = yield
        assert "migrate failed" in done.output

    @walk.step("python manage.py migrate --database tenant/acme")
    def _():
        call_command("migrate", "sessions", "zero", database=tenant_alias(site.acme), verbosity=0)
        done = yield
        assert done.error == ""
        assert Session.objects.using(tenant_alias(site.acme)).count() == 0
        assert (site.state().state, site.state().operation) == (ledger.READY, "")

    @walk.step("python manage.py sync_members acme")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py create_tenant acme --adopt")
    def _():
        lose_row(site.acme)
        ledger.forget(site.acme)
        Tenant.objects.create(slug=site.acme, name="By hand")
        done = yield
        assert done.error == ""
        assert site.titles() == ["first"]
        lookup.forget()
        assert lookup.get(site.acme)

    @walk.step("python manage.py list_tenants acme --json")
    def _():
        cut_off(site.acme, "migrate", seconds=1)
        done = yield
        assert '"operation": "migrate"' in done.output

    @walk.step("python manage.py migrate --database tenant/acme")
    def _():
        done = yield
        assert done.error == ""
        assert site.state().operation == ""


def the_rest(walk, site, cloudflare, folder):
    @walk.step("python manage.py relay token rotate --leaked")
    def _():
        with no_waiting():
            done = yield
        assert done.error == ""
        assert not works(cloudflare.url, OLD)
        assert works(cloudflare.url, envfile.read(folder / ".env")["RELAY_TOKEN"])

    @walk.step("python manage.py migrate --database tenant --check")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py tenant_load acme acme-now.sqlite3 --replace --yes")
    def _():
        Post.objects.using(tenant_alias(site.acme)).update(title="lost")
        done = yield
        assert done.error == ""
        assert site.titles() == ["first"]

    @walk.step("python manage.py list_tenants --sizes")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py clearsessions")
    def _():
        rows = SessionStore.get_model_class().objects
        rows.create(session_key="old", expire_date=timezone.now() - timedelta(days=1))
        done = yield
        assert done.error == ""
        assert not rows.exists()

    @walk.step("python manage.py empty_template_objects")
    def _():
        done = yield
        assert done.error == ""

    @walk.step("python manage.py list_tenants --sizes --json")
    def _():
        done = yield
        assert '"size": ' in done.output


@pytest.mark.timeout(300)
def test_every_command_of_the_page_does_what_the_page_says(
    walk, site, folder, env_file, cloudflare, local_worker, monkeypatch
):
    monkeypatch.setattr(time, "sleep", SLEEP)
    daily(walk, site)
    backups(walk, site)
    history(walk, site)
    residency(walk, site)
    deletions(walk, site)
    users(walk, site)
    upgrades(walk, site, cloudflare, env_file, local_worker)
    outages(walk, site, monkeypatch)
    tenants_that_fail(walk, site)
    the_rest(walk, site, cloudflare, folder)
    walk.walk(commands_of(PAGE))
