"""bulk_update() in one UPDATE from JSON: the same rows as on Django's own sqlite3, whatever is in them."""

import datetime
import decimal
import uuid

import pytest
from django.db import DataError, IntegrityError, connections, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Case, F, Q, Value, When
from django.test import override_settings
from shelf import Author, Book, Seat, stock_tables, tables

import do_bridge
from do_bridge import driver
from do_bridge.backends.remote_sqlite.queries import json_rows

UTC = datetime.UTC
FIRST, SECOND = uuid.UUID(int=1), uuid.UUID(int=2**128 - 1)
VALUES = {
    "number": [2**63 - 1, -(2**63), 2**53 + 1, 0, None],
    "rank": [1, -1, 0],
    "weight": [0.1, 5.0, 1e300, -0.0, None, float("inf")],
    "price": [decimal.Decimal("1.250"), decimal.Decimal("-0.001"), decimal.Decimal("5"), None],
    "text": ["it's", "", "%s ü€", 'a "quoted" \\ one', "nul\x00in it", None, "7"],
    "data": [b"\x00\xff", b"", None, b"x" * 3000],
    "lent": [True, False, None],
    "moment": [datetime.datetime(2024, 2, 29, 1, 2, 3, 4, UTC), datetime.datetime(1, 1, 1, tzinfo=UTC), None],
    "day": [datetime.date(2024, 2, 29), None],
    "clock": [datetime.time(1, 2, 3, 999999), None],
    "span": [datetime.timedelta(days=-3, microseconds=1), None],
    "token": [FIRST, SECOND, None],
    "extra": [{"a": [1, None, "x"]}, [], "text", 1.5, True, None],
}


@pytest.fixture
def using(engine):
    with tables(engine) as alias:
        yield alias


def commit_of(alias):
    return int(connections[alias].features.supports_transactions)


def updated_books(alias):
    """What the columns hold, with their types, after every field of many rows got another value."""
    books = Book.objects.using(alias).bulk_create([Book(id=n) for n in range(1, 61)])
    for number, book in enumerate(books):
        for name, values in VALUES.items():
            setattr(book, name, values[number % len(values)])
    assert Book.objects.using(alias).bulk_update(books, list(VALUES)) == 60
    columns = ", ".join(f"typeof({name}), quote({name})" for name in VALUES if name != "weight")
    with connections[alias].cursor() as cursor:
        # Of an infinity SQLite's releases quote differently.
        cursor.execute(
            f"SELECT quote(iif(weight = 9e999, 'inf', weight)), {columns} FROM shelf_book ORDER BY id"
        )
        return cursor.fetchall()


def test_every_type_is_stored_as_on_sqlite3(using):
    found = updated_books(using)
    with stock_tables() as stock:
        assert found == updated_books(stock)


def test_the_rows_are_found_by_their_keys_whatever_the_table_was_like_before(using):
    Book.objects.using(using).bulk_create([Book() for _ in range(5)])
    with connections[using].cursor() as cursor:
        cursor.execute("ANALYZE")
    Book.objects.using(using).bulk_create([Book() for _ in range(600)])
    books = list(Book.objects.using(using).all())
    for book in books:
        book.rank = 1
    queries = []

    def note(execute, sql, params, many, context):
        queries.append((sql, params))
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(note):
        Book.objects.using(using).bulk_update(books, ["rank"])
    [(sql, params)] = queries
    with connections[using].cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        plan = [row[-1] for row in cursor.fetchall()]
    assert any("SEARCH shelf_book USING INTEGER PRIMARY KEY" in line for line in plan), plan


def test_only_rows_that_are_there_and_match_are_counted(using):
    books = Book.objects.using(using).bulk_create([Book(number=n, rank=0) for n in range(6)])
    for book in books:
        book.rank = 9
    Book.objects.using(using).filter(number=5).delete()
    rows = Book.objects.using(using).filter(number__gt=0).exclude(number=2)
    assert rows.bulk_update(books, ["rank"]) == 3
    assert Book.objects.using(using).bulk_update([Book(id=10**6, rank=1)], ["rank"]) == 0
    found = Book.objects.using(using).order_by("number").values_list("rank", flat=True)
    assert list(found) == [0, 9, 0, 9, 9]


def test_conditions_over_other_tables_and_by_hand_go_along(using):
    ann, bob = Author.objects.using(using).bulk_create([Author(name="ann"), Author(name="bob")])
    books = Book.objects.using(using).bulk_create([Book(author=ann), Book(author=bob), Book()])
    for book in books:
        book.rank = 3
    assert Book.objects.using(using).filter(author__name="ann").bulk_update(books, ["rank"]) == 1
    either = Book.objects.using(using).filter(rank=3) | Book.objects.using(using).filter(author=bob)
    assert either.bulk_update(books, ["rank"]) == 2
    assert Book.objects.using(using).extra(where=["id > %s"], params=[0]).bulk_update(books, ["rank"]) == 3
    assert Book.objects.using(using).none().bulk_update(books, ["rank"]) == 0


