"""The ORM on D1 with keys of writes, when a connection is cut before a write arrives or before its answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from django.db.transaction import atomic
from engine_aliases import alias_for, settings_for
from shelf import Author, tables

import do_bridge
from do_bridge.backends.d1.base import DatabaseWrapper
from tests.driver.proxy import Proxy


@pytest.fixture
def proxy(local_worker):
    with Proxy(local_worker.port) as running:
        yield running


@pytest.fixture
def using(proxy, local_worker, django_db_blocker):
    """An alias with keys, whose statements go through the proxy."""
    worker = SimpleNamespace(url=proxy.url, token=local_worker.token, api_base="")
    with django_db_blocker.unblock(), alias_for("d1", worker) as connection:
        connection.settings_dict["OPTIONS"]["write_keys"] = True
        connection.close()
        with tables(connection) as alias:
            Author.objects.using(alias).create(name="first")
            yield alias
        connection.connection.transport.close()


def names(using):
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def test_d1_gives_keys_where_an_option_asks_for_them(local_worker):
    settings = settings_for("d1", local_worker)
    assert DatabaseWrapper(settings, "a").get_connection_params()["write_keys"] is False
    settings["OPTIONS"]["write_keys"] = True
    assert DatabaseWrapper(settings, "a").get_connection_params()["write_keys"] is True


def test_what_did_not_arrive_is_sent_again_and_never_runs_late(using, proxy):
    proxy.delay_requests = 1
    author = Author.objects.using(using).create(name="second")
    assert Author.objects.using(using).get(name="second").pk == author.pk
    Author.objects.using(using).all().delete()
    assert b"do_bridge:key_" in b"".join(proxy.deliver())
    assert names(using) == []


def test_a_write_and_a_batch_whose_answers_were_lost_are_there_once_and_said_to_be_done(using, proxy, caplog):
    with pytest.raises(OperationalError, match="carried out once") as caught, atomic(using=using):
        proxy.lose_answers = 1
        Author.objects.using(using).create(name="second")
    assert caught.value.__cause__.effect == "done"
    # The block could not undo it, and says so.
    assert "1 statement(s) have been committed" in caplog.text
    with pytest.raises(OperationalError, match="carried out once"), do_bridge.batch(using=using):
        Author.objects.using(using).filter(name="first").update(name="other")
        Author.objects.using(using).create(name="third")
        proxy.lose_answers = 1
    assert proxy.lost == 2
    assert names(using) == ["other", "second", "third"]


@pytest.mark.parametrize("keys", [True, False])
def test_what_was_sent_without_an_answer_is_not_sent_again_by_its_block(using, proxy, keys):
    connection = connections[using]
    connection.connection.write_keys = keys
    with connection.constraint_checks_disabled():
        Author.objects.using(using).create(pk=8, name="second")
        proxy.lose_answers = 1
        with pytest.raises(OperationalError, match="carried out once|outcome of the write is unknown"):
            names(using)
        proxy.lose_answers = 0
        Author.objects.using(using).create(pk=9, name="third")
    assert names(using) == ["first", "second", "third"]
