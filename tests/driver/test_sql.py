"""The statement's text: placeholders, verb, and what certainly only reads."""

from __future__ import annotations

import pytest

from do_bridge.driver import NotSupportedError, ProgrammingError
from do_bridge.driver.sql import bare, prepare, shape_of


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("select 1", "SELECT"),
        ("  -- a comment; with DELETE\n /* and; more */ SELECT 1", "SELECT"),
        ("(SELECT 1)", "SELECT"),
        ("WITH a AS (DELETE_ME), b(x) AS (SELECT ')' UNION VALUES(1)) INSERT INTO t SELECT 1", "INSERT"),
        ("with recursive a(x) as materialized (select 'insert') select 1", "SELECT"),
        ('WITH "select" AS (VALUES (1)) UPDATE t SET a = 1', "UPDATE"),
        ("REPLACE INTO t VALUES (1)", "REPLACE"),
        ("", ""),
        (" ; -- nothing", ""),
    ],
)
def test_the_main_verb_is_found(sql: str, verb: str) -> None:
    assert shape_of(sql).verb == verb


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT ';' ; ",
        "SELECT 1; -- DELETE FROM t",
        "VALUES (1)",
        "EXPLAIN DELETE FROM t",
        "PRAGMA table_info('t')",
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ],
)
def test_a_read_is_known_as_one(sql: str) -> None:
    assert shape_of(sql).reads_only


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; DELETE FROM t",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "PRAGMA defer_foreign_keys = on",
        "PRAGMA optimize",
        "PRAGMA foreign_key_check = 1",
        "INSERT INTO t VALUES (1) RETURNING id",
        "CREATE TABLE t (a)",
        "ANALYZE",
    ],
)
def test_what_is_not_certainly_a_read_counts_as_a_write(sql: str) -> None:
    assert not shape_of(sql).reads_only


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA ignore_check_constraints = on",
        "pragma main.case_sensitive_like(1);",
        "SELECT 1; /* and */ PRAGMA legacy_alter_table=ON; SELECT 2",
        "PRAGMA recursive_triggers = 'yes'",
    ],
)
def test_a_pragma_that_would_outlast_its_transaction_is_refused(sql: str) -> None:
    with pytest.raises(NotSupportedError, match="would stay switched on for everybody"):
        prepare(sql, None)


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA ignore_check_constraints",
        "PRAGMA legacy_alter_table = OFF; PRAGMA defer_foreign_keys = on",
        "SELECT 'PRAGMA recursive_triggers = 1'",
        "SELECT 1 AS recursive_triggers, 'pragma'",
    ],
)
def test_pragmas_that_are_asked_for_switched_off_or_only_named_are_not_refused(sql: str) -> None:
    assert prepare(sql, None).sql == sql


def test_semicolons_and_comments_behind_a_statement_are_cut() -> None:
    assert bare("SELECT ';' -- x\n ; /* y */ ;") == "SELECT ';'"


def test_without_parameters_the_text_is_untouched() -> None:
    assert prepare("SELECT '%s', 5 % 2", None).sql == "SELECT '%s', 5 % 2"


def test_all_parameters_are_one_json_text() -> None:
    statement = prepare("SELECT %s, '100%%', %s", [1, "a"])
    assert statement.sql == "SELECT (?1->>0), '100%', (?1->>1)"
    assert statement.params == ('[1,"a"]',)


def test_a_name_may_be_used_twice() -> None:
    statement = prepare("SELECT %(a)s, %(b)s, %(a)s", {"a": 1, "b": 2})
    assert statement.sql == "SELECT (?1->>0), (?1->>1), (?1->>0)"


def test_a_name_that_the_statement_does_not_use_is_not_sent() -> None:
    statement = prepare("SELECT %(a)s", {"b": "x" * 5000, "a": 1, "c": 2})
    assert (statement.sql, statement.params) == ("SELECT (?1->>0)", ("[1]",))


def test_blobs_and_large_texts_have_slots_of_their_own() -> None:
    statement = prepare("SELECT %s, %s, %s", ["x" * 5000, 7, b"y" * 1_000_000])
    assert statement.sql == "SELECT ?2, (?1->>0), CAST(unhex(?3)||unhex(?4) AS BLOB)"
    assert [len(text) for text in statement.params] == [3, 5000, 1_500_000, 500_000]


@pytest.mark.parametrize(
    ("sql", "params", "sent"),
    [
        ("SELECT 'x' LIKE 'q%'", (), "SELECT 'x' LIKE 'q%'"),
        ("SELECT 'x' LIKE 'q%'", [], "SELECT 'x' LIKE 'q%'"),
        ("SELECT 'x' LIKE 'q%%'", (), "SELECT 'x' LIKE 'q%'"),
        ("SELECT strftime('%Y', %s)", [1], "SELECT strftime('%Y', (?1->>0))"),
        ("SELECT 'q%%', '%%s', 5 %% %s, 5 % %s", [1, 2], "SELECT 'q%', '%s', 5 % (?1->>0), 5 % (?1->>1)"),
        ("SELECT '%d%(a)s'", (), "SELECT '%d%(a)s'"),
        ("SELECT '100%%', '%Y', %(a)s", {"a": 1}, "SELECT '100%', '%Y', (?1->>0)"),
        ("SELECT 'q%', '%%'", {}, "SELECT 'q%', '%'"),
        ("SELECT '%%(a)s', %(a)s", {"a": 1}, "SELECT '%(a)s', (?1->>0)"),
    ],
)
def test_a_percent_sign_that_begins_no_placeholder_stays(sql: str, params: object, sent: str) -> None:
    assert prepare(sql, params).sql == sent  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "params", "message"),
    [
        ("SELECT %s, %s", [1], r"2 placeholders .* 1 parameters"),
        ("SELECT %s", [1, 2], r"1 placeholders .* 2 parameters"),
        ("SELECT %s", (), r"1 placeholders .* 0 parameters"),
        ("SELECT 'x' LIKE '%a'", [1], r"0 placeholders .* 1 parameters"),
        ("SELECT %d", [1], r"0 placeholders .* 1 parameters"),
        ("SELECT %(b)s", {"a": 1}, "not given: 'b'"),
        ("SELECT %s", {"a": 1}, "its parameters have names"),
    ],
)
def test_parameters_that_do_not_fit_are_a_programming_error(sql: str, params: object, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        prepare(sql, params)  # type: ignore[arg-type]
