"""Check, before any row is sent, whether a file fits a database."""

import contextlib
import re
import sqlite3

from do_bridge import driver
from do_bridge.backends.remote_sqlite.refusals import ALWAYS_FAILS, has_passed
from do_bridge.driver.limits import COLUMNS, SQL_BYTES, VALUE_BYTES
from do_bridge.driver.sql import quote, tokens

#: What Django's own sqlite3 engine computes in Python, in upper case; all others begin with DJANGO_.
PYTHON_FUNCTIONS = frozenset(
    [
        "ANY_VALUE",
        "BITXOR",
        "BIT_AND",
        "BIT_OR",
        "BIT_XOR",
        "COT",
        "LPAD",
        "MD5",
        "RAND",
        "REGEXP",
        "REPEAT",
        "REVERSE",
        "RPAD",
        "SHA1",
        "SHA224",
        "SHA256",
        "SHA384",
        "SHA512",
        "STDDEV_POP",
        "STDDEV_SAMP",
        "UUIDV4",
        "UUIDV7",
        "VAR_POP",
        "VAR_SAMP",
    ]
)
# Fails a batch that has made a whole schema, so that nothing of it stays.
_ATTEMPTS = 3


class UnfitFile(Exception):
    """The file is not a SQLite database that a database of this package can hold."""


