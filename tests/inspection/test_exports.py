"""Downloads of tables and results: all rows, with the filters, as CSV, JSON and SQL that others read."""

import csv
import io
import json
import sqlite3
from contextlib import closing

import pytest
from django.contrib.admin.models import LogEntry

from do_bridge.inspection.inspected import Inspected
from do_bridge.inspection.reading import export
from tests.inspection.pages import ACME, D1, LOOK, text

VALUES = """INSERT INTO kinds VALUES
  (1, 'plain', 1.5, NULL, 9007199254740993), (2, 'it''s, "so"' || char(10) || 'two', 5.0, x'00ff', -1),
  (3, '', 1e999, NULL, 0)"""


def body(response):
    return b"".join(response.streaming_content).decode()


@pytest.fixture
def kinds(scratch):
    scratch('CREATE TABLE "kinds" (id integer PRIMARY KEY, t text, r real, b blob, n integer)', VALUES)
    return f"{ACME}tables/kinds/export"


def test_a_table_is_exported_in_three_forms(root, kinds):
    answer = root.get(f"{kinds}/csv/")
    assert answer["Content-Disposition"] == 'attachment; filename="acme-kinds.csv"'
    lines = list(csv.reader(io.StringIO(body(answer), newline="")))
    assert lines[0] == ["id", "t", "r", "b", "n"]
    assert lines[1] == ["1", "plain", "1.5", "", "9007199254740993"]
    assert lines[2] == ["2", 'it\'s, "so"\ntwo', "5.0", "00FF", "-1"]
    rows = json.loads(body(root.get(f"{kinds}/json/")))
    assert rows[0] == {"id": 1, "t": "plain", "r": 1.5, "b": None, "n": 9007199254740993}
    assert rows[2]["r"] == "Inf"
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.executescript(body(root.get(f"{kinds}/sql/")))
        found = copy.execute("SELECT * FROM kinds").fetchall()
    assert found[1] == (2, 'it\'s, "so"\ntwo', 5.0, b"\x00\xff", -1)
    assert found[2][2] == float("inf")
    assert root.get(f"{kinds}/xls/").status_code == 404


def test_an_export_has_the_filters_and_no_other_rows(root, kinds):
    assert [row["id"] for row in json.loads(body(root.get(f"{kinds}/json/?c=n&o=gt&v=-1")))] == [1, 3]
    assert json.loads(body(root.get(f"{kinds}/json/?c=n&o=is&v=77"))) == []
    refused = root.get(f"{kinds}/json/?c=nosuch&o=is&v=1")
    assert refused.status_code == 400
    assert "Nothing was exported" in text(refused)


def test_all_rows_of_a_large_table_are_exported_in_chunks(root, scratch):
    scratch(
        'CREATE TABLE "large" (a text, b integer)',
        "INSERT INTO large SELECT 'x', value FROM (WITH RECURSIVE c(value) AS "
        "(SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 12345) SELECT value FROM c)",
    )
    answer = root.get(f"{ACME}tables/large/export/csv/")
    lines = body(answer).splitlines()
    assert lines[1] == "x,1"
    assert (lines[-1], len(lines)) == ("x,12345", 12346)
    result = root.post(
        f"{ACME}sql/export/", {"sql": "SELECT b, b FROM large ORDER BY b DESC", "form": "json"}
    )
    rows = json.loads(body(result))
    assert rows[0] == {"b": 12345, "b:1": 12345}
    assert [row["b"] for row in rows] == list(range(12345, 0, -1))


def test_tables_without_rowid_and_views_are_exported_whole(root, scratch, monkeypatch):
    monkeypatch.setattr(export, "FIRST", 2)
    monkeypatch.setattr(export, "MOST", 2)
    scratch(
        'CREATE TABLE "pairs" (a integer, b text, PRIMARY KEY (a, b)) WITHOUT ROWID',
        "INSERT INTO pairs SELECT value / 3, 'k' || value FROM json_each('[1,2,3,4,5,6,7,8,9]')",
    )
    with Inspected("acme").connect(10) as connection:
        connection.execute("CREATE VIEW seen AS SELECT b FROM pairs ORDER BY b")
        try:
            for name in ("pairs", "seen"):
                rows = json.loads(body(root.get(f"{ACME}tables/{name}/export/json/")))
                assert [row["b"] for row in rows] == [f"k{n}" for n in range(1, 10)], name
        finally:
            connection.execute("DROP VIEW seen")


def test_a_chunk_grows_with_small_rows_and_shrinks_with_large_ones():
    sizes = []

    def ask(after, size):
        sizes.append(size)
        return [[export.Cell("text", "z" * (400_000 if len(sizes) == 3 else 10))] * 1] * size, len(
            sizes
        ) < 5 or None

    list(export._Chunks(ask))
    assert sizes[:3] == [10, 40, 160]
    assert sizes[3] <= 3


def test_no_export_has_a_secret_or_goes_round_the_permissions(root, site, staff):
    users = body(root.get(f"{D1}tables/accounts_user/export/csv/"))
    assert "root" in users
    assert "md5$" not in users
    assert "password" not in users.splitlines()[0]
    sam = staff(LOOK)
    assert sam.get(f"{ACME}tables/blog_post/export/csv/").status_code == 403
    assert sam.post(f"{ACME}sql/export/", {"sql": "SELECT 1", "form": "csv"}).status_code == 403
    assert root.get(f"{ACME}sql/export/").status_code == 405


@pytest.mark.parametrize("path", [ACME, D1])
def test_a_result_is_exported_if_the_statement_reads(root, site, path):
    said = root.post(f"{path}sql/export/", {"sql": "DELETE FROM blog_post", "form": "csv"})
    assert said.status_code == 400
    assert "Only SELECT" in text(said)
    answer = root.post(f"{path}sql/export/", {"sql": "SELECT 'a' AS x UNION SELECT 'b'", "form": "sql"})
    assert body(answer).splitlines()[1:4] == [
        'CREATE TABLE "result" ("x");',
        'INSERT INTO "result" ("x") VALUES (\'a\');',
        'INSERT INTO "result" ("x") VALUES (\'b\');',
    ]
    logged = LogEntry.objects.using("default").values_list("change_message", flat=True)
    assert [message.partition(", ")[2].partition("\n")[0] for message in logged] == [
        "exported as sql",
        "export failed: Refused",
    ]
