"""PEP 249 exceptions, and the one place where SQLite's, the relay's and HTTP's errors become them.

::

    Exception
    ├── Warning
    └── Error
        ├── InterfaceError             the driver was misused, or it and the relay disagree
        └── DatabaseError
            ├── DataError              a value that the database or the wire cannot hold
            ├── OperationalError       unreachable, refused, timed out, rolled back, no such table
            ├── IntegrityError         a constraint
            ├── InternalError          the runtime failed
            ├── ProgrammingError       wrong parameters, a closed cursor
            └── NotSupportedError      the runtime cannot do this
"""

from __future__ import annotations

import re
from typing import Final


class Warning(Exception):  # noqa: A001 - PEP 249 gives the name.
    """An important warning."""


class Error(Exception):
    """The base of all errors; it keeps what the server said beside the text.

    ``sqlite_code`` is SQLite's extended code by name, ``kind`` the relay's kind of error, ``effect`` what
    became of the work (``none``, ``statement``, ``ended``, ``unknown``, or ``done`` but
    for its answer), ``step`` the failed step of the request.
    ``found`` is the fingerprint of an object whose schema is not the expected one (empty for none).
    ``transient`` says that the same request may pass later, ``retry_after`` (seconds) how much later.
    """

    def __init__(
        self,
        message: str = "",
        *,
        sqlite_code: str | None = None,
        kind: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        effect: str | None = None,
        step: int | None = None,
        transient: bool = False,
        retry_after: float | None = None,
        found: str | None = None,
    ) -> None:
        super().__init__(message)
        self.sqlite_code = sqlite_code
        self.kind = kind
        self.http_status = http_status
        self.request_id = request_id
        self.effect = effect
        self.step = step
        self.transient = transient
        self.retry_after = retry_after
        self.found = found


class InterfaceError(Error):
    """The driver was misused, or it and the relay do not speak the same protocol."""


class DatabaseError(Error):
    """An error of the database."""


class DataError(DatabaseError):
    """A value that the database or the wire cannot hold exactly."""


class OperationalError(DatabaseError):
    """The database could not be reached, refused the work, took too long or lost the transaction."""


class IntegrityError(DatabaseError):
    """A constraint was violated."""


class InternalError(DatabaseError):
    """The runtime failed."""


class ProgrammingError(DatabaseError):
    """Wrong parameters, or a cursor or connection that is closed."""


class NotSupportedError(DatabaseError):
    """The runtime cannot do this."""


# The classes that Python's own sqlite3 module gives to SQLite's primary codes.
_BY_SQLITE_CODE: Final[dict[str, type[Error]]] = {
    "SQLITE_INTERNAL": InternalError,
    "SQLITE_NOTFOUND": InternalError,
    "SQLITE_CORRUPT": DatabaseError,
    "SQLITE_NOTADB": DatabaseError,
    "SQLITE_TOOBIG": DataError,
    "SQLITE_CONSTRAINT": IntegrityError,
    "SQLITE_MISMATCH": IntegrityError,
    "SQLITE_MISUSE": InterfaceError,
    "SQLITE_RANGE": InterfaceError,
    # The runtime's authoriser refuses by this code what it does not offer.
    "SQLITE_AUTH": NotSupportedError,
}

_BY_KIND: Final[dict[str, tuple[type[Error], str]]] = {
    "bad_request": (InterfaceError, "The relay did not understand the request"),
    "forbidden": (
        OperationalError,
        "The token may not reach this database, and nothing was run: RELAY_TOKEN_TENANTS is for tenants' "
        "objects (do:), RELAY_TOKEN_DIRECTORY for D1 (d1:), RELAY_TOKEN for both; check the alias's PASSWORD",
    ),
    "too_large": (DataError, "The request or its answer is larger than the relay allows; cut the work"),
    "unknown_database": (
        OperationalError,
        "The relay has no D1 binding for this database id; add it to D1_DATABASES in wrangler.jsonc",
    ),
    "unsupported": (NotSupportedError, "The database cannot do this"),
    "no_transaction": (OperationalError, "The transaction is over and was rolled back"),
    "lease_expired": (
        OperationalError,
        "The transaction was open longer than its lease and was rolled back. Each of its statements was a "
        "round trip: write many rows with bulk_create(), bulk_update() or update(), or raise "
        "OPTIONS['lease'] (25 seconds at most). A migration may set atomic = False",
    ),
    "foreign_key": (IntegrityError, "FOREIGN KEY constraint failed"),
    "schema_mismatch": (
        OperationalError,
        "The object's schema is not the one that this code expects, and nothing was run",
    ),
    "stale_key": (OperationalError, "The work was not run under a key that is over"),
    "answer_lost": (
        OperationalError,
        "The write was carried out, once, but its answer was lost and too large to be kept",
    ),
    "session_limit": (
        OperationalError,
        "The relay session has used up its requests or its time; begin the transaction anew",
    ),
    "retry": (OperationalError, "A passing fault of the runtime"),
    "overloaded": (OperationalError, "The database is overloaded; try again later, and not at once"),
    "reset": (OperationalError, "The database was reset in the middle of the work"),
    "internal": (InternalError, "The runtime failed"),
}