def refuse_damage(source):
    """Raise UnfitFile for a damaged file, or one that this SQLite can't read.

    It can't if the file needs a function or a collation that this process's SQLite lacks.
    """
    try:
        (verdict,) = source.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if (word := _lacking(error)) is None:
            raise UnfitFile(_damaged(error)) from error
        rows = source.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        users = [row[0] for row in rows if word in (text.upper() for text, *_ in tokens(row[1]))]
        raise UnfitFile(
            f"{_listed(users) or 'The file'} needs something that SQLite does not have: {error}. "
            f"{_remedy(word)}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise UnfitFile(_damaged(error)) from error
    if verdict != "ok":
        raise UnfitFile(_damaged(verdict))


def _damaged(reason):
    return (
        f"The file is damaged: {reason}. Restore a backup, or repair it with `.recover` of the sqlite3 shell."
    )


def _lacking(error):
    """Return the function or collation that SQLite lacks, in upper case, or None."""
    found = re.match(r"(?:no such collation sequence|no such function|unknown function): (\w+)", str(error))
    return found and found[1].upper()


def is_python_function(word):
    """Return whether Django's sqlite3 engine computes the function in Python.

    `word` is the function's name in upper case.
    """
    return word in PYTHON_FUNCTIONS or word.startswith("DJANGO_")


def _remedy(word):
    if is_python_function(word):
        return (
            "Django's own sqlite3 engine computes it in Python. Remove the constraint, index or field from "
            "the model and migrate the file. Add it again after the load."
        )
    return "Another program added it. Drop the constraint, index or collation in the file."


def refuse_python_triggers(schema):
    """Raise UnfitFile for a trigger that needs a function which SQLite does not have."""
    for what, sql in schema.made:
        if not what.startswith("the trigger"):
            continue
        words = [text.upper() for text, *_ in tokens(sql)]
        called = [
            word for word, sign in zip(words, words[1:], strict=False) if sign == "(" or word == "REGEXP"
        ]
        if found := next(filter(is_python_function, called), None):
            raise UnfitFile(
                f"{_capital(what)} needs something that SQLite does not have: {found}. {_remedy(found)}"
            )


def refuse_long_statements(schema):
    """Raise UnfitFile if the SQL of a table, index, view or trigger is too long.

    The limit is the platform's.
    """
    for what, sql in schema.made:
        if (size := len(sql.encode())) > SQL_BYTES:
            raise UnfitFile(
                f"{_capital(what)} has {size:,} bytes of SQL, and Cloudflare accepts "
                f"{SQL_BYTES:,}. Shorten it in the file."
            )


def refuse_dangling_rows(source, schema):
    """Raise UnfitFile for a row, or a table, whose foreign key has no target."""
    names = {table.name.lower() for table in schema.tables}
    for table in schema.tables:
        for row in source.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall():
            if row[2].lower() not in names:
                raise UnfitFile(
                    f"The table {table.name!r} has a foreign key to {row[2]!r}, which the file does not "
                    "have. SQLite would refuse every write to the table. Drop the table in the file, or "
                    "create it again without the foreign key."
                )
    try:
        dangling = source.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        raise UnfitFile(
            f"The foreign keys of the file can't be checked: {error}. Correct the table in the file."
        ) from error
    if dangling:
        tables = ", ".join(sorted({row[0] for row in dangling}))
        raise UnfitFile(
            f"{len(dangling)} rows refer to missing rows by their foreign keys, in: {tables}. Correct or "
            "delete them. `PRAGMA foreign_key_check` in the sqlite3 shell lists them."
        )


def refuse_broken_views(source):
    """Raise UnfitFile for a view that cannot be read, by its name."""
    for (name,) in source.execute(
        "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY rowid"
    ).fetchall():
        try:
            columns = source.execute(f"SELECT * FROM {quote(name)} LIMIT 0").description  # noqa: S608
        except sqlite3.Error as error:
            raise UnfitFile(
                f"The view {name!r} can't be read: {error}. Correct it in the file, or drop it there."
            ) from error
        if len(columns) > COLUMNS:
            raise UnfitFile(
                f"The view {name!r} has more than {COLUMNS} columns, which Cloudflare does not allow. "
                "Drop it in the file."
            )


def refuse_large_values(source, tables):
    """Raise UnfitFile for a value or a row that is too large for the platform.

    The message has the table's name.
    """
    for table in tables:
        # The functions of a scan that reads no value into Python.
        sizes = [f"coalesce(length(CAST({quote(name)} AS BLOB)), 0)" for name in table.columns]
        if not sizes:
            continue
        sums = [f"max({'+'.join(sizes)})", *(f"max({size})" for size in sizes)]
        whole, *found = source.execute(f"SELECT {', '.join(sums)} FROM {quote(table.name)}").fetchone()  # noqa: S608
        for name, size in zip(table.columns, found, strict=True):
            if size is not None and size > VALUE_BYTES:
                raise UnfitFile(
                    f"{table.name}.{name} has a value of {size:,} bytes, and Cloudflare accepts "
                    f"{VALUE_BYTES:,}. Shorten the value, or store it outside the database."
                )
        if whole is not None and whole > VALUE_BYTES:
            raise UnfitFile(
                f"{table.name} has a row of {whole:,} bytes, and Cloudflare accepts {VALUE_BYTES:,}. "
                "Shorten its values, or store them outside the database."
            )


def refuse_strange_schema(schema):
    """Make the whole schema in memory. Raises UnfitFile by the name of what fails."""
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        for what, sql in schema.made:
            try:
                memory.execute(sql)
            except sqlite3.Error as error:
                word = _lacking(error)
                remedy = _remedy(word) if word and is_python_function(word) else "Correct it in the file."
                raise UnfitFile(f"{_capital(what)} can't be created again: {error}. {remedy}") from error


def refuse_schema(connection, schema):
    """Make the whole schema in an empty database, and undo it.

    Raises UnfitFile with the name of what fails. It is one batch that always fails, so that nothing stays. D1
    does not report the step that failed, so a binary search finds it.
    """
    probes = [(f"the view {name!r}", f"SELECT * FROM {quote(name)} LIMIT 0") for name in schema.view_names]  # noqa: S608
    steps = [*schema.made, *probes]
    error = _tried(connection, steps)
    # The tables are another process's. The load itself finds that, too, and its message has more.
    if error is None or "already exists" in str(error):
        return
    good, bad = 0, len(steps)
    if error.step is not None:
        good, bad = error.step, error.step + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if (failed := _tried(connection, steps[:middle])) is None:
            good = middle
        else:
            error, bad = failed, middle
    raise UnfitFile(
        f"Cloudflare does not accept {steps[good][0]}: {error}. Change or drop it in the file."
    ) from error


def _tried(connection, steps):
    """Return the error by which making these steps fails, or None."""
    batch = [*((sql, None) for _, sql in steps), ALWAYS_FAILS]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            connection.execute_batch(batch)
        except driver.Error as error:
            if has_passed(error):
                return None
            # Nothing of it ever stays, so that it may run again.
            if error.effect != "unknown" or attempt == _ATTEMPTS:
                return _refusal(error)
    return None


def _refusal(error):
    """Return the error of a database that refuses a statement; raise any other."""
    if error.effect in ("unknown", "ended") or error.transient or error.kind not in ("sql", "foreign_key"):
        raise error
    return error


def _capital(text):
    return text[0].upper() + text[1:]


def _listed(names):
    return ", ".join(map(repr, sorted(names)))
