"""One WebSocket session with the relay: opens it, exchanges frames, notices when it is lost."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

# Bound here, so that a test that replaces time.monotonic() for its own code does not reach ours.
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.http11 import Response
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from do_bridge.version import __version__

from .exceptions import DataError, InterfaceError, OperationalError, error_from
from .secret import Secret, without_frames
from .sql import Statement
from .transport import Answer, Deadline, Step, is_on_this_machine, retry_after
from .trips import trip

USER_AGENT: Final = f"do-bridge/{__version__}"
_SUBPROTOCOL: Final = Subprotocol("do-bridge.v1")
_CLOSE_TIMEOUT: Final = 1.0
_LARGEST_ANSWER: Final = 128 * 2**20
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DEFAULT_MAX_MESSAGE: Final = 1_000_000
_DEFAULT_LIMIT: Final = 9_000
_DEFAULT_SECONDS: Final = 3600
# Of its time the session leaves the rest unused, so that the relay has nothing to refuse.
_USED_TIME: Final = 0.9
# So much the system takes at once on a connection that waits for nothing.
_SENT_AT_ONCE: Final = 16_384

# The library's own logger shows the headers of the handshake, and so the token, at DEBUG.
_quiet = logging.getLogger("do_bridge.driver.websocket")
_quiet.setLevel(logging.INFO)


class RelaySession:
    """A session; it serves one request at a time and belongs to the process that opened it.

    ``place``, ``holders``, ``holder`` and ``retired`` are the pool's: the room that it takes there, how many
    transactions and calls use it, the thread whose they are, and whether it is to be closed once none does.
    """

    def __init__(self, url: str, token: str, *, connect_timeout: float, deadline: Deadline) -> None:
        """Open the session; raises OperationalError or InterfaceError, always with the effect ``none``."""
        self.pid = os.getpid()
        self.place: object = None
        self.holders = 0
        self.holder: threading.Thread | None = None
        self.retired = False
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._last_id = 0
        self._used = 0
        self._transactions = 0
        self._cut = False
        self._socket = self._open(url, token, min(connect_timeout, max(deadline.remaining(), 0.001)))
        headers = self._socket.response.headers if self._socket.response else {}
        self._limit = _header(headers.get("do-bridge-session-limit"), _DEFAULT_LIMIT)
        self.knows_keys = headers.get("do-bridge-keys") == "1"
        self.seconds = _header(headers.get("do-bridge-session-seconds"), _DEFAULT_SECONDS)
        self._expires = monotonic() + self.seconds * _USED_TIME
        self.max_message = _header(headers.get("do-bridge-max-message"), _DEFAULT_MAX_MESSAGE)

    def __del__(self) -> None:
        # One that nobody gave back, because its holder was interrupted.
        if hasattr(self, "_socket"):
            self.abort()

    def __repr__(self) -> str:
        # A traceback shows one whose opening has failed, too.
        return f"<RelaySession {'open' if hasattr(self, '_socket') and self.usable else 'closed'}>"

    @property
    def limit(self) -> int:
        """The number of subrequests after which the relay begins nothing more in this session."""
        return self._limit

    @property
    def usable(self) -> bool:
        """Whether the session is this process's and not known to be closed."""
        return self.pid == os.getpid() and not self._cut and self._socket.state is State.OPEN

    @property
    def busy(self) -> bool:
        """Whether a request is on its way."""
        return self._lock.locked()

    @property
    def exhausted(self) -> bool:
        """Whether a new session is to be opened before more is begun."""
        return self.retired or self._used >= self._limit or monotonic() >= self._expires

    def new_transaction_name(self) -> str:
        """Return a name that this session has not used."""
        self._transactions += 1
        return f"t{self._transactions}"

    def request(self, message: dict[str, Any], deadline: Deadline) -> list[Answer]:
        """Send one request and return its results.

        Raises the driver's exceptions; the effect ``none`` says that the request certainly did not run.
        A session that did not answer in time is closed, and its open transactions are rolled back with it.
        """
        if self.pid != os.getpid():
            raise OperationalError(
                "The relay session was opened before this process was forked", effect="none"
            )
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise OperationalError("The relay session was busy until the time was over", effect="none")
        try:
            answer = self._exchange(message, deadline)
        finally:
            self._lock.release()
        if "error" in answer:
            error = answer["error"]
            if error["kind"] == "session_limit":
                self.retired = True
            raise error_from(
                str(error.get("message", "")),
                kind=error["kind"],
                effect=error.get("effect", "unknown"),
                step=error.get("step"),
                found=error.get("found"),
            )
        return [_answer(result) for result in answer["results"]]

    def close(self) -> None:
        """Say goodbye and close; nothing happens in a process that did not open the session."""
        if self.pid == os.getpid() and not self._cut:
            self._stack.close()

    def abort(self) -> None:
        """Cut the connection, so that the relay notices at once and rolls back what is open.

        The library's own thread sees the end and closes the rest. It is not waited for: a call that was
        interrupted in the library holds its lock for as long as the exception is on its way.
        """
        if self.pid == os.getpid():
            self._cut = True
            with contextlib.suppress(OSError):
                # By a TLS socket's own method a send that is under way would go on in clear text.
                socket.socket.shutdown(self._socket.socket, socket.SHUT_RDWR)

    def _open(self, url: str, token: str, timeout: float) -> ClientConnection:
        where = shown(url)
        try:
            opened = self._stack.enter_context(
                connect(
                    _session_url(url),
                    additional_headers={"Authorization": Secret(f"Bearer {token}")},
                    # Rules before a Worker may refuse those of well-known libraries.
                    user_agent_header=USER_AGENT,
                    subprotocols=[_SUBPROTOCOL],
                    compression=None,
                    max_size=_LARGEST_ANSWER,
                    open_timeout=timeout,
                    close_timeout=_CLOSE_TIMEOUT,
                    # The environment's, but for the developer's own Worker: make run behind a proxy.
                    proxy=None if is_on_this_machine(url) else True,
                    logger=_quiet,
                )
            )
        except InvalidStatus as error:
            raise _refused(error.response, where) from without_frames(error)
        except TimeoutError as error:
            text = f"The relay at {where} did not answer within {timeout:.1f} seconds; check RELAY_URL"
            raise OperationalError(text, effect="none", transient=True) from without_frames(error)
        except ssl.SSLError as error:
            text = (
                f"TLS with the relay at {where} failed ({error.reason}); check RELAY_URL and the certificates"
            )
            raise OperationalError(text, effect="none") from without_frames(error)
        except (InvalidURI, ValueError) as error:
            if isinstance(error.__context__, InvalidStatus):
                # The library has followed a redirect to what is no WebSocket's address.
                raise _refused(error.__context__.response, where) from without_frames(error)
            raise InterfaceError(f"RELAY_URL is no URL: {where}", effect="none") from without_frames(error)
        except (OSError, WebSocketException, EOFError, RuntimeError) as error:
            # Of these the last comes where no thread can be started.
            text = f"The relay at {where} could not be reached ({_reason(error)}); check RELAY_URL"
            raise OperationalError(text, effect="none", transient=True) from without_frames(error)
        if opened.subprotocol != _SUBPROTOCOL:
            self._stack.close()
            raise InterfaceError(
                f"What answers at {where} is no do_bridge relay; check RELAY_URL", effect="none"
            )
        return opened

    def _exchange(self, message: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        self._last_id += 1
        data = _encode({"id": self._last_id, **message}).encode()
        if len(data) > self.max_message:
            raise DataError(
                f"The request has {len(data)} bytes and the relay takes {self.max_message}; cut the work",
                kind="too_large",
                effect="none",
            )
        if not self.usable:
            raise OperationalError(
                "The connection to the relay was closed", effect="none", transient=True, retry_after=0.0
            )
        if not deadline.remaining():
            # Sent all the same it would run unheard, and cost the session and whatever is open in it.
            raise OperationalError(
                f"The {deadline.seconds:g} seconds were over before the request was sent", effect="none"
            )
        trip()
        self._used += _cost(message)
        try:
            with self._cut_at(deadline, len(data)):
                self._socket.send(data, text=True)
            return self._receive(self._last_id, deadline)
        except ConnectionClosed as error:
            if self._cut:
                raise _silent(deadline) from error
            text = "The connection to the relay was lost before its answer came"
            raise OperationalError(text, effect="unknown", transient=True) from error
        except TimeoutError as error:
            self.abort()
            raise _silent(deadline) from error
        except BaseException:
            # An answer that nobody takes would be taken for the next request's.
            self.abort()
            raise

    def _receive(self, request_id: int, deadline: Deadline) -> dict[str, Any]:
        while True:
            left = deadline.remaining()
            if not left:
                raise TimeoutError
            answer = json.loads(self._socket.recv(timeout=left))
            if answer.get("id") in (request_id, None):
                return answer  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def _cut_at(self, deadline: Deadline, size: int) -> Iterator[None]:
        """End a send that a peer which takes nothing, or little at a time, would keep beyond the deadline.

        No time limit of the socket does: OpenSSL tries again after it, and it would count for each piece.
        """
        if size <= _SENT_AT_ONCE:
            yield
            return
        watch = threading.Timer(deadline.remaining(), self.abort)
        watch.daemon = True
        try:
            watch.start()
        except RuntimeError as error:
            text = f"The request was not sent: nothing could end it in time ({error})"
            raise OperationalError(text, effect="none") from error
        try:
            yield
        finally:
            watch.cancel()


def wire_steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps as the protocol writes them."""
    return [_wire_step(step) for step in steps]


def shown(url: str) -> str:
    """Return the URL without what may be secret: user, password, query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no address)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _wire_step(step: Step) -> dict[str, Any]:
    if isinstance(step, Statement):
        wire: dict[str, Any] = {"sql": step.sql}
        if step.params:
            wire["params"] = step.params
        if step.shape.counted:
            wire["count"] = True
        if step.metered:
            wire["meter"] = True
        return wire
    return {step.verb: step.name or True, **({"key": step.key} if step.key else {})}


