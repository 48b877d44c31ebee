"""Virtual tables in tenant_dump and tenant_load: FTS5's kinds, each carried in its own way or refused."""

import sqlite3
from contextlib import closing

import pytest
from django.db import NotSupportedError, connections

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.lifecycle.transfer.load import load_tenant
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object, unique_slug

TABLES = [
    "CREATE VIRTUAL TABLE own USING fts5(title, \"100% body\", ref UNINDEXED, prefix='2')",
    'INSERT INTO own (rowid, title, "100% body", ref) '
    "VALUES (7, 'Red fox', 'runs', 5), (3, 'Owl', x'6F', NULL)",
    "INSERT INTO own (own, rank) VALUES ('rank', 'bm25(10.0, 1.0)')",
    "CREATE TABLE text (id INTEGER PRIMARY KEY, word TEXT)",
    "INSERT INTO text VALUES (2, 'brown bear'), (9, 'grey wolf')",
    "CREATE VIEW shouted AS SELECT id, upper(word) AS word FROM text",
    "CREATE VIRTUAL TABLE using_view USING fts5(word, content='shouted', content_rowid='id')",
    "CREATE VIRTUAL TABLE outside USING fts5(word, content=text, content_rowid=id)",
    "CREATE VIRTUAL TABLE terms USING fts5vocab('outside', 'row')",
    "CREATE TRIGGER text_in AFTER INSERT ON text BEGIN "
    "INSERT INTO outside (rowid, word) VALUES (new.id, new.word); END",
    "CREATE TRIGGER text_out AFTER DELETE ON text BEGIN "
    "INSERT INTO outside (outside, rowid, word) VALUES ('delete', old.id, old.word); END",
    "INSERT INTO outside (outside) VALUES ('rebuild')",
    "INSERT INTO using_view (using_view) VALUES ('rebuild')",
]
FOUND = [
    ("SELECT rowid FROM own WHERE own MATCH 'fo*'", [(7,)]),
    ("SELECT rowid, title, typeof(\"100% body\"), ref FROM own ORDER BY rowid",
     [(3, "Owl", "blob", None), (7, "Red fox", "text", 5)]),
    ("SELECT v FROM own_config WHERE k = 'rank'", [("bm25(10.0, 1.0)",)]),
    ("SELECT rowid FROM outside WHERE outside MATCH 'wolf'", [(9,)]),
    ("SELECT rowid FROM using_view WHERE using_view MATCH 'bear'", [(2,)]),
    ("SELECT term FROM terms ORDER BY term", [("bear",), ("brown",), ("grey",), ("wolf",)]),
]  # fmt: skip


@pytest.fixture
def other(db):
    """A slug without a tenant, whose object is emptied afterwards."""
    slug = unique_slug("fts")
    yield slug
    empty_object(tenant_alias(slug))
    ledger.forget(slug)


def answers(slug, statements):
    alias = tenant_alias(slug)
    with unchecked(alias):
        return [result.rows for result in run_batch(connections[alias], [(sql, None) for sql in statements])]


def test_indexes_of_every_kind_answer_in_the_file_and_after_a_load(acme, other, tmp_path):
    answers(acme.slug, TABLES)
    path = tmp_path / "a.sqlite3"
    assert dump_tenant(acme.slug, path).consistent
    with closing(sqlite3.connect(path)) as file:
        assert [file.execute(sql).fetchall() for sql, _ in FOUND] == [rows for _, rows in FOUND]
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    load_tenant(other, path)
    assert answers(other, [sql for sql, _ in FOUND]) == [rows for _, rows in FOUND]
    assert dump_tenant(other, tmp_path / "again.sqlite3").rows > 0


def test_triggers_keep_an_index_in_step_after_a_load(acme, other, tmp_path):
    answers(acme.slug, TABLES)
    dump_tenant(acme.slug, tmp_path / "a.sqlite3")
    load_tenant(other, tmp_path / "a.sqlite3")
    answers(other, ["INSERT INTO text VALUES (11, 'white hare')", "DELETE FROM text WHERE id = 9"])
    match = "SELECT rowid FROM outside WHERE outside MATCH '{}'"
    assert answers(other, [match.format("hare"), match.format("wolf")]) == [[(11,)], []]
    # SQLite's own comparison of an index with its table; it raises where they differ.
    answers(other, ["INSERT INTO outside (outside, rank) VALUES ('integrity-check', 1)"])


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("CREATE VIRTUAL TABLE found USING fts5(body, content='')", "'found' is a contentless FTS5 table"),
        (
            "CREATE VIRTUAL TABLE found USING fts5(body, content='', contentless_delete=1)",
            "'found' is a (contentless FTS5|virtual) table",
        ),
    ],
)
def test_an_index_that_does_not_hold_its_texts_is_refused_by_its_name(acme, tmp_path, sql, told):
    answers(acme.slug, [sql])
    with pytest.raises(NotSupportedError, match=told):
        dump_tenant(acme.slug, tmp_path / "a.sqlite3")
    assert list(tmp_path.iterdir()) == []
