"""What save() brings back: generated columns and expressions, exact, with and without a batch."""

import decimal

import pytest
from django.db import DatabaseError, IntegrityError, connections, models, transaction
from django.db.models import F, Value
from django.test import override_settings
from test_schema import create, make_apps, model_state

import do_bridge
from do_bridge import django_compat, driver

BIG = 2**53 + 1
# Before 6.0 an UPDATE brought nothing back.
UPDATE_RETURNS = django_compat.INSTALLED >= (6, 0)
needs_returning = pytest.mark.skipif(not UPDATE_RETURNS, reason="Django 5.2's UPDATE returns nothing.")


@pytest.fixture
def rows(engine):
    """Rows with a number, a price and a weight, and the same computed by the database."""

    def computed(name, field):
        return models.GeneratedField(expression=F(name) * 1, output_field=field, db_persist=True)

    apps = make_apps(
        model_state(
            "Row",
            [
                ("number", models.BigIntegerField(default=0)),
                ("weight", models.FloatField(default=0.0)),
                ("price", models.DecimalField(max_digits=12, decimal_places=2, default=0)),
                ("moment", models.DateTimeField(null=True)),
                ("data", models.JSONField(null=True)),
                ("blob", models.BinaryField(default=b"")),
                ("number_copy", computed("number", models.BigIntegerField())),
                ("weight_copy", computed("weight", models.FloatField())),
                ("price_copy", computed("price", models.DecimalField(max_digits=12, decimal_places=2))),
            ],
        )
    )
    create(engine, apps, "Row")
    with override_settings(DATABASE_ROUTERS=[]):
        yield apps.get_model("zoo", "Row").objects.using(engine.alias)


def test_a_created_row_has_the_types_and_values_of_a_read_one(rows):
    made = rows.create(number=BIG, weight=5.0, price=decimal.Decimal("5.70"))
    assert (made.number_copy, made.weight_copy, made.price_copy) == (BIG, 5.0, decimal.Decimal("5.70"))
    assert (type(made.weight_copy), type(made.price_copy)) == (float, decimal.Decimal)
    read = rows.get()
    assert (made.number_copy, made.price_copy) == (read.number_copy, read.price_copy)


@needs_returning
def test_a_saved_row_has_the_types_and_values_of_a_read_one(rows):
    made = rows.create()
    made.number, made.weight, made.price = BIG, 7.0, decimal.Decimal("5.70")
    with driver.count_trips() as trips:
        made.save()
        assert (made.number_copy, made.weight_copy, made.price_copy) == (BIG, 7.0, decimal.Decimal("5.70"))
    assert (type(made.weight_copy), type(made.price_copy)) == (float, decimal.Decimal)
    assert trips.count == 1


@needs_returning
def test_expressions_are_values_after_save(rows):
    made = rows.create(number=Value(BIG) + 1, weight=Value(2.0) + 1)
    assert (made.number, made.weight, type(made.weight)) == (BIG + 1, 3.0, float)
    made.number, made.price = F("number") + 1, F("price") + decimal.Decimal("1.10")
    made.data, made.blob = Value({"a": [1]}, models.JSONField()), Value(b"\x00\xff", models.BinaryField())
    made.save()
    read = rows.get()
    for name in ("number", "price", "data", "blob", "number_copy", "price_copy"):
        assert getattr(made, name) == getattr(read, name), name
    assert (made.number, made.price, made.data) == (BIG + 2, decimal.Decimal("1.10"), {"a": [1]})


def test_an_update_of_a_missing_row_inserts_it_or_is_an_error(rows):
    made = rows.model(pk=7, number=1)
    made.save(using=rows.db)
    assert rows.get().number_copy == 1
    with pytest.raises(DatabaseError, match="did not affect any rows"):
        rows.model(pk=8).save(using=rows.db, force_update=True)
    assert rows.count() == 1


def test_in_a_batch_save_takes_the_row_for_found_and_reads_later_what_the_database_computes(rows):
    made = rows.create(number=1)
    with do_bridge.batch(rows.db):
        made.number, made.weight = 2, 3.0
        with driver.count_trips() as trips:
            made.save()
        if rows.db == "d1":
            assert trips.count == 0
    assert rows.get().number_copy == 2
    if UPDATE_RETURNS:
        assert (made.number_copy, made.weight_copy) == (2, 3.0)


def test_a_batch_on_d1_fails_if_the_row_that_save_took_for_found_is_not_there(rows):
    if rows.db != "d1":
        pytest.skip("An object's batch is a transaction, in which save() inserts the row.")
    with pytest.raises(IntegrityError, match="changed no row"), do_bridge.batch(rows.db):
        rows.model(pk=99, number=5).save(using=rows.db)
    assert rows.count() == 0


def test_in_a_batch_a_new_row_gets_its_key_and_its_values_when_it_was_sent(rows):
    with do_bridge.batch(rows.db):
        made = rows.create(number=3, weight=5.0)
        several = rows.bulk_create([rows.model(number=4), rows.model(number=5)])
        if rows.db == "d1":
            assert made.pk is None
    assert (made.pk, made.number_copy, made.weight_copy) == (1, 3, 5.0)
    assert [(row.pk, row.number_copy) for row in several] == [(2, 4), (3, 5)]


def test_with_checks_deferred_a_row_is_saved_whether_it_is_there_or_not(rows):
    rows.create(number=1)
    connection = connections[rows.db]
    with transaction.atomic(using=rows.db), connection.constraint_checks_disabled():
        for pk in (1, 2):
            rows.model(pk=pk, number=10 * pk).save_base(raw=True, using=rows.db)
    assert list(rows.order_by("pk").values_list("pk", "number_copy")) == [(1, 10), (2, 20)]


def test_save_may_look_before_it_writes(rows, monkeypatch):
    monkeypatch.setattr(rows.model._meta, "select_on_save", True)
    made = rows.create(number=1)
    made.number = 2
    made.save()
    rows.model(pk=5, number=6).save(using=rows.db)
    assert list(rows.order_by("pk").values_list("pk", "number_copy")) == [(1, 2), (5, 6)]
