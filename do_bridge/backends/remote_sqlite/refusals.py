"""Make statements fail on purpose, and read what an error's text contains."""

from django.db import OperationalError

#: Begins each of our texts in an error; the driver shows no other quoted text.
PREFIX = "do_bridge:"


class Overtaken(OperationalError):
    """Another process fills the same database; the batch that failed did nothing."""


def failing(kind, text="''"):
    """Return the SQL expression whose evaluation fails with a chosen text.

    `text` is SQL, and its value is part of the error. `json_extract()` quotes a path that it cannot read in
    its error. Without a trigger this is the only way to make a statement, and its batch, fail with a chosen
    text. `text` must depend on a row: SQLite computes constants, and fails, before it evaluates any
    condition.
    """
    return f"json_extract('{{}}', '{PREFIX}{kind}:' || {text})"


def told(error, kind):
    """Return the text of a `failing` expression of this kind from its error.

    Returns None for any other error.
    """
    _, found, rest = str(error).partition(f"{PREFIX}{kind}:")
    return rest.rpartition("'")[0].replace("''", "'") if found else None


#: The last statement of a batch of which nothing is to stay.
ALWAYS_FAILS = (f"SELECT {failing('probe')}", None)


def has_passed(error):
    """Return whether a batch failed by nothing but `ALWAYS_FAILS`."""
    return told(error, "probe") is not None


def is_missing_table(error, name=""):
    """Return whether an error is about a table that does not exist.

    `name` is the beginning of the table's name.
    """
    return f"no such table: {name}" in str(error)
