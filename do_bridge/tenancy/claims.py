"""Whose an object is while it is filled: a load's claim on it, and guards that fail where another has it."""

from uuid import uuid4

from django.db import OperationalError

from do_bridge import driver

from .fingerprint import META_TABLE

# Stands in an object from a load's first piece to its last: what holds it may be thrown away.
MARK = "_do_bridge_load"
#: Under this key an object keeps what it was loaded from.
ORIGIN = "loaded_from"
#: Under this key an object keeps which creation it was made by.
MADE_FOR = "made_for"

_REFUSED = "do_bridge:claimed:"
# The texts depend on a row, or SQLite would compute them, and fail, beforehand.
_UNLESS_MINE = (
    f"SELECT json_extract('{{}}', '{_REFUSED}' || mine) FROM "  # noqa: S608
    f"(SELECT count(*) AS mine FROM {MARK} WHERE claim = %s) WHERE mine = 0"
)
_IF_MADE = (
    f"SELECT json_extract('{{}}', '{_REFUSED}' || key) FROM {META_TABLE} "  # noqa: S608
    f"WHERE key IN ('{MADE_FOR}', '{ORIGIN}')"
)
_UNLESS_MADE_FOR = (
    f"SELECT json_extract('{{}}', '{_REFUSED}' || mine) FROM "  # noqa: S608
    f"(SELECT count(*) AS mine FROM {META_TABLE} WHERE key = %s AND value = %s) WHERE mine = 0"
)
_IF_ENDED = f"SELECT count(*) FROM {MARK}"  # noqa: S608
_MAKE = f"CREATE TABLE {MARK} (started text DEFAULT CURRENT_TIMESTAMP, claim text)"
_CLAIM = f"INSERT INTO {MARK} (claim) VALUES (%s)"  # noqa: S608


class Claimed(OperationalError):
    """Somebody else fills the object, or has filled it, meanwhile; nothing more was done to it."""


class Claim:
    """One load's claim on one object; each of its pieces runs only as long as the object bears it."""

    def __init__(self):
        self._token = uuid4().hex

    def statements(self):
        """Return the statements that lay the claim; they fail where a load has begun already."""
        return [(_MAKE, None), (_CLAIM, (self._token,))]

    def guard(self, names):
        """Return the statements that fail where the object is another's by now."""
        return [(_UNLESS_MINE, (self._token,))]

    def send(self, connection, statements):
        """Send statements as one unit, if the object is this load's still. Raises Claimed."""
        with refusing():
            connection.execute_batch([*self.guard(()), *statements])


def unless_ended(names):
    """Return the statements that fail where the load, whose mark was seen, has come to its end meanwhile."""
    return [(_IF_ENDED, None)]


def unless_made_anew(names):
    """Return the statements that fail in an object that a creation or a load has made. Raises Claimed."""
    if MARK in names:
        raise Claimed("A load fills the object.")
    return [(_IF_MADE, None)] if META_TABLE in names else []


def while_made_for(mark):
    """Return a guard whose statements fail where another creation than `mark` has made the object."""
    return lambda names: [(_UNLESS_MADE_FOR, (MADE_FOR, mark))] if META_TABLE in names else []


class refusing:  # noqa: N801 - reads as the context that it is
    """Turns the failure of a guard of this module into Claimed."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type, error, traceback):
        if isinstance(error, driver.Error) and _is_guards(str(error)):
            raise Claimed(
                "Somebody else fills this tenant's object meanwhile, or has filled it: it is theirs."
            ) from error
        return False


def _is_guards(text):
    return _REFUSED in text or f"no such table: {MARK}" in text or f"table {MARK} already exists" in text
