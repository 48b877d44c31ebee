"""The next reads of several pieces of code, sent in one round trip.

`peek` runs code up to its first read, which it does not send. `ask` sends the reads of several peeks
together. Inside `answering` the same code finds the answers, and sends what is not among them. So code runs
twice as far as its first read, and Django's own compilers and querysets do all the rest.
"""

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps

from django.db import connections

from do_bridge import driver
from do_bridge.driver.sql import prepare
from do_bridge.driver.together import run_together

_VERBS = ("SELECT", "VALUES")
# What the cursors of this thread or task do with a statement: a _Peek, Answers, or None.
_mode = ContextVar("do_bridge_read_ahead", default=None)


class Asked(BaseException):
    """The exception that stops code at its first statement.

    It is not a subclass of Exception, because that code may handle those. `statement` is None if the
    statement cannot be sent ahead, because it may write.
    """

    def __init__(self, connection, statement):
        super().__init__("the statement is sent together with others")
        self.connection, self.statement = connection, statement


class _Stop(BaseException):
    """Leaves a peek at a statement on another engine."""


class _Peek:
    is_peek = True

    def look(self, connection, statement):
        reads = statement.shape.reads_only and statement.shape.verb in _VERBS
        raise Asked(connection, statement if reads else None)


class Answers:
    """The results of statements that were sent ahead.

    If a statement has no result yet, `find_more(connection, statement)` may add it.
    """

    is_peek = False

    def __init__(self):
        self._outcomes = {}
        self.find_more = None

    def look(self, connection, statement):
        """Return a statement's Result, or None if it has to be run.

        If the statement failed, raise its error.
        """
        key = _key(connection, statement)
        if key not in self._outcomes and self.find_more is not None:
            self.find_more(connection, statement)
        outcome = self._outcomes.get(key)
        if isinstance(outcome, driver.Error):
            raise outcome
        return outcome

    def knows(self, asked):
        """Return whether the statement of an Asked has an answer."""
        return _key(asked.connection, asked.statement) in self._outcomes

    def add(self, connection, statement, outcome):
        self._outcomes[_key(connection, statement)] = outcome


class _Cursor(driver.Cursor):
    """A cursor whose statements are looked at first."""

    def __init__(self, connection, mode):
        super().__init__(connection.connection)
        self._wrapper, self._mode = connection, mode

    def execute(self, sql, params=None):
        found = self._mode.look(self._wrapper, prepare(sql, params))
        if found is None:
            return super().execute(sql, params)
        self.take(found)
        return self


def cursor_of(connection):
    """Return a new cursor of the driver for a Django connection."""
    mode = _mode.get()
    return connection.connection.cursor() if mode is None else _Cursor(connection, mode)


def is_peeking():
    """Return whether this thread or task only looks at its next statement."""
    mode = _mode.get()
    return mode is not None and mode.is_peek


def peek(work):
    """Run `work()` up to its first statement on this package's engines.

    Returns (Asked, None), or (None, value) if it made no statement.
    """
    with _use(_Peek()):
        try:
            return None, work()
        except Asked as asked:
            return asked, None


def next_statement(work):
    """Return the Asked that stops `work()`, or None if nothing stops it.

    Return None, too, if `work()` fails or first uses a database of another engine.
    """
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if not hasattr(connection, "linked_part"):
                stack.enter_context(connection.execute_wrapper(_stop))
        try:
            return peek(work)[0]
        except (Exception, _Stop):
            return None  # The error is raised again when the query runs.


def _stop(*args):
    raise _Stop


def read_for(works, answers):
    """Send the first statement of each of `works` in one round trip, for `answers`."""
    ask(filter(None, [next_statement(work) for work in works]), answers)


def answered(function, answers):
    """Return the function with its statements answered from `answers`."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        with answering(answers):
            return function(*args, **kwargs)

    return wrapped


def answering(answers):
    """Return a context manager in which statements are answered from `answers`."""
    return _use(answers)


def ask(askeds, answers):
    """Run the statements of several peeks in one round trip.

    Add what they return to `answers`.
    """
    statements = {}
    for asked in askeds:
        if asked.statement is not None and not answers.knows(asked):
            of_one = statements.setdefault(id(asked.connection), (asked.connection, {}))[1]
            of_one[_key(asked.connection, asked.statement)] = asked.statement
    parts = [(connection, list(found.values())) for connection, found in statements.values()]
    with _use(None):
        outcomes = run_together([(connection.connection, found) for connection, found in parts])
    for (connection, found), results in zip(parts, outcomes, strict=True):
        for statement, outcome in zip(found, results, strict=True):
            answers.add(connection, statement, outcome)


@contextmanager
def _use(mode):
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def _key(connection, statement):
    return connection.alias, statement.sql, statement.params
