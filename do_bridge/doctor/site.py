"""What one run examines, and what has to be removed at its end.

It examines the relay and the databases.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from do_bridge.driver import Error
from do_bridge.driver.places import join_place
from do_bridge.driver.transport import is_on_this_machine
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.driver.transports.secret import Secret

from .databases import Database
from .probe import D1, OBJECT, RELAY, REST
from .relay import LOCAL_VERSION, Relay
from .scratch import NAME_PREFIX, ScratchDatabase

#: No tenant's object has such a name: theirs begin with "tenant/", "scratch/" or "test/".
OBJECT_PREFIX: Final = "doctor/"
_POOL_SIZE: Final = 4


@dataclass(frozen=True)
class RestAccess:
    """D1's REST API: Cloudflare's with an account, the local one without.

    ``token`` is the one that statements are sent with; ``admin_token`` may create a scratch database.
    """

    api_base: str
    database_id: str
    token: str = field(default="", repr=False)
    account_id: str = ""
    admin_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class RelayAccess:
    """A relay and one of its tokens.

    ``database_id`` is empty if it is for objects; ``jurisdiction`` is that of the objects.
    """

    url: str
    token: str = field(repr=False)
    database_id: str = ""
    jurisdiction: str = ""


class Site:
    """The relay and the databases that a project's settings name.

    ``objects`` and ``d1`` are None if the project has none of them, ``rest`` if no API is configured.
    """

    def __init__(
        self,
        objects: RelayAccess | None = None,
        d1: RelayAccess | None = None,
        rest: RestAccess | None = None,
    ) -> None:
        self.token = secrets.token_hex(8)
        self.databases: list[Database] = []
        self.scratch: ScratchDatabase | None = None
        self.notes: list[str] = []
        tokens = {kind: way.token for kind, way in ((OBJECT, objects), (D1, d1)) if way is not None}
        first = objects or d1
        self.relay = Relay(first.url, tokens) if first is not None else None
        self._secrets = [*tokens.values(), *((rest.token, rest.admin_token) if rest is not None else ())]
        self._rest = rest
        self._local_api = rest is not None and is_on_this_machine(rest.api_base)
        self.version = ""
        if objects is not None:
            name = join_place(f"do:{OBJECT_PREFIX}{self.token}", objects.jurisdiction)
            self._add(OBJECT, name, objects)
        if d1 is not None:
            self._add(D1, f"d1:{d1.database_id}", d1)

    @property
    def is_local(self) -> bool:
        """Whether this is the local runtime, which differs from production in known ways."""
        if self.relay is None:
            return self._local_api
        return self.version == LOCAL_VERSION and is_on_this_machine(self.relay.url)

    def connect(self) -> None:
        """Reach the relay once, and make the temporary D1 database if possible.

        The account must allow that database. Raises the driver's errors if the relay, or without a relay the
        API, cannot be used.
        """
        if self.relay is not None:
            for token in dict.fromkeys(self.relay.tokens.values()):
                self.relay.open(token)
            self.version, served = self.relay.version(), self.relay.jurisdiction()
            for database in self.databases:
                database.served = served
        if self._rest is not None:
            self._add_rest(self._rest)
        if self.relay is None and self.databases:
            self.databases[0].rows("SELECT 1")

    def everything(self) -> list[tuple[str, Any]]:
        """Return all that is examined, with its kind."""
        found: list[tuple[str, Any]] = [(RELAY, self.relay)] if self.relay is not None else []
        return found + [(database.kind, database) for database in self.databases]

    def subjects(self, kinds: Sequence[str]) -> list[tuple[str, Any]]:
        """Return what there is of these kinds, with the kind."""
        return [(kind, subject) for kind, subject in self.everything() if kind in kinds]

    def scrub(self, text: str) -> str:
        """Return the text without any of the tokens."""
        for secret in self._secrets:
            if secret:
                text = text.replace(secret, "***")
        return text

    def _add(self, kind: str, name: str, way: RelayAccess) -> None:
        def transport() -> RelayTransport:
            return RelayTransport(way.url, way.token, pool_size=_POOL_SIZE)

        database = Database(kind, name, transport, self.token)
        database.scoped = self.relay is not None and len(set(self.relay.tokens.values())) > 1
        self.databases.append(database)

    def _add_rest(self, access: RestAccess) -> None:
        database_id, token = access.database_id, access.token
        admin = access.admin_token or access.token
        if access.account_id and admin:
            self.scratch = ScratchDatabase(
                access.api_base, access.account_id, Secret(admin), NAME_PREFIX + self.token
            )
            try:
                database_id, token = self.scratch.make(), token or admin
            except Error as error:
                self.notes.append(
                    f"{error}. So the REST probes run in the configured database, in batches that "
                    "leave nothing behind."
                )

        def transport() -> RestTransport:
            return RestTransport(access.api_base, token, access.account_id or None)

        database = Database(REST, f"d1:{database_id}", transport, self.token)
        database.strange_transport = lambda: RestTransport(
            access.api_base, f"wrong-{self.token}", access.account_id or None
        )
        self.databases.append(database)
