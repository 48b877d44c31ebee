"""The steps of docs/howto/operations.md about history and places, on stand-ins for the platform's."""

from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from accounts.models import Tenant
from blog.models import Post
from do_bridge.management import time_travel as cloudflare
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.lease import leases
from tests.infra.fake_time_travel import ACCOUNT, TOKEN, FakeTimeTravel


@contextmanager
def fake_time_travel():
    """Run a fake of Cloudflare's API for D1's history."""
    with (
        FakeTimeTravel(connections["default"].settings_dict["NAME"]) as running,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("D1_API_BASE", running.api_base)
        patched.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
        patched.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
        patched.setattr(cloudflare, "in_test_environment", lambda: False)
        yield running


def history(walk, site):
    moment, bookmark = "2026-11-27T18:00", "0000007b-0000b26e-00001538-0c3e87bb37b3db5cc52eedb93cd3b96b"

    @walk.step("python manage.py tenant_bookmark acme")
    def _():
        walk.names[moment] = timezone.now().isoformat()
        done = yield
        walk.names[bookmark] = done.output.strip()
        site.post("second")

    @walk.step(f"python manage.py tenant_restore acme --to {moment} --noinput")
    def _():
        done = yield
        assert done.error == ""
        assert site.titles() == ["first"]
        walk.names[bookmark] = done.output.split("--bookmark ")[1].split()[0]

    @walk.step(f"python manage.py tenant_restore acme --bookmark {bookmark} --noinput")
    def _():
        done = yield
        assert done.error == ""
        assert site.titles() == ["first", "second"]
        Post.objects.using(tenant_alias(site.acme)).filter(title="second").delete()

    @walk.step("python manage.py tenant_restore --all --before-migration --since 2026-11-27T01:40 --noinput")
    def _():
        walk.names["2026-11-27T01:40"] = timezone.now().isoformat()
        for target in (["sessions", "zero"], ["sessions"]):
            call_command("migrate", *target, database=tenant_alias(site.acme), verbosity=0)
        Post.objects.using(tenant_alias(site.acme)).update(title="ruined")
        done = yield
        assert done.error == "", done.output
        assert site.titles() == ["first"]

    @walk.step("python manage.py database_bookmark")
    def _():
        with fake_time_travel() as fake:
            done = yield
            assert done.output.strip() == fake.bookmark()

    @walk.step(f"python manage.py database_restore --to {moment} --noinput")
    def _():
        with fake_time_travel() as fake:
            done = yield
        assert done.error == ""
        assert "migrate --database tenant" in done.output
        assert any(one.startswith("POST") for one in fake.requests)


def residency(walk, site):
    @walk.step("python manage.py create_tenant acme-eu --jurisdiction eu --location weur")
    def _():
        done = yield
        assert done.error == ""
        assert leases.look(site.slugs["acme-eu"]).jurisdiction == "eu"

    for place in ("us", "none"):

        @walk.step(f"python manage.py tenant_move acme --jurisdiction {place}")
        def _():
            done = yield
            assert done.error == ""
            assert site.titles() == ["first"]

    @walk.step("python manage.py list_tenants")
    def _():
        done = yield
        lines = {line.split()[0]: line for line in done.output.splitlines() if line}
        assert " us " in lines[site.acme] and " eu" in lines[site.slugs["acme-eu"]]

    @walk.step("python manage.py tenant_delete acme-eu --yes")
    def _():
        done = yield
        assert done.error == ""
        assert not Tenant.objects.filter(slug=site.slugs["acme-eu"]).exists()
