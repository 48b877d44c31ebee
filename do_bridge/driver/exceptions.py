"""PEP 249 exceptions, and the conversion of other errors to them.

The errors of SQLite, the relay and HTTP are converted here and nowhere else.

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
    """The base of all errors; it keeps what the server reported beside the text.

    ``sqlite_code`` is SQLite's extended code by name and ``kind`` the relay's kind of error. ``effect`` is
    what became of the work: ``none``, ``statement``, ``ended``, ``unknown``, or ``done`` (its answer was
    lost). ``step`` is the failed step of the request. ``found`` is the schema fingerprint of an object that
    does not have the expected one (empty: none). ``transient`` means that the same request may succeed
    later, ``retry_after`` seconds later at the earliest.
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
    """The driver was misused, or it and the relay use different protocols."""


class DatabaseError(Error):
    """An error of the database."""


class DataError(DatabaseError):
    """A value that the database or the wire cannot hold exactly."""


class OperationalError(DatabaseError):
    """The database could not do the work.

    It could not be reached, refused the work, took too long or lost the transaction.
    """


class IntegrityError(DatabaseError):
    """A constraint was violated."""


class InternalError(DatabaseError):
    """The runtime failed."""


class ProgrammingError(DatabaseError):
    """Wrong parameters, or a cursor or connection that is closed."""


class NotSupportedError(DatabaseError):
    """The runtime cannot do this."""


# The classes that Python's sqlite3 module uses for SQLite's primary codes.
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
    # The runtime's authoriser refuses with this code what it does not offer.
    "SQLITE_AUTH": NotSupportedError,
}

_BY_KIND: Final[dict[str, tuple[type[Error], str]]] = {
    "bad_request": (
        InterfaceError,
        "The relay could not read the request. If it is older than the package, run `manage.py relay deploy`",
    ),
    "forbidden": (
        OperationalError,
        "The token is not valid for this database, and nothing was run. RELAY_TOKEN_TENANTS opens "
        "the tenants' objects (do:), RELAY_TOKEN_DIRECTORY opens D1 (d1:), RELAY_TOKEN opens both. "
        "Correct PASSWORD of the alias",
    ),
    "too_large": (DataError, "The request or its answer is larger than the relay allows. Split the work"),
    "unknown_database": (
        OperationalError,
        "The relay has no D1 binding for this database id. Add the id to D1_DATABASES in "
        "wrangler.jsonc and deploy the Worker",
    ),
    "unsupported": (NotSupportedError, "The database does not support this"),
    "bad_bookmark": (DataError, "This point of the object's history can't be used"),
    "no_transaction": (OperationalError, "The transaction has ended and was rolled back. Begin a new one"),
    "lease_expired": (
        OperationalError,
        "The transaction was open longer than its lease and was rolled back. Each of its "
        "statements was a round trip. Write many rows with bulk_create(), bulk_update() or "
        "update(), set atomic = False in a migration, or raise OPTIONS['lease'] (25 seconds at "
        "most)",
    ),
    "foreign_key": (IntegrityError, "FOREIGN KEY constraint failed"),
    "schema_mismatch": (
        OperationalError,
        "The schema of the object is not the one that this code expects, and nothing was run. "
        "Migrate the tenant, or deploy the code that matches it",
    ),
    "stale_key": (OperationalError, "The work was not run, because its idempotency key is no longer valid"),
    "answer_lost": (
        OperationalError,
        "The write was carried out once, but its answer was lost and too large to be kept. Read "
        "the data before you go on",
    ),
    "bad_session": (
        OperationalError,
        "D1 refused the bookmark of a session. Read from the primary",
    ),
    "session_limit": (
        OperationalError,
        "The relay session has reached its limit of requests or time, and the transaction was "
        "rolled back. Begin it again",
    ),
    "retry": (OperationalError, "The runtime failed for a moment"),
    "overloaded": (OperationalError, "The database is overloaded. Wait before you try again"),
    "reset": (OperationalError, "The database was reset while it worked"),
    "internal": (InternalError, "The runtime failed"),
}

# For these kinds the relay's own text adds nothing.
_SAID_BY_HINT: Final = frozenset(
    {"answer_lost", "schema_mismatch", "lease_expired", "no_transaction", "session_limit", "unknown_database"}
)
#: How the relay begins its refusal if the runtime does not have a jurisdiction.
NO_JURISDICTION: Final = "the runtime has no objects in the jurisdiction"
# What a kind means if the relay's text begins in this way.
_ABOUT_PLACES: Final[dict[tuple[str, str], tuple[type[Error], str]]] = {
    ("forbidden", "this relay serves the jurisdiction"): (
        OperationalError,
        "The relay does not serve this object, and nothing was run. Set RELAY_JURISDICTION, from which "
        "OPTIONS['jurisdiction'] of the alias comes, to the jurisdiction that the relay serves",
    ),
    ("unsupported", NO_JURISDICTION): (
        NotSupportedError,
        "The object cannot be called, and nothing was run. A local relay has no jurisdictions: leave out "
        "--jurisdiction, and leave RELAY_JURISDICTION and OPTIONS['jurisdiction'] empty",
    ),
}
_TRANSIENT_KINDS: Final = frozenset({"retry", "reset", "session_limit"})

