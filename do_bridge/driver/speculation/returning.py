"""Writes with RETURNING.

Their rows are carried out of the speculation, and checked when it is repeated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from do_bridge.driver.exceptions import DataError, NotSupportedError
from do_bridge.driver.sql import Statement, bare

from .carrying import HARMLESS, ending, message_sql, with_slot
from .conflict import CONFLICT
from .moments import is_random
from .scanning import Item, Token, find, items, name_of, scan
from .texts import row_text

_LOG: Final = "_do_bridge_log"
_MADE: Final = "_do_bridge_made"
# The runtime adds an EXPLAIN to a statement that returns rows, unless it sees a semicolon in it.
_SEVERAL: Final = re.compile(r";\s*\S")
_TABLE_WORDS: Final = frozenset({"INTO", "UPDATE"})


@dataclass(frozen=True, slots=True)
class Write:
    """A write with RETURNING, cut into its parts."""

    statement: Statement
    found: tuple[Token, ...]
    place: int
    """Of the word RETURNING among the tokens."""
    verb: str
    table: str

    @property
    def before(self) -> str:
        """Return the SQL up to RETURNING."""
        return self.statement.sql[: self.found[self.place].start].rstrip()

    @property
    def returned(self) -> tuple[Token, ...]:
        """Return the tokens after RETURNING."""
        return self.found[self.place + 1 :]

    @property
    def is_single(self) -> bool:
        """Return whether it inserts one row of VALUES, or none."""
        place = self.values
        if place is None:
            return False
        if self.found[place].word == "DEFAULT":
            return True
        closing = _closing(self.found, place + 1)
        return closing is not None and self.found[closing + 1].text != ","

    @property
    def values(self) -> int | None:
        """The place of VALUES of an INSERT without a WITH clause, or None.

        It is the place of DEFAULT if that comes before VALUES.
        """
        if self.found[0].word not in ("INSERT", "REPLACE"):
            return None
        place = find(self.found, "DEFAULT", "VALUES", "SELECT", "WITH")
        return place if place is not None and self.found[place].word in ("DEFAULT", "VALUES") else None

    @property
    def listed(self) -> set[str] | None:
        """Return the columns that an INSERT names, in lower case; None without a list."""
        place = find(self.found, "INTO")
        opening = find(self.found, "(", start=place or 0)
        body = find(self.found, "DEFAULT", "VALUES", "SELECT", "WITH", start=place or 0)
        if opening is None or body is None or opening > body:
            return set() if body is not None and self.found[body].word == "DEFAULT" else None
        closing = _closing(self.found, opening)
        tokens = self.found[opening + 1 : closing]
        return {name_of(self.statement.sql, token).lower() for token in tokens if token.text != ","}


def split(statement: Statement) -> Write | None:
    """Return the parts of a write with RETURNING, or None for any other."""
    if "returning" not in statement.sql.lower():
        return None
    found = scan(statement.sql)
    place = find(found, "RETURNING")
    if place is None:
        return None
    if statement.shape.verb == "DELETE":
        return Write(statement, found, place, "DELETE", "")
    return Write(statement, found, place, statement.shape.verb, _table(statement, found))


def read_before_delete(write: Write) -> Statement:
    """Return the query for the rows that a DELETE will remove and return."""
    place = find(write.found, "DELETE") or 0
    sql = write.statement.sql
    start, following = write.found[place].start, write.found[place + 1].start
    rows = sql[write.returned[0].start : write.found[-1].end]
    text = f"{sql[:start]}SELECT {rows} {write.before[following:]}"
    return Statement(text, write.statement.params, HARMLESS)


def without_returning(write: Write) -> Statement:
    """Return the write alone."""
    params = _used_params(write.before, write.statement.params)
    return write.statement._replace(sql=write.before, params=params)


def returned_items(write: Write, columns: Sequence[str] | None) -> list[Item] | None:
    """Return the terms of RETURNING.

    ``columns`` are the table's. Without them the result is None if a star has to be looked up.
    """
    found = items(write.statement.sql, write.returned)
    if found is None and columns is not None:
        return [Item(_quoted(name), name, name) for name in columns]
    return found


def carry_single(write: Write, terms: Sequence[Item], nonce: str) -> list[Statement]:
    """Return the statements that carry out the row of an INSERT.

    If it has no row, they carry out that.
    """
    slot, params = with_slot(write.statement.params, nonce)
    names, source = _row_of(terms)
    text = f"({_computed(write.table)} || '/' || {row_text(names)})"
    message = f"(SELECT {message_sql(slot, '1', 't')} FROM (SELECT {text} AS t FROM ({source})))"
    return [
        write.statement._replace(sql=f"{write.before} RETURNING {message}", params=params),
        ending("SELECT 0, '/'", (), nonce),
    ]


def carry_many(write: Write, terms: Sequence[Item], nonce: str) -> list[Statement]:
    """Return the statements that carry out the rows of a write, in order.

    Each row follows its rowid.
    """
    table = _quoted(write.table)
    made = [Statement(f"CREATE TABLE {_LOG} (n INTEGER PRIMARY KEY, r)", (), HARMLESS)]
    events = ("UPDATE",) if write.verb == "UPDATE" else ("INSERT", "UPDATE")
    for event in events:
        made.append(
            Statement(
                f"CREATE TRIGGER {_MADE}_{event} AFTER {event} ON {table} BEGIN "
                f"INSERT INTO {_LOG} (r) VALUES (NEW.rowid); END",
                (),
                HARMLESS,
            )
        )
    logged = f"(SELECT n AS _do_bridge_n, r AS _do_bridge_r FROM {_LOG} LIMIT -1)"
    names = [f"c{index}" for index in range(len(terms) + 1)]
    selected = ", ".join([f"{table}.rowid", *(term.sql for term in terms)])
    source = (
        f"WITH do_bridge_read({', '.join(names)}) AS MATERIALIZED (SELECT {selected} FROM {table} "
        f"JOIN {logged} ON {table}.rowid = _do_bridge_r ORDER BY _do_bridge_n)"
    )
    computed = _computed(write.table)
    rows = f"SELECT count(*), {computed} || '/' || coalesce(group_concat({row_text(names)}, ';'), '') "
    # The parameters of RETURNING are the statement's own.
    used = _used_params(selected, write.statement.params)
    last = ending(f"{rows} FROM do_bridge_read", used, nonce, source)
    return [*made, without_returning(write), last]


def pinned_columns(write: Write, terms: Sequence[Item], computed: set[str]) -> list[int]:
    """Return the indexes of terms that are writable columns set by a default.

    ``computed`` are the columns that `_computed` names, in lower case.
    """
    listed = write.listed
    if write.verb == "UPDATE" or listed is None:
        return []
    if is_random(write.statement):
        listed = set()
    return [
        index
        for index, term in enumerate(terms)
        if term.column is not None
        and term.column.lower() not in listed | computed
        and term.column.lower() not in ("rowid", "oid", "_rowid_")
    ]


def has_counted_key(write: Write, computed: set[str]) -> bool:
    """Return whether an INSERT leaves its key to the table's counter."""
    return write.verb in ("INSERT", "REPLACE") and not (write.listed or set()) & computed


