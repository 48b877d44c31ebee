"""Unions, intersections and differences of many queries: the runtime takes five terms in one SELECT."""

import functools

import pytest
import shelf
from django.db.models import Count, F, Value
from shelf import Author, Book

ENGINES = ("d1", "durable_object")


@pytest.fixture
def both(engine):
    """The aliases of the engine and of Django's own backend, with the same books in each."""
    with shelf.tables(engine) as alias, shelf.stock_tables() as stock:
        for name in (alias, stock):
            authors = Author.objects.using(name).bulk_create([Author(name="Ann"), Author(name="Bob")])
            Book.objects.using(name).bulk_create(
                Book(author=authors[rank % 2], rank=rank, number=rank % 3, text=f"t{rank}")
                for rank in range(20)
            )
        yield alias, stock


def without(books, number):
    return books.filter(rank=number)


def ranks(books):
    return sorted(book.rank for book in books)


def each(books, numbers):
    return [books.filter(rank=number) for number in numbers]


def all_but(books, numbers):
    return [books.exclude(rank=number) for number in numbers]


QUERIES = {
    "difference": lambda b: ranks(b.all().difference(*each(b, range(6)))),
    "difference of 19": lambda b: ranks(b.all().difference(*each(b, range(19)))),
    "difference of 5": lambda b: ranks(b.all().difference(*each(b, range(5)))),
    "intersection": lambda b: ranks(b.all().intersection(*all_but(b, range(6)))),
    "intersection of 19": lambda b: ranks(b.all().intersection(*all_but(b, range(18)))),
    "union": lambda b: ranks(b.filter(rank=0).union(*each(b, range(1, 13)))),
    "union all": lambda b: ranks(b.filter(rank=0).union(*each(b, [0, 0, 1, 1, 2, 3, 4]), all=True)),
    "union of differences": lambda b: ranks(
        b.filter(rank__lt=9).difference(*each(b, range(6))).union(*each(b, range(10, 17)))
    ),
    "difference of unions": lambda b: ranks(
        b.all().difference(b.filter(rank=0).union(*each(b, range(1, 9))), *each(b, range(9, 16)))
    ),
    "intersection of unions": lambda b: ranks(
        b.filter(rank=0)
        .union(*each(b, range(1, 9)))
        .intersection(*[b.filter(rank__gt=n).union(*each(b, range(7))) for n in range(7)])
    ),
    "difference of intersections": lambda b: ranks(
        b.all().intersection(*all_but(b, range(7))).difference(*each(b, range(9, 17)))
    ),
    "union all of intersections": lambda b: ranks(
        b.all()
        .intersection(*all_but(b, range(7)))
        .union(b.all().intersection(*all_but(b, range(8))), all=True)
    ),
    "chained difference": lambda b: ranks(
        functools.reduce(lambda found, number: found.difference(b.filter(rank=number)), range(12), b.all())
    ),
    "chained intersection": lambda b: ranks(
        functools.reduce(lambda found, number: found.intersection(b.exclude(rank=number)), range(12), b.all())
    ),
    "chained union": lambda b: ranks(
        functools.reduce(
            lambda found, number: found.union(b.filter(rank=number)), range(12), b.filter(rank=15)
        )
    ),
    "order by": lambda b: [x.rank for x in b.all().difference(*each(b, range(9))).order_by("-rank")],
    "order by name": lambda b: list(
        b.values("number", name=F("author__name"))
        .difference(*[b.filter(rank=n).values("number", name=F("author__name")) for n in range(3)])
        .order_by("name", "-number")
    ),
    "slice": lambda b: [x.rank for x in b.all().intersection(*all_but(b, range(9))).order_by("rank")[2:5]],
    "slice of a difference": lambda b: [
        x.rank for x in b.all().difference(*each(b, range(9))).order_by("rank")[1:3]
    ],
    "values": lambda b: sorted(
        b.values_list("rank", "text").difference(*[x.values_list("rank", "text") for x in each(b, range(9))])
    ),
    "values afterwards": lambda b: sorted(
        b.all().difference(*each(b, range(9))).values_list("text", flat=True)
    ),
    "values of an intersection": lambda b: sorted(
        b.all().intersection(*all_but(b, range(9))).values_list("rank", "number")
    ),
    "named values": lambda b: sorted(
        row.rank for row in b.all().difference(*each(b, range(9))).values_list("rank", named=True)
    ),
    "annotations": lambda b: sorted(
        b.annotate(x=F("rank") + 1)
        .values_list("x")
        .difference(*[x.annotate(x=F("rank") + 1).values_list("x") for x in each(b, range(9))])
    ),
    "constants": lambda b: sorted(
        b.values_list("rank", Value("a")).intersection(
            *[x.values_list("rank", Value("a")) for x in all_but(b, range(7))]
        )
    ),
    "distinct values": lambda b: sorted(
        b.values_list("number").intersection(*[b.filter(rank__gt=n).values_list("number") for n in range(7)])
    ),
    "groups": lambda b: sorted(
        b.values("author")
        .annotate(n=Count("pk"))
        .difference(*[b.filter(rank__gt=n).values("author").annotate(n=Count("pk")) for n in range(7)])
        .values_list("author", "n")
    ),
    "count": lambda b: b.all().difference(*each(b, range(9))).count(),
    "count of an intersection": lambda b: b.all().intersection(*all_but(b, range(9))).count(),
    "count of a union": lambda b: b.filter(rank=0).union(*each(b, range(9)), all=True).count(),
    "exists": lambda b: (
        b.all().difference(*each(b, range(20))).exists(),
        b.all().intersection(*all_but(b, range(9))).exists(),
    ),
    "first": lambda b: b.all().difference(*each(b, range(9))).order_by("rank").first().rank,
    "last": lambda b: b.all().intersection(*all_but(b, range(9))).order_by("rank").last().rank,
    "get": lambda b: b.all().difference(*each(b, range(19))).get().rank,
    "iterator": lambda b: ranks(b.all().difference(*each(b, range(9))).iterator(chunk_size=2)),
    "empty parts": lambda b: ranks(b.all().difference(*[b.none()] * 7, *each(b, range(7)))),
    "only empty parts": lambda b: ranks(b.all().difference(*[b.filter(pk__in=[])] * 7)),
    "empty first": lambda b: ranks(b.filter(pk__in=[]).difference(*each(b, range(7)))),
    "intersection with nothing": lambda b: ranks(
        b.all().intersection(*all_but(b, range(7)), b.filter(pk__in=[]))
    ),
    "union of nothing": lambda b: ranks(b.filter(pk__in=[]).union(*[b.filter(pk__in=[])] * 6, *each(b, [3]))),
    "other models": lambda b: sorted(
        b.values_list("text").difference(*[Author.objects.using(b.db).values_list("name")] * 7)
    ),
    "select related": lambda b: sorted(
        x.author.name
        for x in b.select_related("author").difference(
            *[y.select_related("author") for y in each(b, range(9))]
        )
    ),
    "default order": lambda b: ranks(b.order_by("rank").order_by().difference(*each(b, range(7)))),
}


@pytest.mark.parametrize("name", QUERIES)
def test_what_combines_many_queries_gives_the_rows_that_it_gives_on_sqlite3(both, name):
    ours, right = (QUERIES[name](Book.objects.using(alias)) for alias in both)
    assert ours == right


def test_a_combined_query_can_be_read_twice_and_combined_again(both):
    for alias in both:
        books = Book.objects.using(alias)
        some = books.all().difference(*each(books, range(9)))
        assert ranks(some.all()) == ranks(some.all()) == list(range(9, 20))
        assert ranks(some.union(books.filter(rank=0))) == [0, *range(9, 20)]


def test_sixty_queries_combine(both):
    books = Book.objects.using(both[0])
    assert ranks(
        books.all().difference(*each(books, range(10)), *[books.filter(rank__gt=n) for n in range(15, 65)])
    ) == list(range(10, 16))
    assert ranks(books.all().intersection(*all_but(books, range(60)))) == []
    assert len(books.all().intersection(*[books.filter(rank__lt=n) for n in range(10, 70)])) == 10
