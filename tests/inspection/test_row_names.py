"""Each row of each table has a page of its own, whatever its key is."""

import re
from html import unescape

import pytest
from django.urls import reverse

from do_bridge.inspection.inspected import Inspected
from tests.inspection.pages import ACME, text

# Columns, and rows of which each differs from the others by its type alone, or by what URLs make of it.
TABLES = {
    "bare": ("(a)", "('x')", "(x'00ff')", "(NULL)"),
    "texts": ("(a text PRIMARY KEY)", "('=1')", "('')", "('a/b')",
              "(printf('%.300c', 'z'))", "(NULL)", "(x'01')"),
    "numbers": ("(a decimal PRIMARY KEY)", "(1)", "('one')", "(1.5)", "(9007199254740993)"),
    "untyped": ("(a PRIMARY KEY)", "(1)", "('1')", "(x'31')", "(1.0e300)"),
    "blobs": ("(a blob PRIMARY KEY) WITHOUT ROWID", "(x'00')", "(x'')", "('t')", "(9007199254740993)"),
    "pairs": ("(a, b, PRIMARY KEY (b, a)) WITHOUT ROWID", "('p', 1)", "('p', '1')", "('=/~', 0.1)",
              "(1, 9e999)"),
    "both": ("(a integer, b text, PRIMARY KEY (a, b))", "(1, 'x')", "(1, 'y')"),
    "taken": ("(rowid text, oid text)", "('x', 'y')", "('z', 'y')"),
    "wide": (f"({', '.join(f'c{n}' for n in range(100))})", *(f"({'NULL, ' * 99}{n})" for n in range(3))),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_page_that_shows_it_alone(root, scratch, name):
    columns, *rows = TABLES[name]
    scratch(f'CREATE TABLE "{name}" {columns}', *(f"INSERT INTO {name} VALUES {row}" for row in rows))
    with Inspected("acme").connect(10) as connection:
        first = connection.execute(f"SELECT * FROM {name} LIMIT 0").description[0][0]
        kinds = connection.execute(f"SELECT typeof({first}) FROM {name}").fetchall()
    listed = text(root.get(f"{ACME}tables/{name}/"))
    urls = {unescape(url) for url in re.findall(r'href="([^"]*/rows/[^"]*)"', listed)}
    pages = [root.get(url) for url in urls]
    assert [page.status_code for page in pages] == [200] * len(rows)
    shown = [[(cell.kind, cell.text) for _, cell, _ in page.context["values"]] for page in pages]
    assert len({tuple(cells) for cells in shown}) == len(rows)
    assert sorted(cells[0][0] for cells in shown) == sorted(kind for (kind,) in kinds)


def test_a_full_text_index_is_one_table_whose_rows_have_pages(root, site):
    with Inspected("acme").connect(10) as connection:
        connection.execute("CREATE VIRTUAL TABLE found USING fts5(body)")
        connection.execute("INSERT INTO found (rowid, body) VALUES (7, 'a red fox')")
        try:
            page = text(root.get(ACME))
            assert "tables/found/" in page
            assert "found_data" not in page
            assert "a red fox" in text(root.get(f"{ACME}tables/found/rows/7/"))
            tables = root.get(f"{ACME}facts.json").json()["tables"]
        finally:
            connection.execute("DROP TABLE found")
    assert root.get(f"{ACME}facts.json").json()["tables"] == tables - 1


NO_NAMES = (
    "=",
    "=x",
    "=[]",
    '=[1,"tx"',
    "=[1]",
    '=[1,"zx"]',
    '=[1,"xzz"]',
    '=[1,"t\\ud800"]',
    "=[true,[1]]",
    "9" * 25,
    "-",
    "x",
)


def test_names_that_no_row_has_are_not_found(root, scratch):
    scratch(
        'CREATE TABLE "bare" (a)',
        "INSERT INTO bare VALUES (1)",
        'CREATE TABLE "pairs" (a integer, b text, PRIMARY KEY (a, b)) WITHOUT ROWID',
        "INSERT INTO pairs VALUES (1, 'x')",
    )

    def status(table, name):
        return root.get(reverse("admin:database_row", args=[Inspected("acme"), table, name])).status_code

    assert {status(table, name) for table in ("bare", "pairs") for name in NO_NAMES} == {404}
    assert status("pairs", '=[1,"tx"]') == 200


def test_a_secret_key_names_no_row(root, site):
    listed = text(root.get("/admin/databases/shared/tables/django_session/"))
    assert "/rows/" not in listed
    url = f"/admin/databases/shared/tables/django_session/rows/{root.cookies['sessionid'].value}/"
    assert root.get(url).status_code == 404
