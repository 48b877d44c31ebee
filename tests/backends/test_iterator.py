"""QuerySet.iterator() fetches in pieces: the same rows in the same order, none twice, none missed."""

import datetime
import itertools
import os
import random
import uuid
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.db import DataError, connections, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import (
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Prefetch,
    Q,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import Collate, Lower, Now, RowNumber
from django.test import override_settings
from shelf import Author, Book, Seat, stock_tables, tables

from do_bridge import driver
from do_bridge.backends.remote_sqlite.queries import chunked_fetch as piecewise

ENGINES_BY_DAY = ("d1", "durable_object")

UTC = datetime.UTC
ROWS = 23
# A million takes half a minute on each engine, which is for whoever asks for it.
MANY = int(os.environ.get("ITERATOR_ROWS", "200000"))
MAKE_MANY = """
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < %s)
INSERT INTO shelf_author (name) SELECT 'author ' || n FROM n
"""


@pytest.fixture(autouse=True)
def pieces_of_any_size(monkeypatch):
    """As small as a test asks for."""
    monkeypatch.setattr(piecewise, "LEAST_ROWS", 1)


@pytest.fixture
def using(engine):
    with tables(engine) as alias:
        yield alias


def fill(alias):
    """Books with equal values, NULLs, numbers beyond JavaScript's and infinities, and their authors."""
    choose = random.Random(7)  # noqa: S311 - the same rows each time
    authors = Author.objects.using(alias).bulk_create([Author(name=f"n{n % 4}") for n in range(7)])
    Book.objects.using(alias).bulk_create(
        Book(
            author=choose.choice([None, *authors]),
            number=choose.choice([None, 2**53 + 1, 2**53 + 2, -(2**62), 0]),
            rank=choose.randrange(4),
            weight=choose.choice([None, 0.1, 5.0, float("inf"), float("-inf"), 1e-300]),
            price=choose.choice([None, "1.10", "-2.005", "7"]),
            text=choose.choice([None, "", "a", "B", "b", "é", "it's", "nul\x00in", "%s"]),
            data=choose.choice([None, b"", b"\x00\xff", b"\x00"]),
            lent=choose.choice([None, True, False]),
            moment=choose.choice([None, datetime.datetime(2024, 1, 1, 0, 0, 0, 1, UTC)]),
            span=choose.choice([None, datetime.timedelta(days=1)]),
            extra=choose.choice([None, {"a": 1}, {"a": 2.5}, {"a": "x"}, {"a": None}, {"a": True}, {}, [3]]),
        )
        for _ in range(ROWS)
    )


@pytest.fixture
def books(using):
    fill(using)
    return Book.objects.using(using)


FIELDS = ("author", "number", "rank", "weight", "price", "text", "data", "lent", "moment", "span")
DIRECTIONS = [lambda f: f.asc(), lambda f: f.desc(), lambda f: f.asc(nulls_last=True)]
DIRECTIONS += [lambda f: f.desc(nulls_first=True)]
ORDERS = {
    "none": (),
    "key": ("pk",),
    "key backwards": ("-pk",),
    "related": ("author__name", "-author__pk", "rank"),
    "related null": (F("author__name").desc(nulls_last=True), "-rank"),
    "expression": (Lower("text").desc(), "price"),
    "condition": (ExpressionWrapper(Q(rank__gt=2), models.BooleanField()), "-lent"),
    "subquery": (Exists(Author.objects.filter(pk=OuterRef("author"), name="n1")).desc(),),
    **{f"{field} {at}": (way(F(field)),) for field in FIELDS for at, way in enumerate(DIRECTIONS)},
    "collated": (Collate("text", "nocase").desc(), "rank"),
    "key in JSON": ("-extra__a", "rank"),
    "JSON": ("extra",),
    "mixed": ("-rank", F("text").asc(nulls_last=True), "-number"),
}


def with_ties(order):
    """The order with the key in the direction of its last term, which is how pieces break ties."""
    last = order[-1] if order else "pk"
    descending = last.startswith("-") if isinstance(last, str) else getattr(last, "descending", False)
    return (*order, "-pk" if descending else "pk")


def keys_of(query, size):
    return [row.pk for row in query.iterator(chunk_size=size)]


def test_every_order_is_kept_over_the_pieces(books):
    for name, order in ORDERS.items():
        expected = list(books.order_by(*with_ties(order)).values_list("pk", flat=True))
        for size in (5, ROWS):
            assert keys_of(books.order_by(*order), size) == expected, (name, size)
        assert keys_of(books.order_by(*order).reverse(), 9) == expected[::-1], name


def test_a_row_at_a_time_is_a_trip_for_each_and_one_that_finds_none(books):
    with driver.count_trips() as trips:
        assert len(keys_of(books.order_by("text").only("rank"), 1)) == ROWS
    assert trips.count == ROWS + 1


@pytest.mark.parametrize(("size", "taken"), [(2000, 1), (ROWS + 1, 1), (ROWS, 2), (10, 3), (4, 6)])
def test_the_trips_are_the_pieces(books, size, taken):
    with driver.count_trips() as trips:
        assert len(keys_of(books.only("rank"), size)) == ROWS
    assert trips.count == taken


def test_a_piece_has_a_limit_whatever_was_asked_for(books, monkeypatch):
    monkeypatch.setattr(piecewise, "LEAST_ROWS", 8)
    monkeypatch.setattr(piecewise, "MOST_ROWS", 10)
    for size in (10**6, 1):
        with driver.count_trips() as trips:
            assert len(keys_of(books.only("rank"), size)) == ROWS
        assert trips.count == 3


def test_a_piece_begins_where_the_last_one_ended(books, using):
    """No piece sorts, or reads again what came before, where there is an index for its order."""
    authors = Author.objects.using(using)
    author = authors.first()
    books.filter(author=None).update(author=author)
    for query in (
        authors.all(),
        authors.order_by("-pk"),
        authors.order_by("name"),
        authors.order_by("-name"),
        authors.filter(name__gt=""),
        books.filter(author=author).only("rank"),
    ):
        statements = []

        def note(execute, sql, params, many, context, statements=statements):
            statements.append((sql, params))
            return execute(sql, params, many, context)

        with connections[using].execute_wrapper(note):
            list(query.iterator(chunk_size=2))
        with connections[using].cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statements[1][0]}", statements[1][1])
            [step] = [row[-1] for row in cursor.fetchall()]
        assert step.startswith("SEARCH"), step