def table_of(statement: Statement) -> str:
    """Return the table that an INSERT or UPDATE writes to."""
    return _table(statement, scan(statement.sql))


def repeat_single(
    write: Write, terms: Sequence[Item], pinned: Sequence[int], row: Sequence[Any] | None, text: str
) -> list[Statement]:
    """Return the INSERT of one row with its returned values, and a check of the rest.

    The first are the values that the database made.
    """
    if row is None:
        return [without_returning(write)]
    sql, params = write.before, write.statement.params
    for index in dict.fromkeys(pinned):
        slots, params = _value_slot(params, row[index])
        sql = _with_column(sql, terms[index].column or "", slots)
    names, source = _row_of(terms)
    slot, params = with_slot(params, text)
    refuse_semicolons(sql)
    check = f"(SELECT CASE WHEN {row_text(names)} <> {slot} THEN {_fail()} END FROM ({source}))"
    return [write.statement._replace(sql=f"{sql} RETURNING {check} AS checked", params=params)]


def repeat_many(
    write: Write,
    terms: Sequence[Item],
    pinned: Sequence[int],
    rows: Sequence[Sequence[Any]],
    texts: Sequence[str],
) -> list[Statement]:
    """Return the write with a check of each row, and the SQL that sets its values.

    Each row is found by its rowid; the values are those that were returned. ``rows`` begin with the rowid,
    ``texts`` are theirs.
    """
    pinned = [index for index in pinned if all(not isinstance(row[index + 1], bytes) for row in rows)]
    checked = [index for index in range(len(terms)) if index not in pinned]
    told = ";" + "".join(f"{_part(text, [0, *(index + 1 for index in checked)])};" for text in texts)
    names, source = _row_of([terms[index] for index in checked])
    slot, params = with_slot(write.statement.params, told)
    refuse_semicolons(write.before)
    row = f"rowid || ',' || {row_text(names)}" if checked else "rowid"
    inner = f" FROM ({source})" if checked else ""
    check = f"(SELECT CASE WHEN instr({slot}, ';' || {row} || ';') = 0 THEN {_fail()} END{inner})"
    first = write.statement._replace(sql=f"{write.before} RETURNING {check} AS checked", params=params)
    return [first, *_pins(write, [terms[index].column or "" for index in pinned], pinned, rows)]


