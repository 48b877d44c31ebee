"""How gunicorn serves the site; its options on the command line and GUNICORN_CMD_ARGS come before these."""

import contextlib
import os
import selectors
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gunicorn.workers.gthread import ThreadWorker

wsgi_app = "project.wsgi:application"
bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"


def asks_health(sock):
    """Whether all of a request is there that asks for the site's health, and holds nobody up."""
    try:
        head = sock.recv(8192, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    bodiless = b"\ncontent-length" not in head.lower() and b"\ntransfer-" not in head.lower()
    known = method in (b"GET", b"HEAD") and path in (b"/healthz", b"/healthz/live")
    return known and bodiless and head.endswith(b"\r\n\r\n")


class Worker(ThreadWorker):
    """Gives no client a thread for longer than it needs, and closes its listening sockets when it is to stop.

    gunicorn's own waits without end for the rest of a request, so that a few clients which send half of one
    silence a process. And it listens until its last request has ended: the system lets in whoever comes
    meanwhile, to wait for a process that will never serve them, where a refusal would send them elsewhere.
    Who asks for the site's health has threads apart: all others may wait for a database that is silent.
    """

    seconds_for_headers = 10
    seconds_for_request = 40  # headers and body
    seconds_for_silence = 30  # of a client that takes nothing of its answer
    seconds_for_farewell = 2  # of a client that does not close what is over
    bytes_for_farewell = 65_536

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._reading = {}
        self._for_health = ThreadPoolExecutor(max_workers=4)
        self._leaving = {}

    def set_accept_enabled(self, enabled):
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, time.monotonic() + 2)

    def enqueue_req(self, conn):
        """Give a thread to a connection that has sent something; which one, what it has sent decides."""
        if not (conn.initialized or conn.data_ready):
            conn.timeout = time.monotonic() + self.seconds_for_headers
            self.pending_conns.append(conn)
            readable = partial(self.on_pending_socket_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, readable)
            return
        ahead = conn.initialized and conn.parser.unreader.buf.getvalue()  # that comes first, unseen here
        pool = self._for_health if not ahead and asks_health(conn.sock) else self.tpool
        done = pool.submit(self.handle, conn)
        done.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def finish_request(self, conn, done):
        """Let a client whose connection is over take its answer: in gunicorn's own all others wait for it."""
        if done.cancelled() or done.exception() or done.result():
            super().finish_request(conn, done)
            return
        conn.timeout = time.monotonic() + self.seconds_for_farewell
        self._leaving[conn] = self.bytes_for_farewell
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._forget(conn)
        else:
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._hear_out, conn))

    def _hear_out(self, conn, sock):
        """Drop what a client sends until it closes: closed over that, a connection takes its answer along."""
        with contextlib.suppress(OSError):
            size = len(sock.recv(4096))
            self._leaving[conn] -= size
            if size and self._leaving[conn] > 0:
                return
        self.poller.unregister(sock)
        self._forget(conn)

    def _forget(self, conn):
        del self._leaving[conn]
        self.nr_conns -= 1
        conn.close()

    def handle(self, conn):
        silence = struct.pack("ll", self.seconds_for_silence, 0)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, silence)
        self._reading[conn] = time.monotonic() + self.seconds_for_headers
        try:
            return super().handle(conn)
        finally:
            self._reading.pop(conn, None)

    def handle_request(self, req, conn):
        if (deadline := self._reading.get(conn)) is not None:
            self._reading[conn] = deadline + self.seconds_for_request - self.seconds_for_headers
        return super().handle_request(req, conn)

    def murder_pending(self):
        """Called each second: end what is still read too late. What has been read may be answered later."""
        super().murder_pending()
        now = time.monotonic()
        while self._leaving and (conn := next(iter(self._leaving))).timeout < now:
            self.poller.unregister(conn.sock)
            self._forget(conn)
        for conn, deadline in list(self._reading.items()):
            if deadline < now and self._reading.pop(conn, None):
                with contextlib.suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)


# Threads, because a request mostly waits for a database. WEB_CONCURRENCY sets the number of processes.
worker_class = Worker
threads = 8
# Less than 1024 with sessions and files: many systems let a process open no more, and out of them it ends.
worker_connections = 800
# Each process opens its sessions with the relay itself, after the fork.
preload_app = False

# A process that gives no sign of life for so long is killed; a slow request is none such.
timeout = 60
# What runs may end: above what one statement may wait (30 s), and above every lease (25 s at most).
graceful_timeout = 40
keepalive = 5
# Python's own waits without end, whatever the limit of silence, for a client that takes nothing of a file.
sendfile = False

# A process is replaced now and then, not all of them at once; what it serves is finished first.
max_requests = 20_000
max_requests_jitter = 2_000

# The heartbeat's file in memory: a full or slow disk must not look like a dead process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
control_socket_disable = True
# No request may take memory without end: Django's own limit holds for what comes after the headers.
limit_request_line = 8190
limit_request_fields = 100
