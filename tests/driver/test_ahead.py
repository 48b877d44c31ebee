"""Statements that go before those of a request, in its round trip."""

from contextlib import contextmanager

import pytest

from do_bridge import driver
from do_bridge.driver.sql import prepare


@pytest.fixture
def ahead(relay):
    """A connection, and what is to go before its next request; what has happened to it is in `ended`."""
    connection = driver.connect(relay, "do:test/ahead")
    connection.execute("CREATE TABLE IF NOT EXISTS noted (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    connection.execute("DELETE FROM noted")
    waiting, ended = [], []

    @contextmanager
    def give():
        given, waiting[:] = [prepare(sql, params) for sql, params in waiting], []
        try:
            yield given
        except driver.Error as error:
            ended.append(type(error).__name__)
            raise
        ended.append(len(given))

    connection.ahead = give
    yield connection, waiting, ended
    connection.ahead = None
    connection.execute("DROP TABLE noted")
    connection.close()


NOTE = ("INSERT INTO noted (text) VALUES (%s)", ["first"])


def test_they_run_before_and_the_answers_are_the_requests_own(ahead, count_trips):
    connection, waiting, ended = ahead
    waiting.append(NOTE)
    with count_trips() as trips:
        rows = connection.execute("SELECT text, 9007199254740993 FROM noted").fetchall()
    # A number that does not fit is read again, without them.
    assert rows == [("first", 9007199254740993)]
    assert trips.count == 2
    waiting.append(NOTE)
    with count_trips() as trips:
        one, two = connection.execute_batch([("SELECT count(*) FROM noted", None), ("SELECT 7", None)])
    assert (one.rows, two.rows, trips.count) == ([(2,)], [(7,)], 1)
    assert connection.execute("INSERT INTO noted (text) VALUES ('x')").rowcount == 1
    assert ended == [1, 1, 0]


def test_a_request_that_fails_undoes_them_and_says_so(ahead):
    connection, waiting, ended = ahead
    waiting.append(NOTE)
    with pytest.raises(driver.IntegrityError, match="NOT NULL"):
        connection.execute("INSERT INTO noted (text) VALUES (NULL)")
    assert connection.execute("SELECT count(*) FROM noted").fetchone() == (0,)
    assert ended == ["IntegrityError", 0]


def test_in_a_transaction_they_are_its_steps(ahead):
    connection, waiting, ended = ahead
    connection.begin()
    waiting.append(NOTE)
    assert connection.execute("SELECT count(*) FROM noted").fetchone() == (1,)
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM noted").fetchone() == (0,)
    assert ended == [1, 0]
