"""The SQL prompt behind dbshell: reads statements, prints tables."""

import contextlib
import sqlite3

from django.db import Error

WIDEST = 60
PROMPT, CONTINUED = "sql> ", "...> "
COMMANDS = (
    ".tables lists tables, .schema [table] shows their SQL, .quit leaves. End each statement with "
    "a semicolon."
)


def cell(value):
    """Return a value as the table shows it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    return str(value).replace("\n", "\\n")


def table(columns, rows):
    """Return columns and rows as lines of text."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [
        min(max([len(name), *(len(row[index]) for row in cells)]), WIDEST)
        for index, name in enumerate(columns)
    ]
    lines = [columns, ["-" * width for width in widths], *cells]
    return "\n".join(
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def split(text):
    """Return the complete statements of a text, and the rest."""
    statements, start = [], 0
    for position, character in enumerate(text, start=1):
        # A semicolon may stand in a string, a comment or a trigger.
        if character == ";" and sqlite3.complete_statement(text[start:position]):
            statements.append(text[start:position])
            start = position
    rest = text[start:].lstrip()
    # Blanks and comments alone complete the statement before them.
    return statements, "" if sqlite3.complete_statement(f";{rest}") else rest


class Shell:
    """One session of the shell on a connected DatabaseWrapper.

    `commands` maps `.name` to its SQL.
    """

    def __init__(self, connection, stdin, stdout, stderr, commands):
        self.connection = connection
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.commands = commands
        self.interactive = stdin.isatty()

    def run(self):
        """Work through the input; return whether a piped statement failed, which ends it."""
        if self.interactive:
            self._greet()
        buffer = ""
        while (line := self._line(CONTINUED if buffer else PROMPT)) is not None:
            if not buffer.strip() and line.lstrip().startswith("."):
                if line.strip() in (".quit", ".exit"):
                    return False
                failed = not self._command(line.strip())
            else:
                statements, buffer = split(f"{buffer}{line}\n")
                failed = not all(map(self._execute, statements))
            if failed and not self.interactive:
                return True
        return bool(buffer.strip()) and not self._execute(buffer)

    def _greet(self):
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  gives input() its history
        self.stdout.write(f"{self.connection.display_name}, {self.connection.alias!r}. {COMMANDS}\n")

    def _line(self, prompt):
        """Return the next line, None at the end."""
        if not self.interactive:
            line = self.stdin.readline()
            return line.rstrip("\n") if line else None
        try:
            return input(prompt)
        except EOFError:
            self.stdout.write("\n")
            return None
        except KeyboardInterrupt:
            self.stdout.write("\n")
            return ""

    def _command(self, line):
        name, _, argument = line.partition(" ")
        if name not in self.commands:
            self.stderr.write(f"Unknown command: {name}. {COMMANDS}\n")
            return False
        sql = self.commands[name]
        if not argument:
            return self._execute(sql, header=False)
        head, order = sql.split(" ORDER BY ")
        return self._execute(f"{head} AND tbl_name = %s ORDER BY {order}", [argument.strip()], header=False)

    def _execute(self, sql, params=None, *, header=True):
        """Run one statement and print its result; return whether it worked."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, params)
                columns = [column[0] for column in cursor.description or ()]
                rows = cursor.fetchall() if columns else []
                count = cursor.rowcount
        except Error as error:
            self.stderr.write(f"Error: {error}\n")
            return False
        if columns and header:
            self.stdout.write(table(columns, rows) + "\n")
        elif columns:
            self.stdout.writelines(f"{row[0]}\n" for row in rows)
        elif count is not None and count >= 0 and self.interactive:
            self.stdout.write(f"{count} row{'' if count == 1 else 's'} changed\n")
        self.stdout.flush()
        return True
