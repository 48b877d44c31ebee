"""The ledger says "migrating" before anything is written to an object, whichever command writes."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections

from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.migrate.executor import read_fingerprint
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.tenancy import newer_code
from tests.tenancy.newer_code import RATING

ONE = ["--database", "tenant/{slug}"]
ALL = ["--database", "tenant", "--tenant", "{slug}"]
WAYS = {
    "one": [ONE],
    "one, backwards": [ONE, [*ONE, "blog", "0001"]],
    "one, faked": [[*ONE, "--fake"]],
    "all": [ALL],
    "all, backwards": [ALL, [*ALL, "blog", "0001"]],
    "all, faked": [[*ALL, "--fake"]],
    "first use": [],
}


@pytest.fixture
def seen(acme, monkeypatch):
    """The ledger's state of the tenant at each request that may write to its object."""
    states, send = [], RelaySession.request

    def request(self, message, deadline):
        if message.get("db", "").endswith(f"/{acme.slug}") and ("key" in message or "begin" in message):
            row = ledger.states(acme.slug).get(acme.slug)
            states.append(row.operation if row else "none")
        return send(self, message, deadline)

    monkeypatch.setattr(RelaySession, "request", request)
    return states


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_written_to_an_object_before_the_ledger_says_so(acme, seen, tmp_path, way):
    # As after a creation that a command has noted.
    ledger.reached(acme.slug, code_fingerprint())
    with newer_code.newer_code(tmp_path, RATING):
        for arguments in WAYS[way]:
            seen.clear()
            words = [word.format(slug=acme.slug) for word in arguments]
            call_command("migrate", *words, interactive=False, stdout=StringIO(), stderr=StringIO())
        if not WAYS[way]:
            with tenant_context(acme.slug), connections[tenant_alias(acme.slug)].cursor() as cursor:
                cursor.execute("SELECT count(*) FROM blog_post WHERE rating = 1")
        assert seen
        assert set(seen) == {"migrate"}
        state = ledger.states(acme.slug)[acme.slug]
        assert state.state == "ready"
        assert ledger.is_at(state, code_fingerprint()) == ("backwards" not in way)
        with unchecked():
            assert state.fingerprint == read_fingerprint(connections[tenant_alias(acme.slug)])
