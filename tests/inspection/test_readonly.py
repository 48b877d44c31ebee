"""The SQL page's guard, on both engines: reads are answered, whatever could write changes nothing."""

from contextlib import suppress

import pytest

from do_bridge import driver
from do_bridge.backends.remote_sqlite import read_only
from do_bridge.inspection.inspected import Inspected
from do_bridge.inspection.reading import readonly

DATABASES = {"d1": Inspected(), "object": Inspected("acme")}

WRITES = [
    "DELETE FROM prey",
    "  delete from prey",
    "/* harmless */ DELETE FROM prey",
    "-- SELECT\nDELETE FROM prey",
    "WITH gone AS (SELECT 1) DELETE FROM prey",
    "WITH gone AS (SELECT id FROM prey) DELETE FROM prey WHERE id IN (SELECT id FROM gone) RETURNING id",
    "WITH RECURSIVE n(x) AS (SELECT 1) INSERT INTO prey(name) SELECT 'more' FROM n",
    "INSERT INTO prey(name) VALUES ('more') RETURNING id",
    "REPLACE INTO prey(id, name) VALUES (1, 'other')",
    "UPDATE prey SET name = 'other' RETURNING (SELECT 1)",
    "SELECT * FROM (DELETE FROM prey RETURNING id)",
    "SELECT 1; DELETE FROM prey",
    "SELECT 1; DROP TABLE prey; --",
    "SELECT 1 /* ; */ ; DELETE FROM prey",
    "SELECT ';' AS a; DELETE FROM prey",
    "SELECT 1) LIMIT 1; DELETE FROM prey; SELECT * FROM (SELECT 1",
    "SELECT $a('); DELETE FROM prey; --'",
    "SELECT @a('); DELETE FROM prey; --')",
    "SELECT :a::('); DELETE FROM prey; --'",
    "SELECT #a('); DELETE FROM prey; --'",
    "SELECT 1 -- \n; DELETE FROM prey",
    "SELECT 'it''s'; DELETE FROM prey",
    'SELECT ["]; DELETE FROM prey --"]',
    "SELECT `'`; DELETE FROM prey; --'",
    "SELECT 1\0; DELETE FROM prey",
    "EXPLAIN SELECT 1; DELETE FROM prey",
    "EXPLAIN DELETE FROM prey",
    "EXPLAIN QUERY PLAN DELETE FROM prey",
    "DROP TABLE prey",
    "ALTER TABLE prey RENAME TO gone",
    "CREATE TABLE more (id integer)",
    "CREATE TEMP TABLE more (id integer)",
    "PRAGMA user_version = 7",
    "PRAGMA foreign_keys = off",
    "PRAGMA defer_foreign_keys = on",
    "PRAGMA writable_schema = 1",
    "PRAGMA optimize(0x10002)",
    "SELECT * FROM pragma_optimize(0x10002)",
    'SELECT * FROM "PRAGMA_optimize"(0x10002)',
    "SELECT * FROM [pragma_optimize](0x10002)",
    "SELECT 1 WHERE EXISTS (SELECT * FROM main.pragma_optimize(0x10002))",
    "SELECT * FROM looks_harmless",
    "ANALYZE",
    "REINDEX",
    "VACUUM",
    "VACUUM INTO '/tmp/copy.sqlite3'",
    "ATTACH DATABASE '/tmp/other.sqlite3' AS other",
    "SELECT load_extension('anything')",
    "SELECT writefile('/tmp/file', 'text')",
    "SELECT json_extract('{}', '$') FROM json_each('[1]'); DELETE FROM prey",
    "BEGIN; DELETE FROM prey; COMMIT",
    "COMMIT",
    "SAVEPOINT a",
    "",
    "   ;;  ",
    "-- nothing",
]

# Single statements for which SQLite has a program.
PROGRAMS = [sql for sql in WRITES[:10] if ";" not in sql]


@pytest.fixture(params=DATABASES)
def database(request, site, django_db_blocker):
    """Each engine's database, with the table `prey` in it."""
    with django_db_blocker.unblock():
        database = DATABASES[request.param]
        with database.connect(10) as connection:
            connection.execute_batch(
                [
                    ("DROP VIEW IF EXISTS looks_harmless", None),
                    ("DROP TABLE IF EXISTS prey", None),
                    ("CREATE TABLE prey (id integer PRIMARY KEY, name text, picture blob)", None),
                    ("CREATE INDEX prey_name ON prey (name)", None),
                    ("INSERT INTO prey (name, picture) VALUES ('a', x'00ff'), ('b', NULL), ('c', x'')", None),
                ]
            )
        yield database
        with database.connect(10) as connection:
            connection.execute_batch(
                [("DROP VIEW IF EXISTS looks_harmless", None), ("DROP TABLE prey", None)]
            )


