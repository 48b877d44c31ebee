"""Many rows and long lists: few statements, within the runtime's limits, with the same result."""

import decimal

import pytest
from django.db import IntegrityError, connections
from django.db.models import Prefetch, Value
from django.db.models.functions import Lower, Upper
from shelf import Author, Book, Seat, tables

from do_bridge import driver
from do_bridge.backends.remote_sqlite.queries import json_rows

ENGINES_BY_DAY = ("d1", "durable_object")


@pytest.fixture
def using(engine):
    with tables(engine) as alias:
        yield alias


def test_a_thousand_rows_go_in_one_statement_and_bring_their_keys_in_order(using):
    authors = [Author(name=f"author {number}") for number in range(1000)]
    with driver.count_trips() as trips:
        Author.objects.using(using).bulk_create(authors)
    # The commit where there are transactions; on D1 also the keys, and once the table of idempotency keys.
    assert trips.count <= (4 if using == "d1_optimistic" else 2)
    names = dict(Author.objects.using(using).values_list("pk", "name"))
    assert all(names[author.pk] == author.name for author in authors)


def test_rows_beyond_a_statements_size_are_cut_and_stay_in_order(using, monkeypatch):
    monkeypatch.setattr(json_rows, "PIECE_BYTES", 1000)
    authors = Author.objects.using(using).bulk_create([Author(name="x" * 90 + str(n)) for n in range(100)])
    assert [a.pk for a in authors] == sorted(a.pk for a in authors)
    found = list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))
    assert found == [author.name for author in authors]


def test_a_cut_bulk_insert_is_one_unit(using, monkeypatch):
    monkeypatch.setattr(json_rows, "PIECE_BYTES", 1000)
    authors = [Author(id=n, name="x" * 90) for n in range(1, 50)]
    with pytest.raises(IntegrityError, match="UNIQUE constraint failed"):
        Author.objects.using(using).bulk_create([*authors, Author(id=1, name="again")])
    assert Author.objects.using(using).count() == 0


def test_values_of_megabytes_are_inserted_in_bulk(using):
    books = [Book(data=b"\x80" * 1_500_000), Book(data=b"small"), Book(text="é" * 700_000)]
    Book.objects.using(using).bulk_create(books)
    assert [len(Book.objects.using(using).get(pk=book.pk).data or b"") for book in books] == [1_500_000, 5, 0]
    assert Book.objects.using(using).get(pk=books[2].pk).text == "é" * 700_000


def test_expressions_among_the_rows_are_computed(using):
    Author.objects.using(using).bulk_create(
        [Author(name=Lower(Value("ANN"))), Author(name="plain"), Author(name=Upper(Value("bob")))]
    )
    assert set(Author.objects.using(using).values_list("name", flat=True)) == {"ann", "plain", "BOB"}


def test_more_rows_of_expressions_than_one_statement_takes(using):
    Author.objects.using(using).bulk_create([Author(name=Lower(Value(f"N{n}"))) for n in range(2500)])
    assert Author.objects.using(using).filter(name__startswith="n").count() == 2500


def test_conflicts_update_or_are_ignored_in_bulk(using):
    authors = Author.objects.using(using)
    authors.bulk_create([Author(id=1, name="one"), Author(id=2, name="two")])
    authors.bulk_create([Author(id=1, name="ignored"), Author(id=3, name="three")], ignore_conflicts=True)
    authors.bulk_create(
        [Author(id=2, name="changed"), Author(id=4, name="four")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["name"],
    )
    assert list(authors.order_by("id").values_list("name", flat=True)) == ["one", "changed", "three", "four"]


def test_five_thousand_keys_are_one_parameter_and_use_the_primary_key(using):
    Author.objects.using(using).bulk_create([Author(id=n, name="x") for n in range(1, 101)])
    found = Author.objects.using(using).filter(pk__in=range(50, 5050))
    with driver.count_trips() as trips:
        assert len(found) == 51
    assert trips.count == 1
    assert "USING INTEGER PRIMARY KEY" in found.explain()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("number", [2**53 + n for n in range(100)]),
        ("weight", [n / 7 for n in range(100)]),
        ("price", [decimal.Decimal(n) / 8 for n in range(100)]),
        ("text", [str(n) for n in range(100)]),
        ("data", [b"%d" % n for n in range(100)]),
    ],
)
def test_a_long_list_finds_what_single_values_find(using, field, values):
    Book.objects.using(using).bulk_create([Book(**{field: value}) for value in values[:90:3]])
    books = Book.objects.using(using)
    assert books.filter(**{f"{field}__in": values}).count() == 30
    assert books.exclude(**{f"{field}__in": values[:60]}).count() == 10
    assert books.filter(**{f"{field}__in": [None, *values[:60]]}).count() == 20


