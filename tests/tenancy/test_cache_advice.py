"""What commands that replace or delete a tenant's data print about Django's caches."""

import re
import shlex
from io import StringIO

import pytest
from django.core.cache import caches
from django.core.management import call_command

from do_bridge.tenancy import tenant_context
from do_bridge.tenancy.lifecycle.provision import provision_noted

BACKENDS = "django.core.cache.backends"
TENANT_KEY = "do_bridge.contrib.cache.tenant_key"
DIRECTORY_KEY = "do_bridge.contrib.cache.directory_key"


def run(*arguments):
    out = StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def on_disk(settings, tmp_path):
    """A cache that all processes share, with keys by tenant."""
    cache = {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": tmp_path / "cache"}
    settings.CACHES = {"default": {**cache, "KEY_FUNCTION": TENANT_KEY}}
    return caches["default"]


def test_the_command_after_a_deletion_clears_what_the_next_tenant_of_the_slug_would_read(acme, on_disk):
    provision_noted(acme.slug)
    with tenant_context(acme.slug):
        on_disk.set("menu", "of the former tenant")
    printed = run("tenant_delete", acme.slug, "--yes")
    run("create_tenant", acme.slug)
    with tenant_context(acme.slug):
        # Django's caches can't list their keys, so they are not cleared without being asked to.
        assert on_disk.get("menu") == "of the former tenant"
    typed = re.search(r"The cache 'default' may still .* run `manage.py (.*)`\.", printed)[1]
    run(*shlex.split(typed))
    with tenant_context(acme.slug):
        assert on_disk.get("menu") is None


def test_a_cache_in_the_memory_of_processes_is_cleared_by_their_restart(acme, settings):
    settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.locmem.LocMemCache", "KEY_FUNCTION": TENANT_KEY}}
    assert "in the memory of each process. Restart the processes of the site.\n" in run(
        "tenant_delete", acme.slug, "--yes"
    )


def test_a_load_that_replaces_names_the_cache_too(acme, on_disk, tmp_path):
    provision_noted(acme.slug)
    file = tmp_path / "acme.sqlite3"
    run("tenant_dump", acme.slug, file)
    assert "The cache 'default'" in run("tenant_load", acme.slug, file, "--replace", "--yes")
    assert "The cache 'default'" not in run("tenant_load", acme.slug, file, "--replace", "--dry-run")


@pytest.mark.parametrize(
    "cache",
    [
        {"BACKEND": f"{BACKENDS}.locmem.LocMemCache"},
        {"BACKEND": f"{BACKENDS}.locmem.LocMemCache", "KEY_FUNCTION": DIRECTORY_KEY},
        {"BACKEND": f"{BACKENDS}.dummy.DummyCache", "KEY_FUNCTION": TENANT_KEY},
    ],
    ids=["no key function", "shared keys", "no cache"],
)
def test_no_cache_is_named_if_none_has_entries_by_tenant(acme, settings, cache):
    settings.CACHES = {"default": cache}
    assert "cache" not in run("tenant_delete", acme.slug, "--yes")
