"""Errors have the class that sqlite3 would give, and keep what the server said."""

from __future__ import annotations

import pickle

import pytest

from do_bridge import driver
from do_bridge.driver.exceptions import error_from


@pytest.mark.parametrize(
    ("sql", "error_class", "code", "message"),
    [
        ("SELECT * FROM nowhere", driver.OperationalError, "SQLITE_ERROR", "no such table: nowhere"),
        ("SELECT missing", driver.OperationalError, "SQLITE_ERROR", "no such column: missing"),
        ("SELEC 1", driver.OperationalError, "SQLITE_ERROR", 'near "SELEC": syntax error'),
        ("INSERT INTO {t} (id) VALUES ('x')", driver.IntegrityError, "SQLITE_MISMATCH", "datatype mismatch"),
        (
            "PRAGMA integrity_check",
            driver.NotSupportedError,
            "SQLITE_AUTH",
            "runtime does not allow",
        ),
        ("SELECT ?1; SELECT ?1", driver.ProgrammingError, None, "parameter"),
        ("BEGIN", driver.NotSupportedError, None, r"begin\(\)"),
        ("SELECT length(zeroblob(2147483648))", driver.DataError, "SQLITE_TOOBIG", "too big"),
    ],
)
def test_a_refusal_of_sqlite_has_its_class_code_and_text(
    connection: driver.Connection,
    table: str,
    sql: str,
    error_class: type[driver.Error],
    code: str,
    message: str,
) -> None:
    with pytest.raises(error_class, match=message) as caught:
        connection.execute(sql.format(t=table))
    assert type(caught.value) is error_class
    assert caught.value.sqlite_code == code
    assert caught.value.effect == "none"


def test_a_unique_constraint_is_an_integrity_error(connection: driver.Connection, table: str) -> None:
    connection.execute(f"INSERT INTO {table} (u) VALUES ('a')")
    with pytest.raises(driver.IntegrityError, match="UNIQUE constraint failed") as caught:
        connection.execute(f"INSERT INTO {table} (u) VALUES (%s)", ["a"])
    assert str(caught.value) == f"UNIQUE constraint failed: {table}.u"
    assert caught.value.sqlite_code == "SQLITE_CONSTRAINT_UNIQUE"


def test_a_message_does_not_show_a_parameter(connection: driver.Connection) -> None:
    with pytest.raises(driver.OperationalError, match=r"bad JSON path \(the") as caught:
        connection.execute("SELECT json_extract('{}', %s)", ["hidden-value"])
    assert "hidden-value" not in str(caught.value)


def test_an_unbound_d1_database_is_an_error_that_says_where_to_bind_it(relay: driver.Transport) -> None:
    with pytest.raises(driver.OperationalError, match="D1_DATABASES"):
        driver.connect(relay, "d1:ffffffff-0000-4000-8000-000000000000").execute("SELECT 1")


def test_a_name_that_the_relay_refuses_is_an_interface_error(relay: driver.Transport) -> None:
    with pytest.raises(driver.InterfaceError, match="The relay could not"):
        driver.connect(relay, "do:../etc").execute("SELECT 1")


@pytest.mark.parametrize(
    ("kind", "error_class", "transient"),
    [
        ("lease_expired", driver.OperationalError, False),
        ("no_transaction", driver.OperationalError, False),
        ("overloaded", driver.OperationalError, False),
        ("reset", driver.OperationalError, True),
        ("retry", driver.OperationalError, True),
        ("foreign_key", driver.IntegrityError, False),
        ("too_large", driver.DataError, False),
        ("unsupported", driver.NotSupportedError, False),
        ("internal", driver.InternalError, False),
        ("a kind of the future", driver.InternalError, False),
    ],
)
def test_each_kind_of_the_relay_has_its_class(
    kind: str, error_class: type[driver.Error], transient: bool
) -> None:
    error = error_from("the text", kind=kind, effect="unknown", step=3)
    assert type(error) is error_class
    assert (error.kind, error.effect, error.step, error.transient) == (kind, "unknown", 3, transient)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("D1_ERROR: no such table: a: SQLITE_ERROR", "sql"),
        ("Network connection lost.", "retry"),
        ("D1 DB is overloaded. Too many requests queued.", "overloaded"),
        ("Your account is generating too much load on D1 and is harming it.", "overloaded"),
        ("Can't read from request stream because client disconnected.", "retry"),
        ("internal error; reference = abc", "internal"),
    ],
)
def test_a_message_of_d1_alone_tells_its_kind(message: str, kind: str) -> None:
    assert error_from(message).kind == kind


def test_an_error_survives_pickling() -> None:
    error = error_from(
        "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made on the line before.
    assert (str(copy), copy.sqlite_code) == (str(error), error.sqlite_code)
