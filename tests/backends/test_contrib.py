"""The database cache and sessions on each engine."""

import datetime

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import call_command
from django.utils import timezone

ENGINES_BY_DAY = ("d1", "durable_object")


class OneAlias:
    """A router that leads everything to one alias."""

    def __init__(self, alias):
        self.alias = alias

    def db_for_read(self, model, **hints):
        return self.alias

    db_for_write = db_for_read


@pytest.fixture
def routed(engine, settings):
    settings.DATABASE_ROUTERS = [OneAlias(engine.alias)]
    return engine


@pytest.fixture
def cache(routed, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "cached things",
            "OPTIONS": {"MAX_ENTRIES": 30},
        }
    }
    call_command("createcachetable", database=routed.alias, verbosity=0)
    return caches["default"]


def test_createcachetable_makes_its_table_once(cache, routed, capsys):
    assert "cached things" in routed.introspection.table_names()
    call_command("createcachetable", database=routed.alias)
    assert "already exists" in capsys.readouterr().out


def test_createcachetable_can_show_its_sql(cache, routed, capsys):
    call_command("createcachetable", "another", database=routed.alias, dry_run=True)
    assert 'CREATE TABLE "another"' in capsys.readouterr().out
    assert "another" not in routed.introspection.table_names()


def test_the_cache_gives_back_what_it_was_given(cache):
    values = {"text": "ä\x00", "bytes": b"\x00\xff", "number": 2**63, "none": None, "nested": {"a": [1.5]}}
    assert cache.set_many(values) == []
    assert cache.get_many(values) == values
    assert cache.get("none", "default") is None
    assert cache.get("missing", "default") == "default"


def test_the_cache_adds_counts_touches_and_deletes(cache):
    assert cache.add("n", 1) is True
    assert cache.add("n", 2) is False
    assert cache.incr("n", 4) == 5
    assert cache.touch("n", 60) is True
    assert cache.touch("missing") is False
    assert cache.delete("n") is True
    assert cache.delete("n") is False
    cache.set("a", 1)
    cache.clear()
    assert cache.get("a") is None


def test_an_entry_is_gone_when_its_time_is_over(cache):
    cache.set("gone", 1, timeout=-1)
    cache.set("stays", 1, timeout=None)
    assert (cache.get("gone"), cache.get("stays")) == (None, 1)
    assert cache.add("gone", 2) is True


def test_a_full_cache_is_culled(cache):
    for number in range(40):
        cache.set(f"key-{number}", number)
    left = sum(cache.has_key(f"key-{number}") for number in range(40))
    assert 20 <= left <= 31


@pytest.fixture
def sessions(routed):
    with routed.schema_editor() as editor:
        editor.create_model(Session)
    return SessionStore


def test_a_session_is_saved_changed_and_found(sessions):
    session = sessions()
    session["cart"] = ["ä", 1, None]
    session.save()
    again = sessions(session.session_key)
    assert again["cart"] == ["ä", 1, None]
    again["cart"] = []
    again.save()
    assert sessions(session.session_key)["cart"] == []


def test_a_sessions_key_changes_and_its_data_stay(sessions):
    session = sessions()
    session["user"] = 7
    session.create()
    before = session.session_key
    session.cycle_key()
    assert session.session_key != before
    assert sessions(session.session_key)["user"] == 7
    assert not sessions().exists(before)


def test_a_flushed_session_is_gone(sessions):
    session = sessions()
    session.create()
    key = session.session_key
    session.flush()
    assert not sessions().exists(key)
    assert sessions(key).get("user") is None


def test_clearsessions_deletes_those_whose_time_is_over(sessions, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    over, valid = sessions(), sessions()
    over.set_expiry(timezone.now() - datetime.timedelta(seconds=1))
    for session in (over, valid):
        session.save()
    call_command("clearsessions")
    assert list(Session.objects.values_list("session_key", flat=True)) == [valid.session_key]


def test_a_session_that_was_deleted_meanwhile_is_not_made_anew(sessions):
    session = sessions()
    session.create()
    Session.objects.all().delete()
    session["user"] = 1
    with pytest.raises(UpdateError, match="^$"):
        session.save()
