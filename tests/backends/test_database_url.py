"""Databases as URLs: what each part becomes, what is refused, and that no message shows a secret."""

import os
import re

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend

from do_bridge import database_url
from do_bridge.backends.d1 import base as d1
from do_bridge.backends.durable_object import base as durable_object

TOKEN = "p@ss/w:r%d#?&="
QUOTED = "p%40ss%2Fw%3Ar%25d%23%3F%26%3D"
ID = "d0b41d9e-0000-4000-8000-000000000000"


def from_environ(url, monkeypatch):
    monkeypatch.setenv("A_DATABASE_URL", url)
    return environ.Env().db_url("A_DATABASE_URL")


def from_dj_database_url(url, monkeypatch):
    # An environment that is older than its lock goes without.
    dj_database_url = pytest.importorskip("dj_database_url")
    monkeypatch.setenv("A_DATABASE_URL", url)
    found = dj_database_url.config(env="A_DATABASE_URL")
    assert found.pop("CONN_MAX_AGE") == 0
    assert not found.pop("CONN_HEALTH_CHECKS") and not found.pop("DISABLE_SERVER_SIDE_CURSORS")
    # It leaves out what is empty.
    return {"OPTIONS": {}, **found}


@pytest.fixture(params=[lambda url, _: database_url.parse(url), from_environ, from_dj_database_url])
def read(request, monkeypatch):
    """Reads a URL: by the package's own function, by django-environ, by dj-database-url."""
    database_url.register()
    database_url.register()  # twice does no harm
    return lambda url: request.param(url, monkeypatch)


def settings(engine, name, host, options=None, **others):
    engine = f"do_bridge.backends.{engine}"
    made = {"ENGINE": engine, "NAME": name, "HOST": host, "PASSWORD": TOKEN, "OPTIONS": options or {}}
    return {**made, "USER": "", "PORT": "", **others}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"d1://:{QUOTED}@relay.example/{ID}", settings("d1", ID, "https://relay.example")),
        (f"d1://{QUOTED}@relay.example/{ID}", settings("d1", ID, "https://relay.example")),
        (
            f"d1://account:{QUOTED}@api.cloudflare.com/{ID}?transport=rest",
            settings(
                "d1",
                ID,
                "https://api.cloudflare.com/client/v4",
                {"transport": "rest", "account_id": "account"},
            ),
        ),
        (
            f"d1://:{QUOTED}@127.0.0.1:8787/cdn-cgi/local/explorer/api/{ID}?transport=rest",
            settings("d1", ID, "http://127.0.0.1:8787/cdn-cgi/local/explorer/api", {"transport": "rest"}),
        ),
        (
            f"d1://:{QUOTED}@[::1]:8787/{ID}?timeout=2.5&pool_size=4&transactions=optimistic&max_writes=9&test_name=a&test_clones=b,c",
            settings(
                "d1",
                ID,
                "http://[::1]:8787",
                {"timeout": 2.5, "pool_size": 4, "transactions": "optimistic", "max_writes": 9},
                TEST={"NAME": "a", "CLONES": ["b", "c"]},
            ),
        ),
        (
            f"do://:{QUOTED}@localhost:8787/main?lease=5&migration_lease=20&write_keys=no",
            settings(
                "durable_object",
                "main",
                "http://localhost:8787",
                {"lease": 5.0, "migration_lease": 20.0, "write_keys": False},
            ),
        ),
        (
            f"do://:{QUOTED}@relay/main?jurisdiction=fedramp-high",
            settings("durable_object", "main", "https://relay", {"jurisdiction": "fedramp-high"}),
        ),
        (f"do://:{QUOTED}@relay/a%20b/c?tls=no", settings("durable_object", "a b/c", "http://relay")),
        (f"do://:{QUOTED}@127.0.0.1/?tls=1", settings("durable_object", "", "https://127.0.0.1")),
    ],
)
def test_each_part_of_a_url_is_a_setting(read, url, expected):
    assert read(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"d1://:{QUOTED}@relay.example/{ID}?tiemout=3", "unknown option 'tiemout'. Use connect_timeout"),
        (f"do://:{QUOTED}@relay.example/main?transport=rest", "unknown option 'transport'"),
        (f"d1://:{QUOTED}@relay.example/{ID}?account_id=a", "unknown option 'account_id'"),
        (f"d1://:{QUOTED}@relay.example/{ID}?timeout=soon", "'timeout' of the d1:// URL must be a number"),
        (f"d1://:{QUOTED}@relay.example/{ID}?timeout=nan", "'timeout' of the d1:// URL must be a number"),
        (f"do://:{QUOTED}@relay.example/main?write_keys=maybe", "'write_keys' of the do:// URL must be true"),
        (f"d1://:{QUOTED}@relay.example/{ID}?transport=ftp", "'transport' of the d1:// URL must be relay"),
        (f"d1://:{QUOTED}@relay.example/", "has no database's id"),
        (f"d1://:{QUOTED}@relay.example/base/{ID}", "has a path before the database's id"),
        (f"do://:{QUOTED}@/main", "has no host"),
        (f"do://:{QUOTED}@relay.example/main@eu", "Write its jurisdiction as ?jurisdiction=eu"),
        (f"do://:{QUOTED}@relay.example/main%40eu", "Write its jurisdiction as ?jurisdiction=eu"),
        (
            f"do://:{QUOTED}@relay.example/?jurisdiction=ue",
            "'jurisdiction' of the do:// URL must be eu or",
        ),
        (f"d1://:{QUOTED}@relay.example/{ID}?jurisdiction=eu", "unknown option 'jurisdiction'"),
        (f"d1://somebody:{QUOTED}@relay.example/{ID}", "has a user name"),
        (f"d1://:{QUOTED}@relay.example/{ID}?timeout=1&timeout=2", "timeout"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_a_secret(read, url, message):
    with pytest.raises(ImproperlyConfigured, match=re.escape(message)) as caught:
        read(url)
    for shown in (str(caught.value), str(caught.value.__cause__ or "")):
        assert TOKEN not in shown and QUOTED not in shown and "somebody" not in shown


@pytest.mark.parametrize("token", ["with/slash", "with#hash", "with?mark", "with[bracket", "%ff", "a\u2100b"])
def test_a_token_that_is_not_encoded_is_never_shown(token):
    with pytest.raises(ImproperlyConfigured, match="Percent-encode the token") as caught:
        database_url.parse(f"d1://:{token}@relay.example/{ID}")
    assert token not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_another_scheme_is_refused_by_the_own_function_and_left_to_the_libraries(monkeypatch):
    with pytest.raises(ImproperlyConfigured, match="must begin with d1:// or do://"):
        database_url.parse("postgres://user:secret@host/name")
    database_url.register()
    for read in (from_environ, from_dj_database_url):
        assert read("postgres://user:secret@host/name", monkeypatch)["PASSWORD"] == "secret"


def test_every_option_of_an_engine_can_stand_in_a_url():
    engines = {"d1": set(d1.OPTIONS) - {"account_id"}, "do": set(durable_object.OPTIONS)}
    for scheme, options in engines.items():
        assert set(database_url._OPTIONS[scheme]) == options | {"transaction_mode"}
        assert load_backend(database_url.ENGINES[scheme]).DatabaseWrapper


def test_without_the_two_libraries_nothing_is_registered_and_nothing_fails(monkeypatch):
    monkeypatch.setitem(os.sys.modules, "environ", None)
    monkeypatch.setitem(os.sys.modules, "dj_database_url", None)
    database_url.register()
