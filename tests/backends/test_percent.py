"""Percent signs in SQL: what Django's own sqlite3 backend makes of them, on both engines."""

import pytest
import shelf
from django.db import ProgrammingError, connections
from django.db.migrations import RunSQL
from django.db.models import F, Value
from django.db.models.expressions import RawSQL
from shelf import Author, Book

ENGINES = ("d1", "durable_object")

NAMES = ["quill", "q%s", "100%", "a%%b", "moth"]


@pytest.fixture
def both(engine):
    """The aliases of the engine and of Django's own backend, with the same authors in each."""
    with shelf.tables(engine) as alias, shelf.stock_tables() as stock:
        for name in (alias, stock):
            authors = Author.objects.using(name).bulk_create([Author(name=text) for text in NAMES])
            Book.objects.using(name).create(author=authors[0], rank=7, text="50% off")
        yield alias, stock


@pytest.mark.parametrize("params", [(), [], None, {}])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM shelf_author WHERE name LIKE 'q%' ORDER BY id",
        "SELECT * FROM shelf_author WHERE name LIKE '%q%' ORDER BY id",
        "SELECT * FROM shelf_author WHERE id % 2 = 1 ORDER BY id",
        "SELECT * FROM shelf_author WHERE name LIKE '%'",
        "SELECT id, strftime('%Y', '2024-01-01') AS name FROM shelf_author ORDER BY id",
    ],
)
def test_raw_queries_keep_a_bare_percent_sign(both, sql, params):
    found = [[author.name for author in Author.objects.using(name).raw(sql, params)] for name in both[:1]]
    # With a mapping, stock Django formats the statement in Python, which takes no bare percent sign.
    right = [author.name for author in Author.objects.using(both[1]).raw(sql, () if params == {} else params)]
    assert found == [right]
    assert right


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT strftime('%Y', '2024-01-01')", ()),
        ("SELECT strftime('%Y', %s)", ["2024-01-01"]),
        ("SELECT strftime('%Y%%', %s), 7 % %s", ["2024-01-01", 4]),
        ("SELECT '%%', 'a%%b', '%%s'", ()),
        ("SELECT '%%', 'a%%b', '%%s'", None),
        ("SELECT '%%', '%%%%', 7 %% 4", []),
        ("SELECT name FROM shelf_author WHERE name LIKE %s AND name LIKE 'q%'", ["%l"]),
        ("SELECT '%%', %(a)s", {"a": 1}),
        ("SELECT '%%'", {}),
    ],
)
def test_a_cursor_reads_percent_signs_as_sqlite3s_does(both, sql, params):
    rows = []
    for name in both:
        with connections[name].cursor() as cursor:
            cursor.execute(sql, params)
            rows.append(cursor.fetchall())
    assert rows[0] == rows[1]


def test_executemany_keeps_a_bare_percent_sign(both):
    for name in both:
        with connections[name].cursor() as cursor:
            cursor.executemany(
                "UPDATE shelf_author SET name = %s WHERE name LIKE 'q%' AND id = %s", [("x", 1), ("y", 2)]
            )
    names = [list(Author.objects.using(name).order_by("pk").values_list("name", flat=True)) for name in both]
    assert names[0] == names[1] == ["x", "y", *NAMES[2:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda authors: authors.extra(where=["name LIKE 'q%%'"]),
        lambda authors: authors.extra(where=["name LIKE 'q%%' AND id > %s"], params=[0]),
        lambda authors: authors.extra(select={"x": "strftime('%%Y', '2024-01-01')"}),
        lambda authors: authors.extra(select={"x": "id %% %s"}, select_params=[2]).filter(pk__gt=1),
        lambda authors: authors.annotate(x=RawSQL("strftime('%Y', %s)", ["2024-01-01"])),
        lambda authors: authors.annotate(x=RawSQL("name LIKE '%%q'", ())).filter(name__contains="%"),
        lambda authors: authors.annotate(x=RawSQL("'%%'", ())),
        lambda authors: authors.annotate(x=F("pk") % 2).filter(name__startswith="q%"),
        lambda authors: authors.annotate(x=Value("%s%%")).filter(name__endswith="%"),
    ],
    ids=range(9),
)
def test_querysets_with_raw_parts_read_percent_signs_as_sqlite3s_do(both, change):
    found = [list(change(Author.objects.using(name).order_by("pk")).values()) for name in both]
    assert found[0] == found[1]
    assert found[0]


def test_the_query_log_shows_a_statement_with_a_bare_percent_sign(both):
    log = connections[both[0]]
    log.force_debug_cursor = True
    try:
        with log.cursor() as cursor:
            cursor.execute("SELECT strftime('%Y', %s), '100%%'", ["2024-01-01"])
            cursor.execute("SELECT strftime('%Y', %(day)s)", {"day": "2024-01-01"})
        logged = [entry["sql"] for entry in log.queries[-2:]]
    finally:
        log.force_debug_cursor = False
        log.queries_log.clear()
    assert logged == ["SELECT strftime('%Y', '2024-01-01'), '100%'", "SELECT strftime('%Y', '2024-01-01')"]


@pytest.mark.parametrize(
    ("sql", "stored"),
    [
        ("UPDATE shelf_author SET name = 'x%%' WHERE id = 1", "x%%"),
        [("UPDATE shelf_author SET name = 'x%%' WHERE id = 1", []), "x%"],
        [("UPDATE shelf_author SET name = 'x%%' WHERE id = 1", None), "x%%"],
        [("UPDATE shelf_author SET name = '%%' || %s WHERE id = 1", ["x"]), "%x"],
    ],
)
def test_runsql_takes_percent_signs_as_on_sqlite3(both, sql, stored):
    operation = RunSQL(sql if isinstance(sql, str) else [sql])
    found = []
    for name in both:
        with connections[name].schema_editor() as editor:
            operation.database_forwards("shelf", editor, None, None)
        found.append(Author.objects.using(name).get(pk=1).name)
    assert found == [stored, stored]


def test_a_missing_parameter_is_an_error_before_anything_is_sent(both, count_trips):
    with count_trips() as trips, pytest.raises(ProgrammingError, match="1 placeholders .* 0 parameters"):
        list(Author.objects.using(both[0]).raw("SELECT * FROM shelf_author WHERE name = %s"))
    assert trips.count == 0