def test_nothing_is_sent_before_the_first_row_is_asked_for(books):
    with driver.count_trips() as trips:
        rows = books.only("rank").iterator(chunk_size=5)
        assert trips.count == 0
        assert len(list(itertools.islice(rows, 5))) == 5
        assert trips.count == 1
        rows.close()


def test_values_bring_no_more_than_was_asked_for(books):
    ordered = books.order_by("text", "pk")
    for make in (
        lambda q: q.values("rank", "author__name"),
        lambda q: q.values_list("text", "weight"),
        lambda q: q.values_list("rank", flat=True),
        lambda q: q.values_list("rank", "lent", named=True),
        lambda q: q.annotate(twice=F("rank") * 2).values_list("twice", "pk"),
        lambda q: q.only("rank", "author").select_related("author"),
        lambda q: q.extra(select={"three": "1 + 2"}).values_list("three", "id"),
    ):
        assert list(make(ordered).iterator(chunk_size=4)) == list(make(ordered))


def test_what_is_related_comes_with_the_pieces(books, using):
    joined = books.select_related("author").order_by("pk").defer("number")
    with driver.count_trips() as trips:
        found = [(b.pk, b.author and b.author.name) for b in joined.iterator(chunk_size=10)]
    assert (len(found), trips.count) == (ROWS, 3)
    authors = Author.objects.using(using).prefetch_related(
        Prefetch("book_set", Book.objects.using(using).defer("number"))
    )
    with driver.count_trips() as trips:
        found = {a.pk: len(a.book_set.all()) for a in authors.iterator(chunk_size=4)}
    # Two pieces of authors, and the books of each.
    assert trips.count == 4
    assert found == {a.pk: a.book_set.count() for a in authors}


def test_it_works_from_asynchronous_code(books):
    async def collect(query):
        return [row async for row in query.aiterator(chunk_size=4)]

    assert async_to_sync(collect)(books.order_by("rank", "pk")) == list(books.order_by("rank", "pk"))


def test_rows_that_come_several_times_by_a_join_are_all_there(books, using):
    """An author comes once for each of its books: its key alone does not tell the rows apart."""
    total = 0
    for query in (
        Author.objects.using(using).filter(book__rank__gte=0),
        Author.objects.using(using).filter(book__rank__gte=0).order_by("book__text", "name"),
        Author.objects.using(using).filter(Q(book__rank__gte=1) | Q(name="n3")).order_by("name"),
        Author.objects.using(using).values_list("name", "book__number"),
        Author.objects.using(using).filter(book__rank=1).filter(book__lent=True),
    ):
        expected = [repr(row) for row in query]
        found = [repr(row) for row in query.iterator(chunk_size=3)]
        assert sorted(found) == sorted(expected)
        total += len(found)
    assert total > 60