# Of these the relay's own words add nothing.
_SAID_BY_HINT: Final = frozenset(
    {"answer_lost", "schema_mismatch", "lease_expired", "no_transaction", "session_limit", "unknown_database"}
)
_TRANSIENT_KINDS: Final = frozenset({"retry", "reset", "session_limit"})

# https://developers.cloudflare.com/d1/observability/debug-d1/ lists what may be tried again.
_D1_RETRY: Final = (
    "Network connection lost",
    "storage caused object to be reset",
    "reset because its code was updated",
    "Cannot resolve D1 DB due to transient issue",
    "Durable Object was reset",
    "client disconnected",
)
_OVERLOADED: Final = ("overloaded", "Too many requests queued", "too much load")

# The runtime's own refusals of a statement, which carry no code of SQLite.
_SQL_WITHOUT_CODE: Final = ("SQL statement", "SQL query", "SQL code", "state.storage.transaction")

# What SQLite's own words leave open, by the beginning of its message.
_HINTS: Final = {
    "statement too long": "the runtime takes 100,000 bytes of SQL; pass what is long as a parameter",
    "string or blob too big": "the runtime takes 2,000,000 bytes for a value or a row",
    "Expression tree is too large": "the runtime takes 100 levels; a list as one parameter has none",
    "variable number must be": "the driver's %s has no such limit",
}

_OFFSET = re.compile(r" at offset \d+$")
_PREFIX = re.compile(r"^(?:D1_ERROR|D1_EXEC_ERROR|Error):\s*")
_CODES = re.compile(r":\s*(SQLITE_[A-Z0-9_]+)(?:\s*\(extended:\s*(SQLITE_[A-Z0-9_]+)\))?\s*$")
# These messages of SQLite quote a value, which may have been a parameter; guards of the schema editor and of
# batches put words of their own into the first.
_QUOTED_VALUE = re.compile(
    r"^(bad JSON path(?!: 'do_bridge:)|JSON path error near|fts5: syntax error near|unknown special query)"
    r"\b.*$",
    re.S,
)


def describe(message: str) -> tuple[str, str | None]:
    """Split a message of SQLite into its text, freed of quoted values, and its most exact code."""
    text = _PREFIX.sub("", message).strip()
    match = _CODES.search(text)
    code = (match[2] or match[1]) if match else None
    text = text[: match.start()] if match else text
    text = _OFFSET.sub("", text)
    quoted = _QUOTED_VALUE.match(text)
    return (f"{quoted[1]} (the value is not shown)" if quoted else text), code


def kind_of(message: str) -> str:
    """Return the relay's word for an error of which only D1's message is known."""
    if _CODES.search(message.strip()) or any(phrase in message for phrase in _SQL_WITHOUT_CODE):
        return "sql"
    if any(phrase in message for phrase in _OVERLOADED):
        return "overloaded"
    if any(phrase in message for phrase in _D1_RETRY):
        return "retry"
    return "internal"


def error_from(
    message: str,
    *,
    kind: str | None = None,
    effect: str | None = None,
    step: int | None = None,
    http_status: int | None = None,
    request_id: str | None = None,
    found: str | None = None,
) -> Error:
    """Return the exception for an error that the relay or D1's API reported.

    ``kind`` is the relay's; where there is none (D1's API) it is read from the message.
    """
    kind = kind or kind_of(message)
    text, code = describe(message)
    if kind == "sql":
        error_class, text = _sql_error(text, code)
        hint = next((words for start, words in _HINTS.items() if text.startswith(start)), "")
        text = f"{text}: {hint}" if hint else text
    else:
        error_class, hint = _BY_KIND.get(kind, _BY_KIND["internal"])
        text = f"{hint}: {text.removeprefix(hint + ': ')}" if text and kind not in _SAID_BY_HINT else hint
        code = "SQLITE_CONSTRAINT_FOREIGNKEY" if kind == "foreign_key" else code
    return error_class(
        text,
        sqlite_code=code,
        kind=kind,
        effect=effect,
        step=step,
        http_status=http_status,
        request_id=request_id,
        transient=kind in _TRANSIENT_KINDS,
        retry_after=0.0 if kind == "session_limit" else None,
        found=found,
    )


def _sql_error(text: str, code: str | None) -> tuple[type[Error], str]:
    if code is None:
        if "state.storage.transaction" in text:
            return NotSupportedError, (
                "The runtime refuses BEGIN, COMMIT, ROLLBACK and SAVEPOINT as SQL; "
                "use the connection's begin(), commit(), rollback() and savepoint()"
            )
        return (ProgrammingError if "parameter" in text else OperationalError), text
    if code == "SQLITE_AUTH":
        return NotSupportedError, f"The runtime refuses this statement: {text}"
    primary = "_".join(code.split("_")[:2])
    return _BY_SQLITE_CODE.get(primary, OperationalError), text
