"""A TCP proxy for tests: passes bytes on, cuts connections, swallows or holds answers."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import time
from typing import Self


class Proxy:
    """Listens on a free port and passes on to ``target``; with ``tls`` its clients speak TLS to it.

    ``lose_answers``: so many times the next bytes of the server close the connection instead of passing.
    ``delay_requests``: so many times the next bytes of a client cut the client's connection and are kept, for
    ``deliver()`` to pass them on, as a network does that delays what a client sent before it went.
    ``hold_requests``: the same, but the client's connection stays open, and nothing more comes through it.
    ``swallow_answers``: so many times the next bytes of the server, and all that follow, reach nobody.
    ``refusing``: while set, new connections are closed at once.
    ``stalled``: while set, the server's bytes are held back. ``deaf``: while set, the client's are not read.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flow = threading.Condition()
        self._closing = False
        self.lose_answers = 0
        self.lost = 0
        self._frozen: set[socket.socket] = set()
        self.delay_requests = 0
        self.hold_requests = 0
        self.swallow_answers = 0
        self._delayed: list[tuple[socket.socket, bytes]] = []
        self._late: dict[socket.socket, queue.Queue[bytes]] = {}
        self.refusing = False
        self.stalled = False
        self.deaf = False
        self.accepted = 0

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._flow:
            self._closing = True
            self._flow.notify_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Close all connections that are open now."""
        while self._pairs:
            self._end(*self._pairs.pop())

    def deliver(self, timeout: float = 20.0) -> list[bytes]:
        """Pass on what was delayed; return the server's answers to it, which reach no client."""
        answers = []
        for server, data in self._delayed:
            server.sendall(data)
            answers.append(self._late[server].get(timeout=timeout))
        self._delayed.clear()
        return answers

    def stall(self, seconds: float) -> None:
        """Hold the server's bytes back for so long."""
        self.stalled = True
        time.sleep(seconds)
        self.release()

    def freeze(self) -> None:
        """Hold back both sides' bytes on the connections that are open now; new ones are not touched."""
        self._frozen.update(end for pair in self._pairs for end in pair)

    def release(self) -> None:
        """Let pass what is held back."""
        with self._flow:
            self.stalled = self.deaf = False
            self._frozen.clear()
            self._flow.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()  # nobody listens there: the client is to see that, too
                continue
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self.accepted += 1
            self._pairs.append((client, server))
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._late:
                    self._late[source].put(data)
                    continue
                if not answers and (self.delay_requests or self.hold_requests):
                    self._delay(source, sink, data)
                    return
                if answers and self.swallow_answers:
                    self.swallow_answers -= 1
                    self._late[source] = queue.Queue()
                    continue
                if answers and self.lose_answers:
                    self.lose_answers -= 1
                    self.lost += 1
                    break
                with self._flow:
                    self._flow.wait_for(lambda: self._closing or not self._holds(source, answers))
                sink.sendall(data)
        self._end(source, sink)

    def _holds(self, source: socket.socket, answers: bool) -> bool:
        return (self.stalled if answers else self.deaf) or source in self._frozen

    def _delay(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        self._late[server] = queue.Queue()
        self._delayed.append((server, data))
        if self.hold_requests:
            self.hold_requests -= 1
        else:
            self.delay_requests -= 1
            self._end(client)

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
