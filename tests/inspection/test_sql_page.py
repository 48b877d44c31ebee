"""The SQL page: its plan, its history, its saved queries, and a statement that runs on."""

import re
import time

import pytest
from django.contrib.admin.models import LogEntry

from do_bridge.inspection.models import SavedQuery
from do_bridge.inspection.reading import plans, queries, readonly
from tests.inspection.pages import ACME, D1, plain, text

GLOBEX = "/admin/databases/tenant/globex/"


@pytest.fixture(autouse=True)
def no_queries(site):
    SavedQuery.objects.all().delete()
    LogEntry.objects.using("default").all().delete()
    yield
    SavedQuery.objects.all().delete()


def test_a_run_shows_the_result_and_the_plan_beside_it(root, site):
    page = plain(root.post(f"{ACME}sql/", {"sql": "SELECT 41 + 1 AS answer", "run": ""}))
    assert "answer 42" in page
    assert "Plan SCAN CONSTANT ROW" in page
    assert "No large table is read from end to end." in page


def test_a_full_scan_of_a_large_table_says_which_index_would_help(root, scratch, monkeypatch):
    monkeypatch.setattr(plans, "LARGE", 5)
    scratch(
        'CREATE TABLE "many" (id integer PRIMARY KEY, word text, n integer)',
        "INSERT INTO many SELECT value, 'w', value FROM json_each('[1,2,3,4,5,6]')",
    )
    page = text(root.post(f"{ACME}sql/", {"sql": "SELECT m.id FROM many AS m WHERE m.word = 'w'", "run": ""}))
    assert '<li class="amber"><code>SCAN m</code>' in page
    assert "Reads all 6 rows of many. An index on many (word) would help." in page
    none = plain(root.post(f"{ACME}sql/", {"sql": "SELECT * FROM many", "run": ""}))
    assert "No index helps, because no condition compares a column of it." in none
    used = text(root.post(f"{ACME}sql/", {"sql": "SELECT * FROM many WHERE id = 3", "run": ""}))
    assert 'class="amber"' not in used


def table(rows):
    columns = [queries.Column(name, "", False, None, key) for name, key in (("id", 1), ("a", 0), ("b c", 0))]
    return queries.Table("t", False, "", False, columns, rows=rows)


@pytest.mark.parametrize(
    ("sql", "detail", "said"),
    [
        ("SELECT * FROM t WHERE a > 1", "SCAN t", "An index on t (a)"),
        ('SELECT * FROM "t" x JOIN u ON u.id = x."b c"', "SCAN x", "An index on t (b c)"),
        ("SELECT * FROM t WHERE 'a = 1' = b", "SCAN t", "No index helps"),
        ("SELECT * FROM t -- WHERE a = 1", "SCAN t", "No index helps"),
        ("SELECT 1", "SEARCH t USING AUTOMATIC COVERING INDEX (a=? AND b c>?)", "An index on t (a, b c)"),
        ("SELECT * FROM t WHERE id = 1", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)", ""),
    ],
)
def test_the_advice_follows_from_the_statement(sql, detail, said):
    (step,) = plans.tree([(2, 0, 0, detail)], sql, {"t": table(5_000)})
    assert said in step.advice
    assert bool(step.advice) == bool(said)
    (step,) = plans.tree([(2, 0, 0, detail)], sql, {"t": table(5)})
    assert step.advice == ""


def test_the_plan_is_a_tree():
    rows = [(1, 0, 0, "top"), (2, 1, 0, "below"), (3, 2, 0, "deep"), (4, 0, 0, "other")]
    first, second = plans.tree(rows, "SELECT 1", {})
    assert (first.children[0].children[0].detail, second.detail) == ("deep", "other")


