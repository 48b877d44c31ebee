"""Expressions of many terms: SQLite on Cloudflare takes 100 levels, and 32 arguments of a function."""

import datetime
import functools
import operator
from decimal import Decimal

import pytest
import shelf
from django.db import IntegrityError, NotSupportedError, connections, models
from django.db.models import Case, Count, Exists, F, FilteredRelation, OuterRef, Q, Sum, Value, When, Window
from django.db.models import functions as fn
from shelf import Author, Book
from test_schema import create, make_apps, model_state, run

ENGINES = ("d1", "durable_object")

MANY = 120
NUMBERS = range(MANY)
RANKS = [0, 1, 5, 130]


def joined(operation, terms):
    return functools.reduce(operation, terms)


ANY = joined(operator.or_, [Q(rank=number) for number in range(MANY)])
NONE_OF = joined(operator.and_, [~Q(rank=number) for number in range(1, MANY)])
XOR = joined(operator.xor, [Q(rank__lte=number) for number in range(MANY - 1)])
NESTED = joined(
    operator.or_, [Q(rank=0) & joined(operator.or_, [Q(number=n) for n in NUMBERS]), Q(rank=5) & ANY]
)


@pytest.fixture
def both(engine):
    """The aliases of the engine and of Django's own backend, with the same books in each."""
    with shelf.tables(engine) as alias, shelf.stock_tables() as stock:
        for name in (alias, stock):
            author = Author.objects.using(name).create(name="Ann")
            Book.objects.using(name).bulk_create(
                Book(
                    author=author,
                    rank=rank,
                    number=rank * 3,
                    weight=rank / 7,
                    text=f"t{rank}" if rank % 2 else None,
                    span=datetime.timedelta(minutes=rank),
                    moment=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
                )
                for rank in RANKS
            )
        yield alias, stock


def ranks(books):
    return sorted(books.values_list("rank", flat=True))


CONDITIONS = {
    "filter": lambda books: ranks(books.filter(ANY)),
    "exclude": lambda books: ranks(books.exclude(ANY)),
    "negated": lambda books: ranks(books.filter(~ANY)),
    "all of": lambda books: ranks(books.filter(NONE_OF)),
    "nested": lambda books: ranks(books.filter(NESTED)),
    "aggregate": lambda books: books.aggregate(n=Count("pk", filter=ANY), m=Sum("rank", filter=~ANY)),
    "annotated aggregate": lambda books: list(
        books.values("author").annotate(n=Count("pk", filter=ANY)).values_list("n")
    ),
    "aggregate of all": lambda books: books.aggregate(n=Count("pk", filter=ANY | ~Q(pk__in=[]))),
    "when": lambda books: list(books.order_by("pk").values_list(Case(When(ANY, then=1), default=2))),
    "many whens": lambda books: list(
        books.order_by("pk").values_list(Case(*[When(rank=n, then=n + 1) for n in range(400)]))
    ),
    "having": lambda books: list(
        books.values("rank")
        .annotate(n=Sum("number"))
        .filter(joined(operator.or_, [Q(n=number) for number in range(0, 360, 3)]))
        .order_by("rank")
        .values_list("rank")
    ),
    "annotated condition": lambda books: list(
        books.order_by("pk").annotate(x=models.ExpressionWrapper(ANY, models.BooleanField())).values_list("x")
    ),
    "order by condition": lambda books: list(
        books.order_by(Case(When(ANY, then=1), default=0), "pk").values_list("rank")
    ),
    "exists": lambda books: list(
        books.filter(Exists(books.filter(ANY, pk=OuterRef("pk")))).order_by("pk").values_list("rank")
    ),
    "querysets": lambda books: ranks(joined(operator.or_, [books.filter(rank=n) for n in NUMBERS])),
    "querysets and": lambda books: ranks(
        joined(operator.and_, [books.exclude(rank=n) for n in range(1, MANY)])
    ),
    "chained filters": lambda books: ranks(
        joined(lambda found, n: found.exclude(rank=n), [books, *range(1, MANY)])
    ),
    "extra": lambda books: ranks(books.extra(where=[f"rank <> {n}" for n in range(1, MANY)])),  # noqa: S610
    "filtered relation": lambda books: list(
        Author.objects.using(books.db)
        .annotate(
            some=FilteredRelation("book", condition=joined(operator.or_, [Q(book__rank=n) for n in NUMBERS]))
        )
        .values_list("some__rank")
        .order_by("some__rank")
    ),
    "update": lambda books: (
        books.filter(ANY).update(number=1),
        sorted(books.values_list("number", flat=True)),
    ),
    "delete": lambda books: (books.filter(ANY).delete()[0], ranks(books)),
    "window": lambda books: list(
        books.annotate(x=Window(Sum("rank", filter=ANY))).order_by("pk").values_list("x")
    ),
}