def _pins(
    write: Write, columns: Sequence[str], pinned: Sequence[int], rows: Sequence[Sequence[Any]]
) -> list[Statement]:
    if not pinned or not rows:
        return []
    table = _quoted(write.table)
    sets = ", ".join(f"{_quoted(name)} = (j.value->>{at + 1})" for at, name in enumerate(columns))
    values = [[row[0], *(row[index + 1] for index in pinned)] for row in rows]
    body = ",".join(f"[{','.join(map(_json, row))}]" for row in values)
    sql = f"UPDATE {table} SET {sets} FROM json_each(?1) AS j WHERE {table}.rowid = (j.value->>0)"
    return [Statement(sql, (f"[{body}]",), write.statement.shape)]


def _computed(table: str) -> str:
    """Return the SQL for the columns that each repetition computes again.

    They are generated columns, and the rowid: writing a key that the counter has passed could give it to a
    second row.
    """
    literal = _literal(table)
    # Only a primary key that is the rowid has no index: https://www.sqlite.org/lang_createtable.html#rowid
    indexed = f"EXISTS (SELECT 1 FROM pragma_index_list({literal}) WHERE origin = 'pk')"
    return (
        "(SELECT coalesce(group_concat('t'||hex(lower(name)), ';'), '') "
        f"FROM pragma_table_xinfo({literal}) WHERE hidden > 1 OR (pk > 0 AND NOT {indexed}))"
    )


def refuse_semicolons(sql: str) -> None:
    """Raise NotSupportedError for SQL whose rows the relay can't return in a batch."""
    if _SEVERAL.search(sql):
        raise NotSupportedError(
            "A write with RETURNING and a semicolon in its SQL cannot be part of a block. Pass the text "
            "with the semicolon as a parameter",
            effect="statement",
        )


def _fail() -> str:
    return f"json_extract('{{}}', '{CONFLICT}')"


def _part(text: str, places: Sequence[int]) -> str:
    values = text.split(",")
    return ",".join(values[place] for place in places)


