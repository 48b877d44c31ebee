"""The writes of a connection under idempotency keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from do_bridge.driver.sql import Statement
from do_bridge.driver.transport import Answer, Deadline, Transport

from .clients import NameInUse, WriteKeys


class KeyedWrites:
    """The part of a Connection that gives keys to writes."""

    transport: Transport
    database: str
    location: str | None
    write_keys: bool
    _keys: WriteKeys

    @contextmanager
    def unkeyed(self) -> Iterator[None]:
        """Send writes without keys in this block.

        It is for writes that drop the table of the keys.
        """
        with self._with_keys(False):
            yield

    @contextmanager
    def _with_keys(self, used: bool) -> Iterator[None]:
        before, self.write_keys = self.write_keys, used
        try:
            yield
        finally:
            self.write_keys = before

    def rest(self) -> None:
        """Release the client name of this connection's keys to other connections.

        The next write takes a name again.
        """
        self._keys.give_back()

    def _key(self) -> str | None:
        return self._keys.next() if self.write_keys else None

    def _keyed_batch(
        self,
        statements: Sequence[Statement],
        deadline: Deadline,
        expect: str | None,
        key: str | None,
        **session: str,
    ) -> list[Answer]:
        send = partial(
            self.transport.batch,
            self.database,
            statements,
            deadline,
            expect=expect,
            location=self.location,
            **session,
        )
        try:
            return send(key=key)
        except NameInUse:
            self._keys.rename()
        return send(key=self._key())