def test_of_an_object_given_twice_the_first_one_counts(using):
    book = Book.objects.using(using).create(text="old")
    again = [Book(id=book.pk, text="first"), Book(id=book.pk, text="second")]
    assert Book.objects.using(using).bulk_update(again, ["text"]) == 1
    assert Book.objects.using(using).get().text == "first"


def test_expressions_are_computed_from_each_row(using):
    books = Book.objects.using(using).bulk_create([Book(rank=n, number=n) for n in range(400)])
    for book in books:
        book.rank, book.number = F("rank") + 1, -1
    assert Book.objects.using(using).bulk_update(books, ["rank", "number"]) == 400
    found = Book.objects.using(using).order_by("pk").values_list("rank", "number")
    assert list(found) == [(n + 1, -1) for n in range(400)]


def test_other_case_expressions_stay_what_they_are(using):
    field = Book._meta.get_field("rank")
    one, two, three = Book.objects.using(using).bulk_create([Book(rank=7), Book(rank=7), Book(rank=7)])
    cases = [When(pk=key, then=Value(key * 10, output_field=field)) for key in (one.pk, two.pk)]
    assert Book.objects.using(using).update(rank=Case(*cases, default=Value(5), output_field=field)) == 3
    ranks = Book.objects.using(using).order_by("pk").values_list("rank", flat=True)
    assert list(ranks) == [one.pk * 10, two.pk * 10, 5]
    some = Book.objects.using(using).filter(pk__in=[one.pk, three.pk])
    with pytest.raises(IntegrityError, match="NOT NULL constraint failed"):
        # For the third row this is NULL, as on every other engine.
        some.update(rank=Case(*cases, output_field=field))
    condition = Q(pk=one.pk) | Q(pk=two.pk)
    assert some.update(rank=Case(When(condition, then=1), default=2)) == 2


def test_rows_beyond_one_parameter_are_cut_and_go_together(using, monkeypatch):
    books = Book.objects.using(using).bulk_create([Book() for _ in range(100)])
    monkeypatch.setattr(json_rows, "PIECE_BYTES", 1000)
    for book in books:
        book.text = "x" * (2000 if book is books[50] else 90) + str(book.pk)
    # D1's first commit of a block makes the table of its keys.
    Book.objects.using(using).bulk_update(books[:1], ["rank"])
    with driver.count_trips() as trips:
        assert Book.objects.using(using).bulk_update(books, ["text"]) == 100
    assert trips.count == 1 + commit_of(using)
    found = dict(Book.objects.using(using).values_list("pk", "text"))
    assert found == {book.pk: book.text for book in books}


def test_what_violates_a_constraint_changes_nothing(using, monkeypatch):
    books = Book.objects.using(using).bulk_create([Book(rank=1) for _ in range(50)])
    monkeypatch.setattr(json_rows, "PIECE_BYTES", 100)
    for book in books:
        book.rank = 2
    books[-1].rank = None
    with pytest.raises(IntegrityError, match="NOT NULL"):
        Book.objects.using(using).bulk_update(books, ["rank"])
    assert not Book.objects.using(using).exclude(rank=1).exists()


def test_inside_a_transaction_it_is_undone_with_it(durable_object):
    with tables(durable_object) as alias:
        book = Book.objects.using(alias).create(rank=1)
        with pytest.raises(ZeroDivisionError, match="^$"), transaction.atomic(alias):
            book.rank = 2
            assert Book.objects.using(alias).bulk_update([book], ["rank"]) == 1
            assert Book.objects.using(alias).get().rank == 2
            raise ZeroDivisionError
        assert Book.objects.using(alias).get().rank == 1


def test_inside_a_batch_its_count_is_known_at_the_end(d1, monkeypatch):
    with tables(d1) as alias:
        books = Book.objects.using(alias).bulk_create([Book() for _ in range(30)])
        monkeypatch.setattr(json_rows, "PIECE_BYTES", 100)
        for book in books:
            book.text = "new"
        with driver.count_trips() as trips, do_bridge.batch(alias):
            count = Book.objects.using(alias).bulk_update(books, ["text"])
        assert (int(count), trips.count) == (30, 1)


def test_a_value_that_no_request_can_carry_is_a_clear_error(using):
    book = Book.objects.using(using).create(text="small")
    book.text = "x" * 17_000_000
    with pytest.raises(DataError, match="17,000,000 bytes. D1 and Durable Objects accept"):
        Book.objects.using(using).bulk_update([book], ["text"])
    assert Book.objects.using(using).get().text == "small"


def test_composite_keys_are_compared_part_by_part(using):
    seats = [Seat(row=n, place=place) for n in range(50) for place in ("a", "b's", "1")]
    Seat.objects.using(using).bulk_create(seats)
    for seat in seats:
        seat.taken = seat.place == "1"
    assert Seat.objects.using(using).bulk_update(seats, ["taken"]) == 150
    assert set(Seat.objects.using(using).filter(taken=True).values_list("place", flat=True)) == {"1"}