# name -> (the expression, what it is for a book of that rank).
SHARP = Value("-", models.TextField())
HALF = Value(Decimal("0.5"), models.DecimalField(max_digits=9, decimal_places=3))
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
EXPRESSIONS = {
    "sum": (joined(operator.add, [F("rank")] * MANY), lambda rank: rank * MANY),
    "sum of floats": (
        joined(operator.add, [F("weight"), *[Value(number / 4) for number in NUMBERS]]),
        lambda rank: pytest.approx(rank / 7 + sum(NUMBERS) / 4),
    ),
    "differences": (joined(operator.sub, [F("number")] * MANY), lambda rank: -118 * 3 * rank),
    "sums and differences": (
        joined(lambda total, n: total + n if n % 3 else total - F("rank"), [F("number"), *NUMBERS]),
        lambda rank: rank * 3 - 40 * rank + sum(n for n in NUMBERS if n % 3),
    ),
    "to the right": (joined(lambda total, n: n - total, [F("rank"), *NUMBERS]), lambda rank: rank + 60),
    "both ways": (
        joined(operator.add, [F("rank")] * 70) * joined(operator.sub, [F("rank")] * 70),
        lambda rank: 70 * rank * -68 * rank,
    ),
    "products": (joined(operator.mul, [F("rank"), *[Value(1)] * 100, F("number")]), lambda rank: 3 * rank**2),
    "decimals": (joined(operator.add, [HALF] * MANY), lambda rank: Decimal(60)),
    "bits": (joined(lambda a, b: a.bitor(b), [F("rank"), *[Value(1024)] * 100]), lambda rank: rank | 1024),
    "bits of all": (joined(lambda a, b: a.bitand(b), [F("rank"), *[Value(4)] * 100]), lambda rank: rank & 4),
    "xor of bits": (joined(lambda a, b: a.bitxor(b), [F("rank"), *range(20)]), lambda rank: rank),
    "durations": (joined(operator.add, [F("span")] * MANY), lambda rank: datetime.timedelta(hours=2 * rank)),
    "moved moment": (
        joined(operator.add, [F("moment"), *[F("span")] * 60]),
        lambda rank: START + datetime.timedelta(hours=rank),
    ),
    "moved back": (
        joined(operator.sub, [F("moment"), *[datetime.timedelta(hours=1)] * 72]),
        lambda rank: START - datetime.timedelta(days=3),
    ),
    "inside a function": (fn.Abs(joined(operator.sub, [F("rank")] * MANY)), lambda rank: 118 * rank),
    "concat": (
        fn.Concat(*["text", SHARP, fn.Cast("rank", models.TextField())] * 40),
        lambda rank: f"{f't{rank}' if rank % 2 else ''}-{rank}" * 40,
    ),
    "concat of two": (fn.Concat("text", SHARP), lambda rank: f"t{rank}-" if rank % 2 else "-"),
    "concat of three": (
        fn.Concat("text", SHARP, "text"),
        lambda rank: f"t{rank}-t{rank}" if rank % 2 else "-",
    ),
    "coalesce": (fn.Coalesce(*["text"] * MANY, SHARP), lambda rank: f"t{rank}" if rank % 2 else "-"),
    "coalesce of 33": (fn.Coalesce(*["text"] * 32, SHARP), lambda rank: f"t{rank}" if rank % 2 else "-"),
    "greatest": (fn.Greatest(*[Value(number) for number in NUMBERS], "rank"), lambda rank: max(rank, 119)),
    "least": (fn.Least(*[Value(number + 1) for number in NUMBERS], "rank"), lambda rank: min(rank, 1)),
    "greatest of nulls": (
        fn.Greatest(*[SHARP] * MANY, "text"),
        lambda rank: f"t{rank}" if rank % 2 else None,
    ),
    "json": (
        fn.JSONObject(
            **{f"k{n}": "text" if n % 2 else "rank" for n in NUMBERS},
            deep=fn.JSONObject(**{f"{{x}}{n}": Value("}") for n in NUMBERS}),
        ),
        lambda rank: {
            **{f"k{n}": (f"t{rank}" if rank % 2 else None) if n % 2 else rank for n in NUMBERS},
            "deep": {f"{{x}}{n}": "}" for n in NUMBERS},
        },
    ),
    "json list": (
        fn.JSONArray(*["text", "rank"] * 60, fn.JSONArray(*["number"] * MANY)),
        lambda rank: [f"t{rank}" if rank % 2 else None, rank] * 60 + [[3 * rank] * MANY],
    ),
    "json of few": (fn.JSONObject(a="rank", b=fn.JSONArray(SHARP)), lambda rank: {"a": rank, "b": ["-"]}),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_of_many_terms_gives_what_it_gives_on_sqlite3(both, name):
    ours, right = (CONDITIONS[name](Book.objects.using(alias)) for alias in both)
    assert ours == right
    assert right


def test_an_xor_of_many_terms_is_true_for_an_odd_number_of_them(both):
    books = Book.objects.using(both[0])
    # A rank of n is in 119 - n of them.
    assert ranks(books.filter(XOR)) == [0]
    assert ranks(books.filter(~XOR)) == [1, 5, 130]
    assert ranks(books.filter(joined(operator.xor, [Q(text=f"t{n}") for n in NUMBERS]))) == [1, 5]
    assert books.aggregate(n=Count("pk", filter=XOR)) == {"n": 1}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_of_many_terms_is_computed(both, name):
    expression, right = EXPRESSIONS[name]
    books = Book.objects.using(both[0]).annotate(x=expression).order_by("pk")
    assert list(books.values_list("x", flat=True)) == [right(rank) for rank in RANKS]


@pytest.mark.parametrize("name", ["coalesce", "greatest", "sum"])
def test_an_expression_of_many_terms_stands_where_any_other_does(both, name):
    # As many as this machine's SQLite takes.
    expression = joined(operator.add, [F("rank")] * 60) if name == "sum" else EXPRESSIONS[name][0]

    def work(books):
        books.filter(rank__lt=6).update(text=expression)
        return (
            list(books.order_by("pk").values_list("text", flat=True)),
            list(books.order_by(expression, "pk").values_list("pk", flat=True)),
            books.annotate(x=expression).filter(x__isnull=False).count(),
            books.aggregate(x=Count(expression)),
            list(books.values(x=expression).annotate(n=Count("pk")).order_by("n", "x").values_list("x", "n")),
        )

    ours, right = (work(Book.objects.using(alias)) for alias in both)
    assert ours == right


def test_a_long_sum_of_aggregates_is_computed(both):
    books = Book.objects.using(both[0])
    assert books.aggregate(x=joined(operator.add, [Sum("rank")] * MANY))["x"] == sum(RANKS) * MANY
    counted = books.values("author").annotate(x=joined(operator.add, [Count("pk")] * MANY)).filter(x__gt=1)
    assert list(counted.values_list("x", flat=True)) == [4 * MANY]


def test_an_order_by_more_terms_than_columns_is_refused_with_what_to_do(both):
    books = Book.objects.using(both[0])
    assert len(books.order_by(*[F("rank") + number for number in range(100)])) == 4
    with pytest.raises(NotSupportedError, match=r"ordered by 101 terms.*allows 100"):
        list(books.order_by(*[F("rank") + number for number in range(101)]))


def test_an_iterator_in_an_order_of_many_terms_reads_all(both):
    for alias in both:
        books = Book.objects.using(alias).order_by(*[F("rank") % number for number in range(2, 80)])
        assert len(list(books.iterator(chunk_size=1))) == 4


CHECK = models.CheckConstraint(condition=joined(operator.or_, [Q(kind=n) for n in range(MANY)]), name="kinds")
NOT = models.CheckConstraint(condition=~joined(operator.or_, [Q(kind=n) for n in range(MANY)]), name="kinds")
EITHER = models.CheckConstraint(
    condition=joined(operator.xor, [Q(kind=n) for n in range(MANY)]), name="kinds"
)
UNIQUE = models.UniqueConstraint(
    fields=["kind"], condition=joined(operator.or_, [Q(kind=n) for n in range(MANY)]), name="kinds"
)


@pytest.mark.parametrize(
    ("constraint", "good", "bad"), [(CHECK, 119, 120), (NOT, 120, 119), (EITHER, 119, 120)]
)
def test_a_check_of_many_terms_is_enforced(engine, constraint, good, bad):
    state = model_state("Visit", [("kind", models.IntegerField())], constraints=[constraint])
    create(engine, make_apps(state), "Visit")
    run(engine, f"INSERT INTO zoo_visit (kind) VALUES ({good})")
    with pytest.raises(IntegrityError, match="kinds"):
        run(engine, f"INSERT INTO zoo_visit (kind) VALUES ({bad})")


def test_a_unique_condition_of_many_terms_is_enforced(engine):
    state = model_state("Visit", [("kind", models.IntegerField())], constraints=[UNIQUE])
    create(engine, make_apps(state), "Visit")
    run(engine, "INSERT INTO zoo_visit (kind) VALUES (119), (120), (120)")
    with pytest.raises(IntegrityError, match="UNIQUE"):
        run(engine, "INSERT INTO zoo_visit (kind) VALUES (119)")


def test_an_index_and_generated_columns_of_many_terms_are_made(engine):
    index = models.Index(fields=["kind"], condition=UNIQUE.condition, name="some")
    text = models.TextField()
    concat = models.GeneratedField(
        expression=fn.Concat(*["name", Value("-")] * 40), output_field=text, db_persist=True
    )
    first = models.GeneratedField(
        expression=fn.Coalesce(*["name"] * 80, Value("x")), output_field=text, db_persist=False
    )
    fields = [
        ("kind", models.IntegerField()),
        ("name", models.TextField(null=True)),
        ("all", concat),
        ("any", first),
    ]
    create(engine, make_apps(model_state("Visit", fields, indexes=[index])), "Visit")
    run(engine, "INSERT INTO zoo_visit (kind, name) VALUES (1, 'n'), (2, NULL)")
    with connections[engine.alias].cursor() as cursor:
        cursor.execute('SELECT "all", "any" FROM zoo_visit ORDER BY kind')
        assert cursor.fetchall() == [("n-" * 40, "n"), ("-" * 40, "x")]
        assert "some" in engine.introspection.get_constraints(cursor, "zoo_visit")


def test_arithmetic_of_many_terms_in_a_generated_column_and_an_index_is_made(engine):
    # Django copies expressions with Python's stack.
    long = joined(operator.add, [F("kind")] * 60) + joined(operator.add, [F("kind")] * 60)
    total = models.GeneratedField(expression=long, output_field=models.IntegerField(), db_persist=True)
    index = models.Index(long, name="long")
    state = model_state("Visit", [("kind", models.IntegerField()), ("total", total)], indexes=[index])
    create(engine, make_apps(state), "Visit")
    run(engine, "INSERT INTO zoo_visit (kind) VALUES (2)")
    with engine.cursor() as cursor:
        cursor.execute("SELECT total FROM zoo_visit")
        assert cursor.fetchall() == [(240,)]