def contents(database):
    """Return all that a write attempt of this file could change."""
    with database.connect(10) as connection:
        results = connection.execute_batch(
            [
                ("SELECT * FROM prey ORDER BY id", None),
                ("SELECT type, name, sql FROM sqlite_master ORDER BY type, name", None),
                ("SELECT * FROM pragma_defer_foreign_keys", None),
            ]
        )
    return [result.rows for result in results]


def test_no_attempt_to_write_changes_anything(database):
    with database.connect(10) as connection:
        view = "CREATE VIEW looks_harmless AS SELECT * FROM pragma_optimize(0x10002)"
        connection.execute_batch([(view, None)])
    before = contents(database)
    assert len(before[0]) == 3
    for sql in WRITES:
        with pytest.raises((read_only.Refused, driver.Error)):
            readonly.run(database, sql)
            pytest.fail(f"{sql!r} was answered", pytrace=False)
        # A plan is made without running anything: some have one.
        with suppress(read_only.Refused, driver.Error):
            readonly.plan(database, sql)
    assert contents(database) == before


@pytest.mark.parametrize("sql", PROGRAMS)
def test_sqlites_own_program_betrays_a_write_that_the_scanner_would_let_pass(database, sql):
    with database.connect(10) as connection:
        program = connection.execute_batch([(f"EXPLAIN {sql}", None)])[0]
    with pytest.raises(read_only.Refused, match="would write"):
        read_only.check_program(program.rows)


def test_what_reads_is_answered(database):
    def rows(sql):
        return readonly.run(database, sql).rows

    assert rows("SELECT name FROM prey ORDER BY id DESC") == [("c",), ("b",), ("a",)]
    assert rows("VALUES (1, 'x'), (2, 'y');") == [(1, "x"), (2, "y")]
    assert rows("WITH n AS (SELECT count(*) AS c FROM prey) SELECT c FROM n -- how many") == [(3,)]
    assert rows("SELECT 'a;b', '--', \"name\" FROM prey WHERE id = 1") == [("a;b", "--", "a")]
    assert rows("SELECT 9007199254740993, 5.0, picture FROM prey WHERE id = 1") == [
        (9007199254740993, 5.0, b"\x00\xff")
    ]
    assert rows("SELECT name FROM pragma_table_info('prey')") == [("id",), ("name",), ("picture",)]
    assert rows("SELECT name LIKE '%a' FROM prey WHERE id = 1") == [(1,)]


def test_the_plan_of_a_statement_names_the_index_that_it_uses(database):
    answer = readonly.plan(database, "SELECT * FROM prey WHERE name = 'a'")
    assert "prey_name" in answer.rows[0][-1]


def test_an_answer_is_cut_at_the_limit_and_says_so(database):
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    answer = readonly.run(database, numbers, limit=10)
    assert answer.rows == [(x,) for x in range(1, 11)]
    assert answer.is_cut
    assert not readonly.run(database, "SELECT * FROM prey", limit=3).is_cut


def test_a_statement_that_takes_too_long_is_given_up(database):
    slow = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 4000000) SELECT count(*) FROM n"
    )
    with pytest.raises(driver.OperationalError, match="The statement took longer"):
        readonly.run(database, slow, seconds=0.3)
    # The database has outlived it.
    assert readonly.run(database, "SELECT count(*) FROM prey", seconds=20).rows == [(3,)]


def test_an_unclosed_quote_or_comment_hides_nothing(database):
    before = contents(database)
    for sql in ("SELECT 'open", "SELECT 1 /* open", "SELECT (1", "SELECT 1)", 'SELECT "'):
        try:
            assert readonly.run(database, sql).rows == [(1,)]
        except (read_only.Refused, driver.Error):
            continue
    assert contents(database) == before


def test_another_engines_database_is_refused(monkeypatch):
    from django.core.exceptions import ImproperlyConfigured

    monkeypatch.setattr("do_bridge.inspection.inspected.connections", {"default": object()})
    with pytest.raises(ImproperlyConfigured, match="cannot be inspected"):
        Inspected().connect(1)
