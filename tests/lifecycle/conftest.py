"""Objects with a history, for the tests that take tenants back to a moment."""

import os

import pytest


@pytest.fixture(scope="package")
def history_worker(tmp_path_factory):
    """A HistoryWorker: a stand-in for the platform's point-in-time recovery."""
    from tests.production import HistoryWorker

    tenants = "a-token-for-objects-alone-" + os.urandom(12).hex()
    worker = HistoryWorker(tmp_path_factory.mktemp("history"), tokens={"RELAY_TOKEN_TENANTS": tenants})
    with worker:
        yield worker


@pytest.fixture
def history(history_worker, db, monkeypatch):
    """The tenants' objects are those of the HistoryWorker during the test; D1 stays where it is."""
    from django.conf import settings
    from django.db import connections

    from do_bridge.tenancy.databases import tenant_databases
    from do_bridge.tenancy.lifecycle import bookmarks, provision
    from do_bridge.tenancy.schema import known

    def fresh():
        for alias in tenant_databases().live_aliases():
            connections[alias].close()
            del connections[alias]
        settings.DATABASES._derived.clear()
        provision._dumps.clear()
        known.forget()
        bookmarks._warned.clear()

    fresh()
    template = settings.DATABASES["tenant"]
    for name, value in (("HOST", history_worker.url), ("PASSWORD", history_worker.token)):
        monkeypatch.setitem(template, name, value)
    yield history_worker
    fresh()
    monkeypatch.undo()
    fresh()
