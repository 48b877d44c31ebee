"""`transaction_mode` of a connection, which task queues read and set: as Django's sqlite3 backend has it."""

from contextlib import contextmanager

import pytest
import shelf
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from shelf import Author


@contextmanager
def exclusive_transaction(using):
    """As in django-tasks-db 0.13, django_tasks_db.utils."""
    connection = transaction.get_connection(using)
    assert connection.vendor == "sqlite"
    if not hasattr(connection, "transaction_mode"):
        connection.get_connection_params()
    before = connection.transaction_mode
    try:
        connection.transaction_mode = "EXCLUSIVE"
        with transaction.atomic(using=using):
            yield
    finally:
        connection.transaction_mode = before


def test_a_queue_may_set_the_mode_around_its_block(engine):
    with shelf.tables(engine) as alias:
        with exclusive_transaction(alias):
            Author.objects.using(alias).create(name="Ann")
        assert engine.transaction_mode is None
        assert Author.objects.using(alias).count() == 1


@pytest.mark.parametrize(
    ("given", "mode"), [("exclusive", "EXCLUSIVE"), ("IMMEDIATE", "IMMEDIATE"), (None, None)]
)
def test_the_mode_is_that_of_the_options(engine, given, mode):
    engine.close()
    engine.connection = None
    engine.settings_dict["OPTIONS"]["transaction_mode"] = given
    engine.ensure_connection()
    assert engine.transaction_mode == mode


def test_an_unknown_mode_is_refused_by_its_name(engine):
    engine.settings_dict["OPTIONS"]["transaction_mode"] = "sometimes"
    with pytest.raises(ImproperlyConfigured, match=r"'transaction_mode'\] is 'sometimes'.*'DEFERRED'"):
        engine.get_connection_params()
