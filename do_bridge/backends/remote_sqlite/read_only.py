"""Refusal of statements that may do more than read.

The SQL page and `relay studio` use it.
"""

from typing import Any

from do_bridge.driver.sql import bare, shape_of, tokens

LONGEST = 50_000

# Table-valued functions. `pragma_optimize` writes statistics, whatever the statement around it.
READING_PRAGMAS = frozenset(
    {
        "pragma_foreign_key_check",
        "pragma_foreign_key_list",
        "pragma_index_info",
        "pragma_index_list",
        "pragma_index_xinfo",
        "pragma_quick_check",
        "pragma_table_info",
        "pragma_table_list",
        "pragma_table_xinfo",
    }
)
# Opcodes of SQLite's virtual machine that change a database file or the connection's state.
WRITING_OPCODES = frozenset(
    {
        "AutoCommit", "Checkpoint", "Clear", "CreateBtree", "Destroy", "DropIndex", "DropTable",
        "DropTrigger", "Expire", "FkCounter", "IncrVacuum", "JournalMode", "LoadAnalysis", "MaxPgcnt",
        "OpenWrite", "ParseSchema", "ResetCount", "Savepoint", "SetCookie", "SqlExec", "VBegin",
        "VCreate", "VDestroy", "VRename", "VUpdate", "Vacuum",
    }
)  # fmt: skip
_READING_VERBS = frozenset({"SELECT", "VALUES"})
_PARAMETER_SIGNS = frozenset("?:@$#")
_VIEWS = "SELECT sql FROM sqlite_master WHERE type = 'view' AND instr(lower(sql), 'pragma_')"


class Refused(Exception):
    """The statement does not certainly only read.

    The message gives the reason, and nothing was run.
    """


def single_statement(sql):
    """Return the statement without what follows it.

    Raises Refused unless it is one plain query.
    """
    if len(sql) > LONGEST:
        raise Refused(f"The statement is longer than {LONGEST:,} characters. Shorten it.")
    if "\0" in sql:
        raise Refused("The statement has a NUL character in it, where SQLite would stop reading. Remove it.")
    text = bare(sql)
    shape = shape_of(text)
    if not shape.verb:
        raise Refused("The statement is empty.")
    _check_signs(text)
    if shape.verb not in _READING_VERBS or not shape.reads_only:
        raise Refused(f"Only SELECT, VALUES and WITH … SELECT can be run here, not {shape.verb[:20]}.")
    _check_pragmas(text)
    return text


def _check_signs(text):
    depth = 0
    for sign, *_ in tokens(text):
        if sign == ";":
            raise Refused("Only one statement can be run. Remove the text after the semicolon.")
        if sign in _PARAMETER_SIGNS:
            # "$a(';)" is one word to SQLite and the start of a string to other parsers.
            raise Refused(f"Parameters can't be used here. Write the value in place of {sign!r}.")
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            raise Refused("The statement closes a parenthesis that it has not opened.")
    if depth:
        raise Refused("The statement does not close a parenthesis.")


def _check_pragmas(text):
    """Refuse pragmas that may write, anywhere in the text.

    They may be used as tables, and their names may be quoted.
    """
    for part in text.lower().split("pragma_")[1:]:
        name = "pragma_"
        for char in part:
            if not (char.isascii() and (char.isalnum() or char == "_")):
                break
            name += char
        if name not in READING_PRAGMAS:
            raise Refused(f"{name[:60]} may change the database. Only pragmas that read can be used.")


def check_program(rows):
    """Raise Refused if a statement's program writes.

    `rows` are the result of EXPLAIN.
    """
    if not rows:
        raise Refused("SQLite has no program for this statement, so it cannot be checked.")
    writing = {row[1] for row in rows} & WRITING_OPCODES
    if writing or any(row[1] == "Transaction" and row[3] != 0 for row in rows):
        raise Refused("The statement would write, and only statements that read can be run here.")


def check_reads(run: Any, text: str, params: Any = None) -> None:
    """Raise Refused unless one query, a SELECT or VALUES, certainly only reads.

    `run(sql, params)` sends a statement to the database and returns its Result.
    """
    _check_pragmas(text)
    program = run(f"EXPLAIN {text}", params)
    check_program(program.rows)
    if any(row[1] == "VOpen" for row in program.rows):
        for (view,) in run(_VIEWS, None).rows:
            _check_pragmas(view)
