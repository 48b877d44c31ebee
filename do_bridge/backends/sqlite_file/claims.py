"""Whose a database is while a file fills it, and how far that came: one row in a table of its own."""

from typing import NamedTuple
from uuid import uuid4

from django.db import OperationalError

from do_bridge import driver

#: Stands in a database from a load's first unit to its last.
MARK = "_do_bridge_load"
#: Begins what a guard's failure carries in its text.
REFUSED = "do_bridge:claimed:"
# How often one unit is sent whose outcome got lost; the guard keeps it from running twice.
ATTEMPTS = 3

# The texts depend on a row, or SQLite would compute them, and fail, beforehand.
_FAILS = f"SELECT json_extract('{{}}', '{REFUSED}' || iif(claim = %s, 'at' || done, 'other')) FROM {MARK} "  # noqa: S608
_UNLESS_MINE = f"{_FAILS} WHERE claim <> %s"
_UNLESS_MINE_AT = f"{_FAILS} WHERE claim <> %s OR done <> %s"
_IF_ENDED = f"SELECT count(*) FROM {MARK}"  # noqa: S608
_MAKE = (
    f"CREATE TABLE {MARK} (started text DEFAULT CURRENT_TIMESTAMP, claim text, plan text, "
    "done integer NOT NULL)"
)
_CLAIM = f"INSERT INTO {MARK} (claim, plan, done) VALUES (%s, %s, 1)"  # noqa: S608
_ADVANCE = f"UPDATE {MARK} SET done = %s"  # noqa: S608
_TAKE_OVER = f"UPDATE {MARK} SET claim = %s WHERE claim = %s AND done = %s"  # noqa: S608
_READ = f"SELECT claim, plan, done FROM {MARK}"  # noqa: S608


class Claimed(OperationalError):
    """Somebody else fills the database, or has filled it; nothing more was done to it."""


class Unfinished(NamedTuple):
    """What a load noted last: its claim, the digest of what it does, the units that are done."""

    claim: str
    plan: str
    done: int


def unfinished(connection):
    """Return the Unfinished load of a database, or None; one round trip on a driver connection."""
    try:
        row = connection.execute(_READ).fetchone()
    except driver.Error as error:
        if "no such table" in str(error):
            return None
        if "no such column" in str(error):
            # Another version of this package has begun it.
            return Unfinished("", "", 0)
        raise
    return Unfinished(*row) if row else Unfinished("", "", 0)


class Claim:
    """One load's claim on one database; each of its units runs once, and only while the database bears it.

    `plan` is a digest of all that the load does, in its order: a load of the same plan goes on behind the
    units that another one has done.
    """

    def __init__(self, plan):
        self.plan = plan
        #: Units that are done, by this load or by the one that it goes on for.
        self.done = 0
        self._token = uuid4().hex

    def begin(self, connection, statements):
        """Lay the claim, and run the first unit with it. Raises Claimed if a load has begun already."""
        unit = [(_MAKE, None), (_CLAIM, (self._token, self.plan)), *statements]
        try:
            self._send(connection, unit, lambda text: self._is_mine(connection))
        except driver.Error as error:
            if "already exists" not in str(error):
                raise
            raise Claimed(
                "Another process has created tables in this database since the load began. Check the "
                "database, or choose an empty one."
            ) from error
        self.done = 1

    def take_over(self, connection, found):
        """Go on for the load `found`, an Unfinished of the same plan. Raises Claimed if it moves."""
        with refusing():
            connection.execute_batch(
                [(_TAKE_OVER, (self._token, found.claim, found.done)), *self._guard_at(found.done)]
            )
        self.done = found.done

    def guard(self, names):
        """Return the statements that fail if the database is another's by now."""
        return [(_UNLESS_MINE, (self._token, self._token))]

    def send(self, connection, number, statements):
        """Send the statements of unit `number` as one atomic unit, if it is not done. Raises Claimed."""
        if number <= self.done:
            return
        unit = [*self._guard_at(number - 1), *statements, (_ADVANCE, (number,))]
        self._send(connection, unit, lambda text: f"{REFUSED}at{number}'" in text)
        self.done = number

    def finish(self, connection, number, statements, is_whole):
        """Send the last unit, which takes the claim away; `is_whole()` reads whether it has run.

        Raises Claimed.
        """
        unit = [*self._guard_at(number - 1), *statements, (f"DROP TABLE {MARK}", None)]
        self._send(connection, unit, lambda text: "no such table" in text and is_whole())
        self.done = number

    def _guard_at(self, done):
        return [(_UNLESS_MINE_AT, (self._token, self._token, done))]

    def _send(self, connection, unit, has_run):
        """Send a unit, again if its answer got lost; `has_run(text)` reads a refusal that came then."""
        is_lost = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with refusing():
                    connection.execute_batch(unit)
                return
            except (Claimed, driver.Error) as error:
                effect = getattr(error, "effect", None)
                if effect == "done" or (is_lost and has_run(str(error.__cause__ or error))):
                    return
                if effect != "unknown" or attempt == ATTEMPTS:
                    raise
                is_lost = True

    def _is_mine(self, connection):
        found = unfinished(connection)
        return found is not None and found.claim == self._token


def unless_ended(names):
    """Return the statements that fail if the load, whose mark was seen, has come to its end since."""
    return [(_IF_ENDED, None)]


class refusing:  # noqa: N801 - reads as the context that it is
    """Turns the failure of a guard into Claimed."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, error, traceback):
        if isinstance(error, driver.Error) and _is_guards(str(error)):
            raise Claimed(
                "Another load has taken over this database, and this load changed nothing more. Wait until "
                "the other one has ended, and check the database."
            ) from error
        return False


def _is_guards(text):
    return REFUSED in text or f"no such table: {MARK}" in text or f"table {MARK} already exists" in text