def test_distinct_and_grouped_queries_of_the_models_rows(books, using):
    authors = Author.objects.using(using)
    for query, whole in (
        (authors.filter(book__rank__gte=0).distinct().order_by("pk"), False),
        (authors.filter(book__rank__gte=0).distinct().order_by("-name", "-pk"), False),
        (authors.annotate(n=Count("book")).order_by("name", "pk"), False),
        (authors.annotate(n=Count("book")).filter(n__gt=1).order_by("pk"), False),
        (authors.annotate(n=Count("book"), total=Sum("book__rank")).order_by("-n", "pk"), True),
        (authors.filter(book__rank__gte=0).order_by("book__rank", "pk").distinct(), True),
        (books.values_list("rank", "lent").distinct().order_by("rank", "lent"), True),
        (books.values_list("rank").annotate(n=Count("pk")).order_by("rank"), True),
        (books.values_list("pk", "author__book__rank").distinct().order_by("pk", "author__book__rank"), True),
    ):
        expected = [repr(row) for row in query]
        with driver.count_trips() as trips:
            found = [repr(row) for row in query.iterator(chunk_size=2)]
        assert found == expected
        assert (trips.count == 1) == whole, query.query


def test_queries_without_a_key_of_their_own_are_read_whole(books):
    number = Window(RowNumber(), order_by=F("rank").asc())
    books = books.defer("number")
    for query in (
        books.order_by("?"),
        books.alias(age=Now() - F("moment")).order_by("age"),
        books.order_by(Case(*(When(rank=n, then=Value(n)) for n in range(150)))),
        books.annotate(place=number).order_by("pk"),
        books.filter(rank=1).union(books.filter(rank=2)),
        books.extra(order_by=["rank"]),
        books.dates("moment", "day"),
    ):
        expected = sorted(map(repr, query))
        with driver.count_trips() as trips:
            assert sorted(map(repr, query.iterator(chunk_size=2))) == expected
        assert trips.count == 1, query.query


def test_slices_end_where_they_should(books):
    ordered = books.order_by("rank", "pk")
    expected = list(ordered)
    for part in (slice(0, 10), slice(5, 12), slice(20, None), slice(3, 3), slice(0, 100), slice(22, 40)):
        assert list(ordered.all()[part].iterator(chunk_size=4)) == expected[part], part
    assert list(books.none().iterator()) == []
    with driver.count_trips() as trips:
        assert len(list(ordered.only("rank")[:8].iterator(chunk_size=4))) == 8
    assert trips.count == 2


def test_the_query_is_what_it_was_after_it(books):
    query = books.order_by("text").filter(rank__gt=0)
    before = str(query.query)
    first = list(query.iterator(chunk_size=2))
    assert str(query.query) == before
    assert first == list(query.iterator(chunk_size=3))
    assert len(query) == len(first)


def test_keys_of_several_columns(using):
    Seat.objects.using(using).bulk_create(
        Seat(row=row, place=place, taken=row % 2) for row in range(5) for place in ("b", "a", "B")
    )
    seats = Seat.objects.using(using)
    for order in ((), ("pk",), ("-pk",), ("taken",), ("-place", "row")):
        found = [seat.pk for seat in seats.order_by(*order).iterator(chunk_size=4)]
        assert sorted(found) == sorted(seat.pk for seat in seats.all())
    assert found == [seat.pk for seat in seats.order_by("-place", "row")]


def test_keys_of_other_types(engine):
    state = ProjectState()
    keys = {
        "Folded": models.CharField(max_length=9, primary_key=True, db_collation="NOCASE"),
        "Price": models.DecimalField(max_digits=9, decimal_places=2, primary_key=True),
        "Uuid": models.UUIDField(primary_key=True),
        "Blob": models.BinaryField(primary_key=True),
        "Real": models.FloatField(primary_key=True),
    }
    for name, key in keys.items():
        state.add_model(ModelState("keys", name, [("key", key), ("same", models.IntegerField(default=1))]))
    values = {
        "Folded": ["b", "A", "c", "B2", "a2", "É", "é"],
        "Price": ["1.50", "-2", "1.5e3", "0.01", "7", "3"],
        "Uuid": [uuid.UUID(int=n * 2**100 + 7) for n in (5, 3, 9, 1)],
        "Blob": [b"b", b"", b"\x00", b"\xff\x00", b"a"],
        "Real": [1.5, -1e300, 5.0, float("inf"), float("-inf"), 0.1, 1e-310],
    }
    with override_settings(DATABASE_ROUTERS=[]):
        for name in keys:
            model = state.apps.get_model("keys", name)
            with engine.schema_editor() as editor:
                editor.create_model(model)
            rows = model.objects.using(engine.alias)
            rows.bulk_create(model(key=value) for value in values[name])
            for query in (rows.order_by("pk"), rows.order_by("-same", "-pk"), rows.order_by("same", "pk")):
                found = [row.pk for row in query.iterator(chunk_size=2)]
                assert found == [row.pk for row in query], name
                assert len(found) == len(values[name]), name