def test_a_long_list_on_an_expression_compares_as_a_short_one(using):
    Author.objects.using(using).bulk_create([Author(name=str(n)) for n in range(10)])
    numbers = Author.objects.using(using).annotate(upper=Upper("name"))
    assert numbers.filter(upper__in=[str(n) for n in range(5, 200)]).count() == 5


def test_composite_keys_are_found_by_a_long_list(using):
    seats = [Seat(row=n, place=f"p{n}") for n in range(300)]
    Seat.objects.using(using).bulk_create(seats)
    wanted = [(n, f"p{n}") for n in range(200)] + [(1, "p2")]
    assert Seat.objects.using(using).filter(pk__in=wanted).count() == 200
    assert Seat.objects.using(using).get(pk=(7, "p7")).row == 7


def test_prefetch_and_in_bulk_take_one_query_however_many_rows(using):
    authors = Author.objects.using(using).bulk_create([Author(name=str(n)) for n in range(300)])
    Book.objects.using(using).bulk_create([Book(author=author, rank=1) for author in authors])
    with driver.count_trips() as trips:
        found = list(Author.objects.using(using).prefetch_related(Prefetch("book_set")))
    assert trips.count == 2
    assert all(len(author.book_set.all()) == 1 for author in found)
    with driver.count_trips() as trips:
        assert len(Author.objects.using(using).in_bulk([author.pk for author in authors])) == 300
    assert trips.count == 1


def test_bulk_update_changes_many_rows(using):
    books = Book.objects.using(using).bulk_create([Book(rank=n) for n in range(600)])
    for book in books:
        book.rank, book.text = book.rank * 2, f"text {book.pk}"
    assert Book.objects.using(using).bulk_update(books, ["rank", "text"]) == 600
    found = Book.objects.using(using).order_by("pk").values_list("rank", "text")
    assert list(found) == [(book.rank, book.text) for book in books]


def test_bulk_update_changes_long_texts_and_blobs(using):
    books = Book.objects.using(using).bulk_create([Book(rank=n) for n in range(120)])
    for book in books:
        book.text, book.data = f"{book.pk}" + "é" * 5000, b"%d" % book.pk + b"\xff" * 3000
    Book.objects.using(using).bulk_update(books, ["text", "data"])
    found = Book.objects.using(using).order_by("pk").values_list("text", "data")
    assert list(found) == [(book.text, book.data) for book in books]


def test_bulk_update_knows_composite_keys(using):
    seats = Seat.objects.using(using).bulk_create([Seat(row=n, place="a") for n in range(700)])
    for seat in seats:
        seat.taken = seat.row % 2 == 1
    Seat.objects.using(using).bulk_update(seats, ["taken"])
    assert Seat.objects.using(using).filter(taken=True).count() == 350


def test_deleting_takes_the_children_along(using):
    authors = Author.objects.using(using).bulk_create([Author(name=str(n)) for n in range(300)])
    Book.objects.using(using).bulk_create([Book(author=author) for author in authors])
    deleted, per_model = Author.objects.using(using).filter(name__startswith="1").delete()
    assert deleted == 2 * per_model["shelf.Author"]
    assert Book.objects.using(using).count() == 300 - per_model["shelf.Author"]


@pytest.mark.parametrize("terms", [5, 6, 26])
def test_a_union_may_have_more_terms_than_the_runtime_takes(using, terms):
    Author.objects.using(using).bulk_create([Author(id=n, name="x") for n in range(1, 8)])
    queries = [Author.objects.using(using).filter(id=n % 7 + 1) for n in range(terms)]
    union = queries[0].union(*queries[1:]).values_list("id", flat=True)
    assert sorted(union) == sorted({n % 7 + 1 for n in range(terms)})
    assert len(queries[0].union(*queries[1:], all=True)) == terms


def test_a_percent_sign_in_raw_sql_needs_no_more_care_than_elsewhere(using):
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT 7 % 4, 'a%'")
        assert cursor.fetchone() == (3, "a%")
        cursor.execute("SELECT 7 %% 4, %s", ["a%"])
        assert cursor.fetchone() == (3, "a%")
