"""A database for the probes.

It runs statements, returns refusals, and names tables that exist inside one batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from do_bridge.driver import Connection, Error, Result, Transport
from do_bridge.driver.cursor import Row
from do_bridge.driver.keys.on_objects import outcome_of
from do_bridge.driver.places import join_place, split_place
from do_bridge.driver.sql import prepare
from do_bridge.driver.transport import Answer, Deadline
from do_bridge.driver.transports.relay import RelayTransport

from .probe import Wrong, shown

Statement = str | tuple[str, Sequence[Any]]

TIMEOUT: Final = 10.0
#: Begins every name that a probe creates; introspection and dumps leave such tables out.
PREFIX: Final = "_do_bridge_doctor_"
#: In an error the driver shows a text that begins so, and no other.
_CARRIED: Final = "do_bridge:doctor:"


class Cut(Wrong):
    """A text in an error did not come back whole."""


class Database:
    """One database over one transport; ``kind`` is OBJECT, D1 or REST.

    ``token`` is random: it is part of each table's name. ``new_transport`` makes a transport of its own.
    """

    #: Whether its token is for one kind of databases alone.
    scoped = False
    #: The one jurisdiction that the relay serves; empty if it serves any.
    served = ""
    #: Makes a transport with a wrong token, if each request is checked for one.
    strange_transport: Callable[[], Transport] | None = None

    def __init__(
        self, kind: str, name: str, new_transport: Callable[[], Transport], token: str, **options: Any
    ) -> None:
        self.kind = kind
        self.name = name
        self.new_transport = new_transport
        self.token = token
        self.prefix = f"{PREFIX}{token}_"
        self._probe = 0
        self.transport = new_transport()
        self._options = options
        self._others: list[Database] = []
        #: Whether it has ever answered. If not, nothing was made there.
        self.answered = False
        self.connection = self._connect(**options)

    def __repr__(self) -> str:
        return f"<Database {self.kind} {self.name}>"

    def _connect(self, **options: Any) -> Connection:
        # Keys are rows that stay; the probes for them send their own.
        return Connection(self.transport, self.name, **{"timeout": TIMEOUT, "write_keys": False, **options})

    def table(self, name: str) -> str:
        """Return the name of a table of the current probe.

        An earlier probe may have left a table of the same name.
        """
        return f"{self.prefix}{self._probe}_{name}"

    def rows(self, sql: str, *params: Any) -> list[Row]:
        """Run one statement and return its rows."""
        return self.batch((sql, params) if params else sql)[0].rows

    def value(self, sql: str, *params: Any) -> Any:
        """Run one statement and return the first value of its only row."""
        rows = self.rows(sql, *params)
        if len(rows) != 1:
            raise Wrong(f"{len(rows)} rows came back instead of 1")
        return rows[0][0]

    def batch(self, *statements: Statement) -> list[Result]:
        """Run statements as one atomic batch, in one round trip.

        In an open transaction they run inside it.
        """
        items = [(item, None) if isinstance(item, str) else item for item in statements]
        results = self.connection.execute_batch(items)
        self.answered = True
        return results

    def refusal(self, *statements: Statement) -> Error:
        """Run a batch that must fail and return its error."""
        try:
            self.batch(*statements)
        except Error as error:
            return error
        raise Wrong("the database accepted a statement that it must refuse")

    def clean_refusal(self, *statements: Statement) -> Error:
        """Run a batch that SQLite itself must refuse, rather than the runtime break off."""
        error = self.refusal(*statements)
        if error.kind != "sql":
            raise Wrong(f"the refusal has the kind {error.kind} and does not come from SQLite: {error}")
        return error

    def carried(self, expression: str, *before: Statement) -> str:
        """Run statements, and return the value of an SQL expression after them.

        All of it is rolled back. The batch ends with an error that carries the text, its length and its last
        characters as a check.
        """
        path = f"'{_CARRIED}' || length(t) || ':' || hex(substr(t, -8)) || ':' || t"
        last = f"SELECT json_extract('{{}}', {path}) AS e FROM (SELECT CAST({expression} AS TEXT) AS t)"  # noqa: S608
        error = self.refusal(*before, last)
        _, found, rest = str(error).partition(_CARRIED)
        if not found and error.kind == "sql":
            raise Wrong(f"the error does not carry the value: {error}")
        if not found:
            raise error
        length, _, rest = rest.partition(":")
        check, _, text = rest.partition(":")
        text = text.removesuffix("'").replace("''", "'")
        if str(len(text)) != length or text[-8:].encode().hex().upper() != check:
            raise Cut(f"{len(text)} of {shown(length)} characters of a text came back in the error")
        return text

    def another(self, **options: Any) -> Database:
        """Return the same database over a connection of its own, closed with this one."""
        other = Database(
            self.kind, self.name, lambda: self.transport, self.token, **{**self._options, **options}
        )
        self._others.append(other)
        return other

    def apart(self, **options: Any) -> Database:
        """Return the same database over a transport of its own, which ``sever`` may close."""
        other = Database(self.kind, self.name, self.new_transport, self.token, **{**self._options, **options})
        self._others.append(other)
        return other

    def named(self, name: str, **options: Any) -> Database:
        """Return another database over the same transport; nothing is sent yet."""
        options = {**self._options, **options}
        return Database(self.kind, name, lambda: self.transport, self.token, **options)

    @property
    def jurisdiction(self) -> str | None:
        """The jurisdiction that the name carries."""
        return split_place(self.name)[1]

    def placed_in(self, jurisdiction: str | None, path: str = "", **options: Any) -> Database:
        """Return the object of this name, and a path below it, in a jurisdiction.

        Nothing is sent yet.
        """
        return self.named(join_place(split_place(self.name)[0] + path, jurisdiction), **options)

    def reported_jurisdiction(self) -> str | None:
        """Return the jurisdiction that the runtime reports for the object."""
        if not isinstance(self.transport, RelayTransport):
            raise Wrong("the jurisdiction can only be read over the relay")
        return self.transport.jurisdiction_of(self.name, Deadline(TIMEOUT))

    def stranger(self) -> Database | None:
        """Return the same database with a wrong token, or None if that cannot be tested."""
        if self.strange_transport is None:
            return None
        other = Database(self.kind, self.name, self.strange_transport, self.token, **self._options)
        self._others.append(other)
        return other

    def sever(self) -> None:
        """Close the transport while it works, as a killed client would."""
        self.transport.close()

    def keyed(self, sql: str, key: str) -> Answer:
        """Run one write under an idempotency key and return the answer as it came."""
        deadline = Deadline(TIMEOUT)
        return self.transport.batch(self.name, [prepare(sql, None)], deadline, key=key)[0]

    def outcome(self, key: str) -> str:
        """Return the object's record of the write under an idempotency key."""
        if not isinstance(self.transport, RelayTransport):
            raise Wrong("outcomes can only be looked up over the relay")
        return outcome_of(self.transport.pool, self.name, key, Deadline(TIMEOUT))

    @staticmethod
    def new_key() -> str:
        """Return an unused idempotency key."""
        return f"{secrets.token_hex(16)}:1000000"

    def end_probe(self) -> None:
        """Close the connections and transports that a probe has added to the first one."""
        self._probe += 1
        others, self._others = self._others, []
        for other in others:
            if other.transport is not self.transport:
                other.transport.close()
            else:
                _close(other.connection)

    def close(self) -> None:
        """Close everything, which rolls back open transactions."""
        self.end_probe()
        _close(self.connection)
        self.transport.close()

    def reset(self) -> None:
        """Take a new connection.

        The last probe may have been interrupted in a transaction.
        """
        self.end_probe()
        _close(self.connection)
        self.connection = self._connect(**self._options)


def _close(connection: Connection) -> None:
    try:
        connection.close()
    except Error:
        # The server rolls back by itself when it receives nothing more.
        connection.closed = True