def test_the_history_has_ones_own_statements_of_this_database_once_each(root, site):
    statement = "SELECT 1 -- with a comment\n+ 1 AS two"
    for _ in range(2):
        root.post(f"{ACME}sql/", {"sql": statement, "run": ""})
    root.post(f"{GLOBEX}sql/", {"sql": "SELECT 'elsewhere'", "run": ""})
    LogEntry.objects.using("default").filter(change_message__contains="elsewhere").update(
        user_id=site.root.pk
    )
    page = text(root.get(f"{ACME}sql/"))
    history = page.partition('id="history-title"')[2]
    assert history.count("with a comment") == 3  # the link, what fills the editor, and "Run again"
    assert "elsewhere" not in history
    assert f'<textarea name="sql" hidden aria-label="Statement">{statement}</textarea>' in history
    assert "two 2" in plain(root.post(f"{ACME}sql/", {"sql": statement, "run": ""}))
    site.ada.is_staff = site.ada.is_superuser = True
    site.ada.save()
    from django.test import Client

    other = Client()
    other.force_login(site.ada)
    assert "with a comment" not in text(other.get(f"{ACME}sql/"))


def test_a_query_is_saved_for_one_database_or_for_all_and_deleted(root, site):
    def save(name, sql, scope, path=ACME):
        fields = {"name": name, "sql": sql, "scope": scope}
        return plain(root.post(f"{path}sql/saved/", fields, follow=True))

    assert "The query “Newest” was saved." in save("Newest", "SELECT 1", "one")
    save("Everywhere", "SELECT 2", "all")
    save("Newest", "SELECT 3", "one")
    assert "Nothing was saved." in save(" ", "SELECT 1", "one")
    assert "Nothing was saved." in save("x", " ", "one")
    here, there = text(root.get(f"{ACME}sql/")), text(root.get(f"{D1}sql/"))
    assert 'data-fill="SELECT 3">Newest</a>' in here
    assert 'data-fill="SELECT 2">Everywhere</a>' in here
    assert "Newest" not in there
    assert "Everywhere" in there
    assert 'sql">SELECT 3</textarea>' not in here
    key = SavedQuery.objects.get(name="Newest").pk
    root.post(f"{D1}sql/saved/", {"delete": key})  # not one of its own
    assert SavedQuery.objects.filter(pk=key).exists()
    assert "was deleted" in plain(root.post(f"{ACME}sql/saved/", {"delete": key}, follow=True))
    assert not SavedQuery.objects.filter(pk=key).exists()


def test_saved_queries_need_the_right_to_run_sql(staff):
    from tests.inspection.pages import LOOK

    sam = staff(LOOK, "do_bridge.run_sql")
    assert sam.post(f"{ACME}sql/saved/", {"name": "x", "sql": "SELECT 1"}).status_code == 403


def test_a_statement_that_runs_on_is_given_up_on_the_page(root, site, monkeypatch):
    def never(database, sql, **options):
        raise readonly.TimeOver("The statement took longer than 5 seconds, so its result was dropped.")

    monkeypatch.setattr(readonly, "run_with_plan", never)
    asked = []
    original = queries.tables
    monkeypatch.setattr(queries, "tables", lambda connection: asked.append(1) or original(connection))
    page = plain(root.post(f"{ACME}sql/", {"sql": "SELECT 1", "run": ""}))
    assert "longer than 5 seconds" in page
    assert "no answer in time" in page
    assert len(asked) == 1


@pytest.mark.parametrize("path", [ACME, D1])
def test_a_real_statement_that_runs_on_answers_in_its_seconds(root, site, path, monkeypatch):
    monkeypatch.setattr(readonly, "SECONDS", 0.5)
    monkeypatch.setattr(readonly.run_with_plan, "__kwdefaults__", {"limit": 500, "seconds": 0.5})
    slow = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 6000000) "
    slow += "SELECT count(*) FROM c"
    start = time.monotonic()
    page = plain(root.post(f"{path}sql/", {"sql": slow, "run": ""}))
    spent = time.monotonic() - start
    if "took longer" not in page:  # a fast machine has counted to the end
        assert re.search(r"count\(\*\) 6000000", page)
        return
    assert "It may still be running" in page
    assert spent < 60
