"""The relay for the probes: its address, its tokens, and its answers to strangers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from do_bridge.driver.transport import Deadline, is_on_this_machine
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.driver.transports.secret import Secret
from do_bridge.driver.transports.wire import shown

from .web import Reply, request

_TIMEOUT: Final = 10.0
#: `/healthz` of a Worker that was not deployed with a version.
LOCAL_VERSION: Final = "local"


@dataclass(frozen=True)
class Terms:
    """What the relay offers a session, from its handshake."""

    keys: bool
    max_message: int
    subrequests: int
    seconds: int


@dataclass
class Relay:
    """``tokens`` by what they are for: OBJECT, D1."""

    url: str
    tokens: dict[str, str] = field(repr=False)
    name: str = field(init=False)
    token: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.tokens = {kind: Secret(token) for kind, token in self.tokens.items()}
        self.token = next(iter(self.tokens.values()))
        self.name = shown(self.url)

    @property
    def is_encrypted(self) -> bool:
        """Whether the token travels over TLS, or does not leave this machine."""
        return urlsplit(self.url).scheme in ("https", "wss") or is_on_this_machine(self.url)

    def get(self, path: str, token: str = "") -> Reply:
        """Return the answer to a GET request."""
        parts = urlsplit(self.url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        base = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        return request(base + path, token=token, timeout=_TIMEOUT)

    def open(self, token: str) -> Terms:
        """Open a session with a token, close it, and return its terms.

        Raises the driver's errors.
        """
        session = RelaySession(self.url, token, connect_timeout=_TIMEOUT, deadline=Deadline(_TIMEOUT))
        with contextlib.closing(session):
            return Terms(session.knows_keys, session.max_message, session.limit, session.seconds)

    def version(self) -> str:
        """Return the version that /healthz names, or an empty text."""
        return self._health("version")

    def jurisdiction(self) -> str:
        """Return the one jurisdiction that the relay serves; empty if any."""
        return self._health("jurisdiction")

    def _health(self, name: str) -> str:
        body = self.get("/healthz").body
        return str(body.get(name) or "") if isinstance(body, dict) else ""
