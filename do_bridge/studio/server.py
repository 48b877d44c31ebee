"""The HTTP server on 127.0.0.1: routes, the token, batons and idle streams."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from do_bridge import driver

from .streams import Stream
from .values import Refusal, error_of

HOST: Final = "127.0.0.1"
#: Bytes of a request, as the relay takes them.
LONGEST: Final = 30_000_000
#: Seconds after which a stream is closed if its client sends nothing; transactions end with their lease.
IDLE: Final = 60.0
MOST_STREAMS: Final = 64
_VERSIONS: Final = frozenset({"/v2", "/v3"})
_PIPELINES: Final = frozenset({"/v2/pipeline", "/v3/pipeline"})
_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})


class HttpError(Exception):
    """An answer without a result."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Open:
    stream: Stream
    used: float = field(default_factory=time.monotonic)


class Server(ThreadingHTTPServer):
    """Serves one database; `token` is made for the run."""

    daemon_threads = True

    def __init__(
        self, connect: Callable[[], driver.Connection], *, port: int = 0, writes: bool = False
    ) -> None:
        self.token = secrets.token_urlsafe(32)
        self._connect = connect
        self._writes = writes
        self._streams: dict[str, _Open] = {}
        self._lock = threading.Lock()
        # Last, because it calls server_close() if the port can't be used.
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://{HOST}:{self.server_address[1]}"

    def server_close(self) -> None:
        """Stop, and roll back what is open."""
        super().server_close()
        with self._lock:
            left = list(self._streams.values())
            self._streams.clear()
        for one in left:
            _close(one.stream)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has gone."""

    def pipeline(self, body: Any) -> dict[str, Any]:
        """Answer the body of a pipeline request."""
        requests = body["requests"]
        with self._stream(body.get("baton")) as (stream, following):
            baton: str | None = following
            results: list[dict[str, Any]] = []
            for request in requests:
                results.append(stream.answer(request))
                if isinstance(request, dict) and request.get("type") == "close":
                    baton = None
                    break
            results += [
                {"type": "error", "error": error_of(Refusal("The stream is closed."))}
                for _ in requests[len(results) :]
            ]
            self._keep(baton, stream)
        return {"baton": baton, "base_url": None, "results": results}

    def cursor(self, body: Any) -> list[dict[str, Any]]:
        """Answer the body of a cursor request: the lines of the answer."""
        with self._stream(body.get("baton")) as (stream, baton):
            lines = [{"baton": baton, "base_url": None}, *_entries(stream, body["batch"])]
            self._keep(baton, stream)
        return lines

    @contextmanager
    def _stream(self, baton: Any) -> Iterator[tuple[Stream, str]]:
        """Yield the baton's stream, or a new one, and the next baton.

        Close the stream after an error.
        """
        self._sweep()
        if baton is None:
            stream = Stream(self._connect, writes=self._writes)
        else:
            with self._lock:
                found = self._streams.pop(baton, None) if isinstance(baton, str) else None
            if found is None:
                raise HttpError(HTTPStatus.BAD_REQUEST, "The stream has expired, or its baton is not valid.")
            stream = found.stream
        try:
            yield stream, secrets.token_urlsafe(24)
        except BaseException:
            _close(stream)
            raise

    def _keep(self, baton: str | None, stream: Stream) -> None:
        """Keep the stream under the baton until the next request.

        Without a baton, close the stream.
        """
        if baton is None:
            _close(stream)
            return
        with self._lock:
            self._streams[baton] = _Open(stream)

    def _sweep(self) -> None:
        """Close idle streams, and the one that was used longest ago if there are too many."""
        limit = time.monotonic() - IDLE
        with self._lock:
            old = [baton for baton, one in self._streams.items() if one.used < limit]
            old += list(self._streams)[: max(0, len(self._streams) - len(old) - MOST_STREAMS + 1)]
            closed = [self._streams.pop(baton) for baton in dict.fromkeys(old)]
        for one in closed:
            _close(one.stream)


def _close(stream: Stream) -> None:
    try:
        stream.close()
    except driver.Error:
        return  # The lease ends the transaction.


def _entries(stream: Stream, batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the entries of a cursor."""
    answered = stream.answer({"type": "batch", "batch": batch})
    if answered["type"] == "error":
        yield {"type": "error", "error": answered["error"]}
        return
    result = answered["response"]["result"]
    for step, (one, error) in enumerate(zip(result["step_results"], result["step_errors"], strict=True)):
        if error is not None:
            yield {"type": "step_error", "step": step, "error": error}
        if one is not None:
            yield {"type": "step_begin", "step": step, "cols": one["cols"]}
            yield from ({"type": "row", "row": row} for row in one["rows"])
            counts = {name: one[name] for name in ("affected_row_count", "last_insert_rowid")}
            yield {"type": "step_end", **counts}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE

    def log_message(self, *args: Any) -> None:
        """Log nothing: requests hold statements."""

    def do_GET(self) -> None:
        """Say which versions of the protocol there are."""
        if self.path.rstrip("/") in _VERSIONS:
            self._respond(HTTPStatus.OK, b"")
        else:
            self._respond(HTTPStatus.NOT_FOUND, b"")

    def do_POST(self) -> None:
        """Answer a pipeline or a cursor."""
        try:
            body = self._body()
            if self.path in _PIPELINES:
                self._respond(HTTPStatus.OK, _json(self.server.pipeline(body)))
            elif self.path == "/v3/cursor":
                lines = self.server.cursor(body)
                self._respond(HTTPStatus.OK, b"".join(_json(line) + b"\n" for line in lines))
            else:
                raise HttpError(HTTPStatus.NOT_FOUND, "This path is not part of the protocol.")
        except HttpError as error:
            self._fail(error.status, str(error))
        except (KeyError, TypeError, AttributeError):
            self._fail(HTTPStatus.BAD_REQUEST, "The request is not valid.")
        except driver.Error as error:
            self._fail(HTTPStatus.BAD_GATEWAY, str(error))

    def _body(self) -> Any:
        """Return the request's body, after the token was checked. Raises HttpError."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.close_connection = True
            raise HttpError(HTTPStatus.LENGTH_REQUIRED, "The request has no Content-Length.") from None
        if not 0 <= length <= LONGEST:
            self.close_connection = True
            raise HttpError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request is longer than {LONGEST:,} bytes."
            )
        if not self._is_allowed():
            self.close_connection = True
            raise HttpError(HTTPStatus.UNAUTHORIZED, "The token is not the one of this run.")
        try:
            return json.loads(self.rfile.read(length))
        except (ValueError, RecursionError) as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, "The request is not JSON.") from error

    def _is_allowed(self) -> bool:
        # A page whose host name was made to resolve to this machine has another Host.
        if self.headers.get("Host", "").rpartition(":")[0] not in _HOSTS:
            return False
        given = self.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode())

    def _fail(self, status: HTTPStatus, message: str) -> None:
        self._respond(status, _json({"message": message, "code": status.name, "error": message}))

    def _respond(self, status: HTTPStatus, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