def _session_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/v1/session", "", ""))


def _refused(response: Response, where: str) -> OperationalError | InterfaceError:
    status = response.status_code
    # Others than the relay answer by that status, too: the edge before it, when a Worker is over its limits.
    unready = status == 503 and b"RELAY_TOKEN" in (response.body or b"")
    if status == 400:
        text = f"The relay at {where} speaks another version of the protocol; deploy this version's Worker"
        return InterfaceError(text, effect="none", http_status=status)
    texts = {
        401: f"The relay at {where} refused the token (HTTP 401): RELAY_TOKEN must be one of the Worker's",
        403: f"Access to the relay at {where} is forbidden (HTTP 403); check what stands before it",
        404: f"There is no relay at {where} (HTTP 404); check RELAY_URL",
        429: f"The relay at {where} takes no more connections for now (HTTP 429); open fewer sessions",
    }
    text = texts.get(status, f"The relay at {where} answered with HTTP {status}")
    if unready:
        text = f"The relay at {where} is not ready (HTTP 503): its secret RELAY_TOKEN is not set or too short"
    elif 300 <= status < 400:
        text = f"{where} leads elsewhere (HTTP {status}); RELAY_URL must be the address of the relay itself"
    transient = status == 429 or (status >= 500 and not unready)
    kind = "unauthorized" if status in (401, 403) else "rate_limited" if status == 429 else None
    return OperationalError(
        text,
        kind=kind,
        effect="none",
        http_status=status,
        transient=transient,
        retry_after=retry_after(response.headers.get("retry-after")) if transient else None,
    )


def _silent(deadline: Deadline) -> OperationalError:
    return OperationalError(f"The relay did not answer within {deadline.seconds:g} seconds", effect="unknown")


def _reason(error: Exception) -> str:
    if isinstance(error, RuntimeError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _cost(message: dict[str, Any]) -> int:
    """Return how many of the Worker's subrequests a request may take."""
    if message.get("begin"):
        return 2
    return len(message.get("steps", ())) or 1 if str(message.get("db")).startswith("d1:") else 1


def _header(value: str | None, default: int) -> int:
    return int(value) if value and value.isdecimal() else default


def _answer(result: dict[str, Any]) -> Answer:
    return Answer(
        result.get("columns", []),
        result.get("rows", []),
        result.get("changes"),
        result.get("last_row_id"),
        result.get("rows_read"),
        result.get("rows_written"),
    )
