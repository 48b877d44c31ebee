"""One cache for all tenants, in which none finds another's entries."""

import pytest
from django.contrib.sessions.backends.cached_db import SessionStore
from django.core.cache import cache, caches
from django.http import HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from django.views.decorators.cache import cache_page

from do_bridge.tenancy import directory_context, tenant_context, unset_context

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
CONTEXTS = {
    "acme": lambda: tenant_context("acme"),
    "zeta": lambda: tenant_context("zeta"),
    "directory": directory_context,
    "unset": unset_context,
}


@pytest.fixture(autouse=True)
def emptied():
    cache.clear()
    yield
    cache.clear()


def everywhere(read):
    found = {}
    for name, context in CONTEXTS.items():
        with context():
            found[name] = read()
    return found


def test_one_key_is_another_entry_in_each_tenant_and_in_the_directory():
    for name in ("acme", "zeta", "directory"):
        with CONTEXTS[name]():
            cache.set("greeting", f"of {name}")
    assert everywhere(lambda: cache.get("greeting")) == {
        "acme": "of acme",
        "zeta": "of zeta",
        "directory": "of directory",
        "unset": "of directory",  # where nothing is current, the directory's own space
    }


def test_no_key_of_one_space_spells_that_of_another():
    with tenant_context("acme"):
        cache.set("x", "of acme")
    for key in ("tenant:acme::1:x", "acme::1:x", "../acme/x", "x"):
        with tenant_context("zeta"):
            assert cache.get(key) is None
        assert cache.get(key) is None


def test_deleting_and_counting_stay_in_their_tenant():
    for name in ("acme", "zeta"):
        with CONTEXTS[name]():
            cache.set_many({"count": 1, "other": 2})
    with tenant_context("acme"):
        cache.incr("count")
        cache.delete("other")
    assert everywhere(lambda: cache.get_many(["count", "other"])) == {
        "acme": {"count": 2},
        "zeta": {"count": 1, "other": 2},
        "directory": {},
        "unset": {},
    }


def test_a_fragment_of_a_template_is_its_tenants():
    template = Template("{% load cache %}{% cache 60 block %}{{ text }}{% endcache %}")
    for name in ("acme", "zeta", "directory"):
        with CONTEXTS[name]():
            assert template.render(Context({"text": name})) == name
    with tenant_context("acme"):
        assert template.render(Context({"text": "anew"})) == "acme"


def test_a_cached_page_is_its_tenants_even_at_the_same_address():
    @cache_page(60)
    def view(request):
        return HttpResponse(request.text)

    def ask(text):
        request = RequestFactory().get("/page")
        request.text = text
        return view(request).content.decode()

    for name in ("acme", "zeta", "directory"):
        with CONTEXTS[name]():
            assert ask(name) == name
    with tenant_context("zeta"):
        assert ask("anew") == "zeta"


def test_a_cached_session_is_the_directorys_and_ends_everywhere(settings, django_db_setup, django_db_blocker):
    settings.CACHES = {
        **settings.CACHES,
        "sessions": {
            "BACKEND": LOCMEM,
            "LOCATION": "sessions",
            "KEY_FUNCTION": "do_bridge.contrib.cache.directory_key",
        },
    }
    settings.SESSION_CACHE_ALIAS = "sessions"
    with django_db_blocker.unblock():
        with tenant_context("acme"):
            session = SessionStore()
            session["who"] = "bo"
            session.save()
        key = session.session_key
        assert everywhere(lambda: SessionStore(key).get("who")) == dict.fromkeys(CONTEXTS, "bo")
        with tenant_context("zeta"):
            SessionStore(key).delete()
        assert everywhere(lambda: SessionStore(key).get("who")) == dict.fromkeys(CONTEXTS)
    caches["sessions"].clear()