def key_models():
    """Models with keys of other types, a parent, names of their own, and as many columns as there may be."""
    state = ProjectState()
    for name, key in (
        ("Uuid", models.UUIDField(primary_key=True, default=uuid.uuid4)),
        ("Slug", models.CharField(max_length=40, primary_key=True)),
        ("Folded", models.CharField(max_length=40, primary_key=True, db_collation="NOCASE")),
        ("Blob", models.BinaryField(primary_key=True)),
        ("Price", models.DecimalField(max_digits=8, decimal_places=2, primary_key=True)),
    ):
        fields = [("key", key), ("title", models.TextField(default="", unique=True, null=True))]
        state.add_model(ModelState("keys", name, fields))
    place = [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.TextField(db_column="the name", null=True)),
    ]
    state.add_model(ModelState("keys", "Place", place, {"db_table": "keys my places"}))
    link = models.OneToOneField("keys.Place", models.CASCADE, primary_key=True, parent_link=True)
    bar = [("place_ptr", link), ("stars", models.IntegerField(default=0))]
    state.add_model(ModelState("keys", "Bar", bar, bases=("keys.Place",)))
    twice = models.GeneratedField(
        expression=F("number") * 2, output_field=models.IntegerField(), db_persist=True
    )
    sums = [("id", models.AutoField(primary_key=True)), ("number", models.IntegerField()), ("twice", twice)]
    state.add_model(ModelState("keys", "Sum", sums))
    wide = [("id", models.BigAutoField(primary_key=True))]
    wide += [(f"n{number}", models.IntegerField(default=0)) for number in range(99)]
    state.add_model(ModelState("keys", "Wide", wide))
    return {model.__name__: model for model in state.apps.get_models()}


@pytest.fixture
def keys(engine):
    made = key_models()
    with engine.schema_editor() as editor:
        for model in made.values():
            editor.create_model(model)
    with override_settings(DATABASE_ROUTERS=[]):
        yield {name: model.objects.using(engine.alias) for name, model in made.items()}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Uuid", [FIRST, SECOND, uuid.UUID(int=3)]),
        ("Slug", ["a", "1", "it's"]),
        ("Folded", ["a", "B", "ß"]),
        ("Blob", [b"\x00", b"\xff\xfe", b"a"]),
        ("Price", [decimal.Decimal("1.50"), decimal.Decimal("2"), decimal.Decimal("0.01")]),
    ],
)
def test_keys_may_be_of_any_type(keys, name, values):
    rows = keys[name].bulk_create([keys[name].model(key=value, title=None) for value in values])
    for row in rows:
        row.title = f"title of {row.key!r}"
    assert keys[name].bulk_update(rows, ["title"]) == 3
    assert dict(keys[name].values_list("key", "title")) == {row.key: row.title for row in rows}
    rows[0].title = rows[1].title
    with pytest.raises(IntegrityError, match="UNIQUE"):
        keys[name].bulk_update(rows, ["title"])


def test_keys_that_differ_only_for_python_are_one_row(keys):
    keys["Folded"].create(key="A")
    twice = [keys["Folded"].model(key="a", title="first"), keys["Folded"].model(key="A", title="second")]
    assert keys["Folded"].bulk_update(twice, ["title"]) == 1
    assert keys["Folded"].get().title == "first"


def test_fields_of_parents_are_updated_with_the_childs(keys):
    bars = [keys["Bar"].create(name=f"bar {number}") for number in range(5)]
    keys["Place"].create(name="no bar")
    for bar in bars:
        bar.name, bar.stars = f"new {bar.pk}", bar.pk
    assert keys["Bar"].bulk_update(bars, ["name", "stars"]) == 5
    assert list(keys["Bar"].order_by("pk").values_list("name", "stars")) == [(b.name, b.stars) for b in bars]
    assert keys["Bar"].bulk_update(bars[:2], ["name"]) == 2
    assert keys["Place"].filter(name="no bar").count() == 1


def test_generated_fields_are_left_out(keys):
    rows = keys["Sum"].bulk_create([keys["Sum"].model(number=n) for n in range(3)])
    for row in rows:
        row.number += 10
    assert keys["Sum"].bulk_update(rows, ["number", "twice"]) == 3
    assert list(keys["Sum"].order_by("pk").values_list("twice", flat=True)) == [20, 22, 24]


def test_tables_of_a_hundred_columns_are_updated_whole(keys):
    rows = keys["Wide"].bulk_create([keys["Wide"].model() for _ in range(20)])
    names = [f"n{number}" for number in range(99)]
    for row in rows:
        for number, name in enumerate(names):
            setattr(row, name, row.pk * 100 + number)
    assert keys["Wide"].bulk_update(rows, names) == 20
    last = keys["Wide"].get(pk=rows[-1].pk)
    assert [getattr(last, name) for name in names] == [last.pk * 100 + number for number in range(99)]
