"""Record the progress of a load in a table with one row.

Each atomic unit advances the row by one.
"""

from typing import NamedTuple

from do_bridge import driver
from do_bridge.backends.remote_sqlite.refusals import Overtaken, failing, is_missing_table, told

#: Exists in a database from a load's first unit to its last.
MARK = "_do_bridge_load"
# How often one unit is sent whose outcome was lost; the guard keeps it from running twice.
ATTEMPTS = 3

_KIND = "load"
_PLACE = "iif(plan = %s, done, 'another plan')"
_UNLESS_OF_PLAN = f"SELECT {failing(_KIND, _PLACE)} FROM {MARK} WHERE plan <> %s"  # noqa: S608
_UNLESS_AT = f"{_UNLESS_OF_PLAN} OR done <> %s"
_UNLESS_THERE = f"SELECT count(*) FROM {MARK}"  # noqa: S608
_MAKE = f"CREATE TABLE {MARK} (started text DEFAULT CURRENT_TIMESTAMP, plan text, done integer NOT NULL)"
_BEGIN = f"INSERT INTO {MARK} (plan, done) VALUES (%s, 1)"  # noqa: S608
_ADVANCE = f"UPDATE {MARK} SET done = %s"  # noqa: S608
_READ = f"SELECT plan, done FROM {MARK}"  # noqa: S608


class Unfinished(NamedTuple):
    """What an interrupted load recorded.

    `plan` is the digest of all that the load does, `done` the number of units done.
    """

    plan: str
    done: int


def unfinished(connection):
    """Return the Unfinished load of a database, or None.

    One round trip on a driver connection.
    """
    try:
        return Unfinished(*connection.execute(_READ).fetchone())
    except driver.Error as error:
        if not is_missing_table(error):
            raise
        return None


class Units:
    """The units of one load; each runs once, directly after the one before it.

    `plan` is a digest of all that the load does, in its order. Loads of the same plan send the same units. So
    one can continue where another was interrupted, and one of two that run at once stops.
    """

    def __init__(self, plan):
        self.plan = plan
        #: Units that are done, by this load or by an interrupted one.
        self.done = 0

    def begin(self, connection, statements):
        """Make the table and run the first unit.

        Raises Overtaken if another load has begun.
        """
        unit = [(_MAKE, None), (_BEGIN, (self.plan,)), *statements]
        try:
            self._send(connection, 1, unit, lambda error: unfinished(connection) == (self.plan, 1))
        except driver.Error as error:
            if "already exists" not in str(error):
                raise
            raise _overtaken() from error

    def guard(self, names):
        """Return the statements that fail if this plan no longer fills the database."""
        return [(_UNLESS_OF_PLAN, (self.plan, self.plan))]

    def send(self, connection, number, statements):
        """Send the statements of unit `number` as one batch, unless it is done.

        Raises Overtaken.
        """
        if number > self.done:
            unit = [*self._guard_at(number - 1), *statements, (_ADVANCE, (number,))]
            self._send(connection, number, unit, lambda error: told(error, _KIND) == str(number))

    def finish(self, connection, number, statements, is_whole):
        """Send the last unit, which drops the table of the progress.

        `is_whole()` reads whether it has run. Raises Overtaken.
        """
        unit = [*self._guard_at(number - 1), *statements, (f"DROP TABLE {MARK}", None)]
        self._send(connection, number, unit, lambda error: is_missing_table(error, MARK) and is_whole())

    def _guard_at(self, done):
        return [(_UNLESS_AT, (self.plan, self.plan, done))]

    def _send(self, connection, number, unit, has_run):
        """Send a unit, and send it again if its answer was lost.

        If the second attempt is refused, `has_run(error)` returns whether the first one ran.
        """
        is_lost = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with stopping():
                    connection.execute_batch(unit)
                break
            except (Overtaken, driver.Error) as error:
                effect = getattr(error, "effect", None)
                if effect == "done" or (is_lost and has_run(error.__cause__ or error)):
                    break
                if effect != "unknown" or attempt == ATTEMPTS:
                    raise
                is_lost = True
        self.done = number


def unless_ended(names):
    """Return the statements that fail if the load that was found has ended since."""
    return [(_UNLESS_THERE, None)]


class stopping:  # noqa: N801 - reads as the context that it is
    """Raise Overtaken for the failure of a guard."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, error, traceback):
        if isinstance(error, driver.Error) and _is_guards(error):
            raise _overtaken() from error
        return False


def _overtaken():
    return Overtaken(
        "Another load has taken over this database, and this load changed nothing more. Wait until the other "
        "one has ended, and check the database."
    )


def _is_guards(error):
    return (
        told(error, _KIND) is not None
        or is_missing_table(error, MARK)
        or f"table {MARK} already exists" in str(error)
    )
