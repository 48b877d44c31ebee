"""The ORM on D1 when a connection is cut before the answer of a write."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from engine_aliases import alias_for
from shelf import Author, tables

from tests.driver.proxy import Proxy


@pytest.fixture
def proxy(local_worker):
    with Proxy(local_worker.port) as running:
        yield running


@pytest.fixture
def using(proxy, local_worker, django_db_blocker):
    """An alias whose statements go through the proxy."""
    worker = SimpleNamespace(url=proxy.url, token=local_worker.token, api_base="")
    with django_db_blocker.unblock(), alias_for("d1", worker) as connection:
        connection.close()
        with tables(connection) as alias:
            Author.objects.using(alias).create(name="first")
            yield alias
        connection.connection.transport.close()


def names(using):
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def test_what_was_sent_without_an_answer_is_not_sent_again_by_its_block(using, proxy):
    connection = connections[using]
    with connection.constraint_checks_disabled():
        Author.objects.using(using).create(pk=8, name="second")
        proxy.lose_answers = 1
        with pytest.raises(OperationalError, match="outcome of the write is unknown"):
            names(using)
        proxy.lose_answers = 0
        Author.objects.using(using).create(pk=9, name="third")
    assert names(using) == ["first", "second", "third"]