def _row_of(terms: Sequence[Item]) -> tuple[list[str], str]:
    names = [f"c{index}" for index in range(len(terms))]
    selected = ", ".join(f"{term.sql} AS {name}" for term, name in zip(terms, names, strict=True))
    return names, f"SELECT {selected}"


def _value_slot(params: tuple[str, ...], value: Any) -> tuple[str, tuple[str, ...]]:
    if isinstance(value, bytes):
        slot, params = with_slot(params, value.hex())
        return f"unhex({slot})", params
    slot, params = with_slot(params, f"[{_json(value)}]")
    return f"({slot}->>0)", params


def _with_column(sql: str, column: str, value: str) -> str:
    """Return an INSERT of one row with this value in a column.

    It may have listed the column already.
    """
    found, quoted = scan(sql), _quoted(column)
    place = find(found, "DEFAULT", "VALUES") or 0
    if found[place].word == "DEFAULT":
        return f"{sql[: found[place].start]}({quoted}) VALUES ({value}){sql[found[place + 1].end :]}"
    opening = find(found, "(", start=find(found, "INTO") or 0) or 0
    columns = _list_in(found, opening)
    values = _list_in(found, place + 1)
    for (start, end), (named, _) in zip(values, columns, strict=False):
        if name_of(sql, found[named]).lower() == column.lower():
            return f"{sql[: found[start].start]}{value}{sql[found[end - 1].end :]}"
    ends = found[values[-1][1]].start
    sql = f"{sql[:ends]}, {value}{sql[ends:]}"
    closing = found[columns[-1][1]].start
    return f"{sql[:closing]}, {quoted}{sql[closing:]}"


def _list_in(found: Sequence[Token], opening: int) -> list[tuple[int, int]]:
    """Return where each term of a list in parentheses begins and ends.

    They are places of tokens.
    """
    closing = _closing(found, opening) or len(found)
    depth = found[opening].depth + 1
    commas = [
        place for place in range(opening, closing) if found[place].text == "," and found[place].depth == depth
    ]
    return list(zip([opening + 1, *(place + 1 for place in commas)], [*commas, closing], strict=True))


def _closing(found: Sequence[Token], opening: int) -> int | None:
    for place in range(opening + 1, len(found)):
        if found[place].text == ")" and found[place].depth == found[opening].depth:
            return place
    return None


def _table(statement: Statement, found: Sequence[Token]) -> str:
    place = next(at for at, token in enumerate(found) if token.depth == 0 and token.word in _TABLE_WORDS)
    place += 1
    while found[place].word in ("OR", "ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"):
        place += 1
    if found[place + 1].text == ".":
        place += 2
    return name_of(statement.sql, found[place])


def _used_params(sql: str, params: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters up to the last one in the SQL.

    D1 refuses unused ones at the end.
    """
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    return params[: max(numbers, default=0)]


def _json(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    return json.dumps(value, ensure_ascii=False)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def without_rowid() -> NotSupportedError:
    """Return the error for several returned rows of a table without rowid."""
    return NotSupportedError(
        "RETURNING of several rows of a table WITHOUT ROWID is not possible inside a block on D1. Write "
        "one row at a time, or read the rows afterwards",
        effect="statement",
    )


def by_triggers() -> NotSupportedError:
    """Return the error for a table whose triggers write more of its rows."""
    return NotSupportedError(
        "A trigger of the table writes other rows of it, so a block on D1 cannot tell which ones RETURNING "
        "gives. Leave RETURNING out, and read the rows afterwards",
        effect="statement",
    )


def too_long() -> DataError:
    """Return the error for returned rows that no message can carry."""
    return DataError(
        "The rows that RETURNING gives are too many for a block on D1. Write fewer rows at once, or leave "
        "RETURNING out",
        kind="too_large",
        effect="statement",
    )


def bare_write(statement: Statement) -> Statement:
    """Return a write without comments and semicolons at its end."""
    return statement._replace(sql=bare(statement.sql))
