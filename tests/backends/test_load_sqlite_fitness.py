"""load_sqlite names what D1 and Durable Objects cannot have before anything is sent."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
import site_file

from do_bridge import django_compat
from do_bridge.backends.sqlite_file.fitness import PYTHON_FUNCTIONS, UnfitFile
from do_bridge.backends.sqlite_file.loading import load_database

ENGINES_BY_DAY = ("d1", "durable_object")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "CREATE TABLE t (a TEXT, CHECK (a REGEXP 'x'))",
            "The table 't' .* Django's own sqlite3 engine computes",
        ),
        (
            "CREATE TABLE t (a TEXT, b AS (django_date_extract('year', a)) STORED)",
            "The table 't' .*django_date_extract.* computes it in Python",
        ),
        ("CREATE INDEX i ON gone_app (MD5(key))", "'i' needs .*MD5.* computes it in Python"),
        (
            "CREATE TRIGGER r AFTER DELETE ON gone_app BEGIN SELECT reverse(OLD.key); END",
            "The trigger 'r' needs .*REVERSE.* computes it in Python",
        ),
        ("CREATE VIEW v AS SELECT django_time_trunc(1)", "The view 'v' can't be read"),
        ("CREATE TABLE t (a INTEGER REFERENCES nowhere (id))", "'t' has a foreign key to 'nowhere'"),
        (
            "INSERT INTO shop_line VALUES (9, 99, '')",
            "1 rows refer to missing rows by their foreign keys, in: shop_line",
        ),
        (
            "INSERT INTO gone_app VALUES (printf('%.*c', 1500000, 'x'), printf('%.*c', 1500000, 'x'))",
            "gone_app has a row of 3,000,000 bytes",
        ),
        (f"CREATE VIEW long AS SELECT '{'x' * 100_000}' AS a", "The view 'long' has 100,0.. bytes of SQL"),
        ("DROP TABLE django_migrations", "no table django_migrations"),
    ],
)
def test_what_does_not_fit_is_named_without_a_trip(engine, tmp_path, trips, statement, told):
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as file:
        for name in ("regexp", "django_date_extract", "MD5"):
            file.create_function(name, -1, lambda *args: 1, deterministic=True)
        file.executescript(site_file.SCHEMA)
        file.execute(statement)
        file.commit()
    before = trips.count
    with pytest.raises(UnfitFile, match=told):
        load_database(engine.alias, path)
    assert trips.count == before


def test_the_functions_that_django_computes_in_python_are_all_known():
    from django.db.backends.sqlite3._functions import register

    made = set()

    class Recorder:
        def create_function(self, name, *args, **kwargs):
            made.add(name.upper())

        create_aggregate = create_function

        def execute(self, sql):
            return SimpleNamespace(fetchone=lambda: [1])

    register(Recorder())
    # SQLite has a sign() of its own.
    named = {name for name in made if not name.startswith("DJANGO_")} - {"SIGN"}
    assert named <= PYTHON_FUNCTIONS
    if django_compat.SERIES[-1] == django_compat.INSTALLED:
        # The last one needs Python 3.14.
        assert PYTHON_FUNCTIONS - named <= {"UUIDV7"}