# https://developers.cloudflare.com/d1/observability/debug-d1/ lists the errors after which to try again.
_D1_RETRY: Final = (
    "Network connection lost",
    "storage caused object to be reset",
    "reset because its code was updated",
    "Cannot resolve D1 DB due to transient issue",
    "Durable Object was reset",
    "client disconnected",
)
_OVERLOADED: Final = ("overloaded", "Too many requests queued", "too much load")

# The runtime's own refusals of a statement, which have no SQLite code.
_SQL_WITHOUT_CODE: Final = ("SQL statement", "SQL query", "SQL code", "state.storage.transaction")

# Advice for messages of SQLite, by the beginning of the message.
_HINTS: Final = {
    "statement too long": "the runtime accepts 100,000 bytes of SQL. Pass long values as parameters",
    "string or blob too big": "the runtime accepts 2,000,000 bytes for a value or a row. Split the value",
    "Expression tree is too large": "the runtime accepts 100 levels. Pass a long list as one parameter",
    "variable number must be": "write parameters as %s, which has no such limit",
}

_OFFSET = re.compile(r" at offset \d+$")
_PREFIX = re.compile(r"^(?:D1_ERROR|D1_EXEC_ERROR|Error):\s*")
_CODES = re.compile(r":\s*(SQLITE_[A-Z0-9_]+)(?:\s*\(extended:\s*(SQLITE_[A-Z0-9_]+)\))?\s*$")
# These messages of SQLite quote a value, which may have been a parameter. Guards of the schema editor and of
# batches put their own text into the first.
_QUOTED_VALUE = re.compile(
    r"^(bad JSON path(?!: 'do_bridge:)|JSON path error near|fts5: syntax error near|unknown special query)"
    r"\b.*$",
    re.S,
)


def describe(message: str) -> tuple[str, str | None]:
    """Split a message of SQLite into its text and its most exact code.

    The text has no quoted values. The code is None if the message has none.
    """
    text = _PREFIX.sub("", message).strip()
    match = _CODES.search(text)
    code = (match[2] or match[1]) if match else None
    text = text[: match.start()] if match else text
    text = _OFFSET.sub("", text)
    quoted = _QUOTED_VALUE.match(text)
    return (f"{quoted[1]} (the value is not shown)" if quoted else text), code


def kind_of(message: str) -> str:
    """Return the relay's kind for an error of which only D1's message is known."""
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

    ``kind`` is the relay's. D1's API has no kind; then it is derived from the message.
    """
    kind = kind or kind_of(message)
    text, code = describe(message)
    if kind == "sql":
        error_class, text = _sql_error(text, code)
        hint = next((words for start, words in _HINTS.items() if text.startswith(start)), "")
        text = f"{text}: {hint}" if hint else text
    else:
        error_class, hint = _meaning(kind, text)
        text = _worded(hint, "" if kind in _SAID_BY_HINT else text)
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


def _meaning(kind: str, text: str) -> tuple[type[Error], str]:
    """Return the exception of a kind, and the advice that goes with it."""
    for (special, beginning), meaning in _ABOUT_PLACES.items():
        if kind == special and text.startswith(beginning):
            return meaning
    return _BY_KIND.get(kind, _BY_KIND["internal"])


def _worded(hint: str, text: str) -> str:
    what, stop, advice = hint.partition(". ")
    reported = text.removeprefix(what).removeprefix(": ").removesuffix(".")
    return f"{what}: {reported}{stop}{advice}" if reported else hint


def _sql_error(text: str, code: str | None) -> tuple[type[Error], str]:
    if code is None:
        if "state.storage.transaction" in text:
            return NotSupportedError, (
                "The runtime refuses BEGIN, COMMIT, ROLLBACK and SAVEPOINT as SQL. Call begin(), "
                "commit(), rollback() and savepoint() of the connection"
            )
        return (ProgrammingError if "parameter" in text else OperationalError), text
    if code == "SQLITE_AUTH":
        return NotSupportedError, f"The runtime does not allow this statement: {text}"
    primary = "_".join(code.split("_")[:2])
    return _BY_SQLITE_CODE.get(primary, OperationalError), text


class HasExceptions:
    """A Connection's attributes for PEP 249's exceptions."""

    Warning = Warning
    Error = Error
    InterfaceError = InterfaceError
    DatabaseError = DatabaseError
    DataError = DataError
    OperationalError = OperationalError
    IntegrityError = IntegrityError
    InternalError = InternalError
    ProgrammingError = ProgrammingError
    NotSupportedError = NotSupportedError
