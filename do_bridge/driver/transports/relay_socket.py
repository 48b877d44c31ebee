"""The WebSocket of a relay session, read by the call that waits for an answer.

The library's own connection reads in a thread. Handing an answer over from there costs a small query a fifth
of its CPU time, so this one has no thread: a call reads what it waits for, and the pool's keeper looks after
sessions that no call uses.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
from collections import deque

# Bound here, so that a test that replaces time.monotonic() for its own code does not reach ours.
from time import monotonic
from typing import Final

from websockets.client import ClientProtocol
from websockets.datastructures import HeadersLike
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.http11 import Response
from websockets.protocol import OPEN, Event, State
from websockets.typing import Subprotocol

from .wire import PATIENCE

#: Bytes that the system accepts at once on an idle connection.
SENT_AT_ONCE: Final = 16_384
_BUFFER: Final = 65_536
# Neither has a file descriptor of its own, which a fork would share; Windows has no poll().
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class _NoThread:
    """What the library joins after a failed handshake."""

    def join(self) -> None:
        """Return at once."""


class RelaySocket:
    """A WebSocket for one call at a time, without a thread of its own.

    `websockets.sync.client.connect` opens it, with this class as its ``create_connection``. The library then
    calls ``handshake``, ``start_keepalive``, ``close_socket`` and the methods of a context manager.
    https://websockets.readthedocs.io/en/stable/reference/sync/client.html
    """

    recv_events_thread: Final = _NoThread()

    def __init__(
        self, sock: socket.socket, protocol: ClientProtocol, *, close_timeout: float, **_: object
    ) -> None:
        self.socket = sock
        self.response: Response | None = None
        self._protocol = protocol
        self._close_timeout = close_timeout
        self._timeout: float | None = None
        self._messages: deque[bytes] = deque()
        self._fragments: list[bytes | bytearray | memoryview] = []
        self._is_pinged = False
        self._last_read = monotonic()
        self._is_closed = False
        self._lost_by: BaseException | None = None
        self._readable = _Selector()
        self._readable.register(sock, selectors.EVENT_READ)

    def __enter__(self) -> RelaySocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def state(self) -> State:
        """The state of the WebSocket, as far as it has been read."""
        return State.CLOSED if self._is_closed else self._protocol.state

    @property
    def subprotocol(self) -> Subprotocol | None:
        """The subprotocol that the server has chosen."""
        return self._protocol.subprotocol

    def handshake(
        self, additional_headers: HeadersLike | None, user_agent_header: str, timeout: float | None
    ) -> None:
        """Open the WebSocket; raises the library's errors, and TimeoutError."""
        request = self._protocol.connect()
        request.headers.update(additional_headers or {})
        request.headers.setdefault("User-Agent", user_agent_header)
        self._protocol.send_request(request)
        until = monotonic() + (PATIENCE if timeout is None else timeout)
        self._write(until - monotonic())
        while self.response is None and self._protocol.handshake_exc is None:
            self._read(until - monotonic())
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    def start_keepalive(self) -> None:
        """Do nothing: see ``keep_alive``."""

    def send(self, message: bytes, timeout: float) -> None:
        """Send a text message. Raises ConnectionClosed and TimeoutError."""
        self._refuse_closed()
        self._protocol.send_text(message)
        self._write(timeout if len(message) > SENT_AT_ONCE else min(timeout, PATIENCE))

    def recv(self, timeout: float) -> bytes:
        """Return the next message. Raises ConnectionClosed and TimeoutError."""
        until = monotonic() + timeout
        while not self._messages:
            self._refuse_closed()
            left = until - monotonic()
            try:
                self._read(min(left, PATIENCE))
            except TimeoutError:
                if left <= PATIENCE:
                    raise
                self._ping()
        return self._messages.popleft()

    def catch_up(self) -> None:
        """Take what has come since the last call, perhaps the end, without waiting."""
        while self.state is OPEN and self._readable.select(0):
            self._set_timeout(0.0)
            try:
                self._take(self.socket.recv(_BUFFER))
            except (BlockingIOError, ssl.SSLWantReadError, ConnectionClosed):
                return
            except OSError as error:
                self._lose(error)

    def keep_alive(self) -> None:
        """Ping a silent relay, and end the connection if the last ping has no answer."""
        self.catch_up()
        # Called every PATIENCE seconds: no connection is silent for much longer.
        if self.state is OPEN and monotonic() - self._last_read > PATIENCE / 2:
            self._ping()

    def close(self) -> None:
        """Send a close frame, wait a moment for the answer and close the socket."""
        until = monotonic() + self._close_timeout
        try:
            if self.state is OPEN:
                self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                self._write(self._close_timeout)
            while self.state is not State.CLOSED:
                self._read(until - monotonic())
        except (TimeoutError, ConnectionClosed):
            pass
        finally:
            self.close_socket()

    def cut(self) -> None:
        """End the connection under a call that reads or writes in another thread."""
        with contextlib.suppress(OSError):
            # shutdown() of a TLS socket itself would let a send that is under way continue in clear text.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close_socket(self) -> None:
        """Close the socket at once."""
        # The child of a fork may have a copy, which would keep the connection open.
        self.cut()
        self._is_closed = True
        self.socket.close()

    def _ping(self) -> None:
        if self._is_pinged:
            self._lose(TimeoutError("no answer to a ping"))
        elif self.state is OPEN:
            self._protocol.send_ping(os.urandom(4))
            self._is_pinged = True
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                # The next call finds out.
                self._write(PATIENCE)

    def _read(self, timeout: float) -> None:
        """Wait for what comes next, and take it."""
        if timeout <= 0:
            raise TimeoutError
        self._set_timeout(timeout)
        try:
            data = self.socket.recv(_BUFFER)
        except TimeoutError:
            raise
        except OSError as error:
            self._lose(error)
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._protocol.receive_eof()
            return
        self._last_read = monotonic()
        self._is_pinged = False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            self._process(event)
        # The answer to a ping, or to a close frame.
        self._write(PATIENCE)

    def _process(self, event: Event) -> None:
        if isinstance(event, Response):
            self.response = event
        elif isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self._fragments.append(event.data)
            if event.fin:
                self._messages.append(b"".join(self._fragments))
                self._fragments.clear()

    def _write(self, timeout: float) -> None:
        """Send what the protocol has to send."""
        for data in self._protocol.data_to_send():
            # Without data it is the end of the stream, which close_socket() sends.
            if data:
                self._set_timeout(max(timeout, 0.0))
                try:
                    self.socket.sendall(data)
                except TimeoutError as error:
                    # Half of a frame may have been sent.
                    self._lose(error)
                    raise
                except OSError as error:
                    self._lose(error)
                    raise self._closed() from error

    def _set_timeout(self, seconds: float) -> None:
        # A system call, which is left out for the usual wait, that of PATIENCE.
        if seconds != self._timeout:
            self.socket.settimeout(seconds)
            self._timeout = seconds

    def _refuse_closed(self) -> None:
        if self.state is not OPEN:
            raise self._closed()

    def _lose(self, error: BaseException) -> None:
        self._lost_by = error
        self._protocol.receive_eof()

    def _closed(self) -> ConnectionClosed:
        # The error is known once the stream has ended, and nothing more is read after a close frame.
        self._protocol.receive_eof()
        error = self._protocol.close_exc
        if self._lost_by is not None:
            error.__cause__ = self._lost_by
        return error
