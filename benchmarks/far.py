"""A TCP proxy that adds distance to each direction, and counts round trips."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import Self


class Far:
    """Listens on a free port of this machine and passes on to ``target`` after ``delay`` seconds each way.

    ``trips`` counts how often a client had to wait: the opening of a connection (TCP's own exchange, which
    the proxy adds), and each time the server sends after the client has sent. What a client sends last and
    nobody answers, such as a goodbye, is none.
    """

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self.trips = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.trips += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._ends += [client, server]
                _Connection(self, client, server)


class _Connection:
    """One connection of a client: two directions, with a reader and a writer for each."""

    def __init__(self, far: Far, client: socket.socket, server: socket.socket) -> None:
        self._far = far
        # Whether the client has sent since the server did.
        self._asked = False
        opened = time.monotonic() + 2 * far.delay
        self._start(client, server, opened, is_client=True)
        self._start(server, client, opened, is_client=False)

    def _start(self, source: socket.socket, sink: socket.socket, opened: float, *, is_client: bool) -> None:
        chunks: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(source, chunks, opened, is_client), daemon=True).start()
        threading.Thread(target=_write, args=(sink, chunks), daemon=True).start()

    def _read(
        self,
        source: socket.socket,
        chunks: queue.SimpleQueue[tuple[float, bytes]],
        opened: float,
        is_client: bool,
    ) -> None:
        data = b"."
        while data:
            try:
                data = source.recv(262_144)
            except OSError:
                data = b""
            if is_client:
                self._asked = True
            elif data and self._asked:
                self._asked = False
                self._far.trips += 1
            chunks.put((max(time.monotonic(), opened) + self._far.delay, data))


def _write(sink: socket.socket, chunks: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    data = b"."
    while data:
        due, data = chunks.get()
        if (left := due - time.monotonic()) > 0:
            time.sleep(left)
        with contextlib.suppress(OSError):
            sink.sendall(data) if data else sink.shutdown(socket.SHUT_RDWR)