def test_rows_may_be_deleted_and_changed_on_the_way(using):
    Book.objects.using(using).bulk_create(Book(rank=n) for n in range(20))
    seen = []
    for book in Book.objects.using(using).iterator(chunk_size=3):
        seen.append(book.rank)
        Book.objects.using(using).filter(pk=book.pk).update(rank=book.rank + 100)
        if book.rank % 2:
            book.delete()
    assert seen == list(range(20))
    left = Book.objects.using(using).order_by("pk").values_list("rank", flat=True)
    assert list(left) == [n + 100 for n in range(0, 20, 2)]


def test_inside_a_transaction_nobody_writes_between_the_pieces(durable_object):
    with tables(durable_object) as alias:
        Author.objects.using(alias).bulk_create(Author(name=str(n)) for n in range(9))
        with driver.count_trips() as trips, transaction.atomic(alias):
            names = [a.name for a in Author.objects.using(alias).iterator(chunk_size=4)]
        assert names == [str(n) for n in range(9)]
        # Three pieces of one transaction; nobody waits for its end.
        assert trips.count == 3


def test_rows_too_large_for_one_answer_are_fetched_few_at_a_time(using):
    with connections[using].cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 32) "
            "INSERT INTO shelf_author (name) SELECT replace(hex(zeroblob(500000)), '0', 'x') || n FROM n"
        )
    authors = Author.objects.using(using)
    with driver.count_trips() as trips, transaction.atomic(using):
        # The refused answer does not end the transaction.
        sizes = [len(author.name) for author in authors.iterator(chunk_size=40)]
    assert len(sizes) == 32
    assert min(sizes) == 1_000_001
    # One that was refused, then five rows, and eight at most; the commit.
    assert trips.count <= 9
    with pytest.raises(DataError, match=r"30 MB.*iterator\(\), which fetches it in chunks"):
        list(authors)
    with pytest.raises(DataError, match=r"iterator\(\) cannot .* it is ordered at random"):
        list(authors.order_by("?").iterator())


def test_queries_of_more_columns_than_a_result_may_have(engine):
    state = ProjectState()
    fields = [("id", models.BigAutoField(primary_key=True))]
    fields += [(f"n{n}", models.IntegerField(default=n)) for n in range(60)]
    other = ("other", models.ForeignKey("self", models.CASCADE, null=True))
    state.add_model(ModelState("wide", "Wide", [*fields, other]))
    model = state.apps.get_model("wide", "Wide")
    with engine.schema_editor() as editor:
        editor.create_model(model)
    with override_settings(DATABASE_ROUTERS=[]):
        rows = model.objects.using(engine.alias)
        first = rows.create()
        rows.bulk_create(model(n59=n % 3, other=first) for n in range(9))
        query = rows.select_related("other").order_by("n59", "other__n58", "pk")
        found = [(r.pk, r.other and r.other.n58) for r in query.iterator(chunk_size=4)]
        assert found == [(r.pk, r.other and r.other.n58) for r in query]


def test_both_engines_read_as_sqlite3_does(books):
    with stock_tables() as stock:
        fill(stock)
        for order in (("text", "pk"), ("-price", "number", "pk"), ("author__name", "-rank", "-pk")):
            theirs = Book.objects.using(stock).order_by(*order).values_list("pk", flat=True)
            assert keys_of(books.order_by(*order), 4) == list(theirs)


def resident(pid="self"):
    """Bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_many_rows_are_read_in_flat_memory_on_both_sides(using, local_worker):
    with connections[using].cursor() as cursor:
        for _ in range(MANY // 100_000):
            cursor.execute(MAKE_MANY, [100_000])
    driver_connection = connections[using].connection
    answers = []
    driver_connection.on_call = lambda call: answers.append(call.rows)
    try:
        read, held = 0, []
        with driver.count_trips() as trips:
            for author in Author.objects.using(using).iterator():
                read += 1
                if read % 10_000 == 0:
                    held.append([resident(), sum(map(resident, local_worker.workerd_pids()))])
                assert author.pk == read
    finally:
        driver_connection.on_call = None
    assert read == MANY
    assert trips.count == MANY // 2000 + 1
    assert max(answers) == 2000
    # What the first tenth takes is there for what follows.
    early, late = held[: len(held) // 10], held[len(held) // 10 :]
    ours, theirs = (
        max(late_side) - max(early_side)
        for early_side, late_side in zip(zip(*early, strict=True), zip(*late, strict=True), strict=True)
    )
    print(f"{using}: {trips.count} trips, {ours / 1e6:.1f} MB here, {theirs / 1e6:.1f} MB there")  # noqa: T201
    assert ours < 10e6
    # V8 frees when it likes; one isolate may have this much.
    assert theirs < 128e6
