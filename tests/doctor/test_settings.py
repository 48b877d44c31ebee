"""Which relay and which databases `relay doctor` finds in the settings and in the environment."""

import pytest
from django.core.management import CommandError
from django.db import connections

from do_bridge.doctor.probe import D1, OBJECT, RELAY
from do_bridge.management.relay import doctor

CLOUDFLARE = "https://api.cloudflare.com/client/v4"
D1_ALIAS = {
    "ENGINE": "do_bridge.backends.d1",
    "NAME": "database-id",
    "HOST": "https://relay.example",
    "PASSWORD": "d" * 40,
}
OBJECT_ALIAS = {
    "ENGINE": "do_bridge.backends.durable_object",
    "NAME": "main",
    "HOST": "https://relay.example",
    "PASSWORD": "t" * 40,
}
PLAIN = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_D1_TOKEN", "D1_API_BASE"):
        monkeypatch.setenv(name, "")


def rest_of(options=None):
    alias = {**D1_ALIAS, "OPTIONS": options or {}}
    return doctor._rest(alias, alias["OPTIONS"].get("transport") == "rest")


@pytest.mark.parametrize("base", ["", CLOUDFLARE])
def test_cloudflares_api_without_an_account_is_not_examined(base, monkeypatch):
    monkeypatch.setenv("D1_API_BASE", base)
    assert rest_of() is None
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "account")
    assert rest_of() is None


@pytest.mark.parametrize("token", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_D1_TOKEN"])
def test_an_account_and_either_token_are_enough_for_cloudflares_api(token, monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "account")
    monkeypatch.setenv(token, "the-token")
    found = rest_of()
    assert (found.api_base, found.database_id, found.account_id) == (CLOUDFLARE, "database-id", "account")
    assert "the-token" in (found.token, found.admin_token)
    assert "the-token" not in repr(found)


def test_the_local_api_gets_no_token_of_the_account(monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "account")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "the-token")
    monkeypatch.setenv("D1_API_BASE", "http://127.0.0.1:8787/cdn-cgi/local/explorer/api")
    found = rest_of()
    assert (found.token, found.account_id, found.admin_token) == ("", "", "")


def test_an_alias_over_rest_is_examined_as_it_is_configured():
    found = rest_of({"transport": "rest", "account_id": "account"})
    assert (found.api_base, found.token, found.account_id) == ("https://relay.example", "d" * 40, "account")


def examined(monkeypatch, **aliases):
    """The kinds that are examined of these DATABASES."""
    handler = type(connections)(aliases)
    monkeypatch.setattr(doctor, "connections", handler)
    site = doctor.configured_site()
    return {kind: subject.name for kind, subject in site.everything()}


def test_the_databases_of_a_project_are_found_whatever_their_aliases(monkeypatch):
    found = examined(monkeypatch, default=dict(PLAIN), shared=dict(D1_ALIAS), main=dict(OBJECT_ALIAS))
    assert found[RELAY] == "https://relay.example"
    assert found[D1] == "d1:database-id"
    # Never the object that holds the project's rows.
    assert found[OBJECT].startswith("do:doctor/")


def test_one_object_alone_needs_no_d1(monkeypatch):
    assert examined(monkeypatch, default=dict(OBJECT_ALIAS)).keys() == {RELAY, OBJECT}


def test_a_setting_that_is_missing_is_named(monkeypatch):
    with pytest.raises(CommandError, match=r"HOST"):
        examined(monkeypatch, default={**D1_ALIAS, "HOST": ""})
    with pytest.raises(CommandError, match="DATABASES has no alias with an engine of do_bridge"):
        examined(monkeypatch, default=dict(PLAIN))
