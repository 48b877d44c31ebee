"""One WebSocket session with the relay.

It opens the session, exchanges frames and detects its loss.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import ssl
import threading
from collections.abc import Iterator, Sequence

# Bound here, so that a test that replaces time.monotonic() for its own code does not reach ours.
from time import monotonic
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.http11 import Response
from websockets.protocol import State
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from do_bridge.driver.exceptions import DatabaseError, Error, InterfaceError, OperationalError
from do_bridge.driver.transport import Answer, Deadline, is_on_this_machine
from do_bridge.driver.trips import trip
from do_bridge.version import __version__

from .frames import Frame, answers_of, read_frame
from .relay_errors import busy, older_than_places, refused, silent, too_large
from .relay_socket import SENT_AT_ONCE, RelaySocket
from .secret import Secret, without_frames
from .wire import session_url, shown

USER_AGENT: Final = f"do-bridge/{__version__}"
_SUBPROTOCOL: Final = Subprotocol("do-bridge.v1")
_CLOSE_TIMEOUT: Final = 1.0
_LARGEST_ANSWER: Final = 128 * 2**20
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DEFAULT_MAX_MESSAGE: Final = 1_000_000
_DEFAULT_LIMIT: Final = 9_000
_DEFAULT_SECONDS: Final = 3600
# Seconds of the session's time that stay unused, so that the relay has nothing to refuse.
_USED_TIME: Final = 0.9

_logger = logging.getLogger("do_bridge.driver")
# At DEBUG the library's own logger shows the headers of the handshake, and with them the token.
_quiet = logging.getLogger("do_bridge.driver.websocket")
_quiet.setLevel(logging.INFO)


class RelaySession:
    """A relay session, which serves one request at a time.

    It belongs to the process that opened it. ``place``, ``holders``, ``holder`` and ``retired`` belong to the
    pool: its room there, the number of transactions and calls that use it, their thread, and whether to close
    it after the last one. After ``limit`` subrequests the relay starts no more work in the session.
    """

    def __init__(self, url: str, token: str, *, connect_timeout: float, deadline: Deadline) -> None:
        """Open the session.

        Raises OperationalError or InterfaceError, always with the effect ``none``.
        """
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
        self.limit = _header(headers.get("do-bridge-session-limit"), _DEFAULT_LIMIT)
        self.knows_keys = headers.get("do-bridge-keys") == "1"
        self.knows_places = headers.get("do-bridge-places") == "1"
        self.knows_d1_sessions = headers.get("do-bridge-d1-sessions") == "1"
        self._is_warned = False
        self.seconds = _header(headers.get("do-bridge-session-seconds"), _DEFAULT_SECONDS)
        self._expires = monotonic() + self.seconds * _USED_TIME
        self.max_message = _header(headers.get("do-bridge-max-message"), _DEFAULT_MAX_MESSAGE)

    def __del__(self) -> None:
        # A session that was never released, because its holder was interrupted.
        if hasattr(self, "_socket") and self.pid == os.getpid():
            self._socket.close_socket()

    def __repr__(self) -> str:
        # A traceback shows a session even if opening it failed.
        return f"<RelaySession {'open' if hasattr(self, '_socket') and self.usable else 'closed'}>"

    @property
    def usable(self) -> bool:
        """Whether the session belongs to this process and is not known to be closed."""
        return self.pid == os.getpid() and not self._cut and self._socket.state is State.OPEN

    @property
    def busy(self) -> bool:
        """Whether a request is on its way."""
        return self._lock.locked()

    @property
    def exhausted(self) -> bool:
        """Whether a new session has to be opened before more work begins."""
        return self.retired or self._used >= self.limit or monotonic() >= self._expires

    @property
    def is_running_out(self) -> bool:
        """Whether its successor should be opened."""
        late = self._expires - self.seconds * (1 - _USED_TIME)
        return self.exhausted or self._used >= self.limit * _USED_TIME or monotonic() >= late

    def new_transaction_name(self) -> str:
        """Return a name that this session has not used."""
        self._transactions += 1
        return f"t{self._transactions}"

    def request(self, message: Frame, deadline: Deadline) -> list[Answer]:
        """Send one request and return its results.

        Raises the driver's exceptions; the effect ``none`` means that the request did not run. A session
        that did not answer in time is closed, which rolls back its open transactions.
        """
        answers = self.request_all([message], deadline)[0]
        if isinstance(answers, Exception):
            raise answers
        return answers

    def request_all(self, messages: Sequence[Frame], deadline: Deadline) -> list[list[Answer] | Error]:
        """Send independent requests in one round trip.

        Return the results or the error of each. Raises what concerns the session as a whole, as ``request``
        does.
        """
        if self.pid != os.getpid():
            raise OperationalError(
                "The relay session was opened before this process was forked. Open a connection in "
                "each process",
                effect="none",
            )
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise busy()
        try:
            answers = self._exchange(messages, deadline)
        finally:
            self._lock.release()
        return [self._results(answer, message) for answer, message in zip(answers, messages, strict=True)]

    def post(self, message: Frame, deadline: Deadline) -> None:
        """Send a request and skip its answer, which costs no round trip.

        Raises as ``request`` does.
        """
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise busy()
        try:
            self._refuse_unusable(deadline)
            self._last_id += 1
            self._used += _cost(message)
            data = _encode({"id": self._last_id, **message}).encode()
            self._socket.send(data, deadline.remaining())
        except (ConnectionClosed, OSError) as error:
            raise OperationalError("The connection to the relay was lost", effect="unknown") from error
        except BaseException:
            # Half of it may have been sent.
            self.abort()
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Send a close frame and close the session.

        Do nothing in a process that did not open it.
        """
        if self.pid != os.getpid():
            return
        if not self._lock.acquire(blocking=False):
            # A call reads in another thread, or was interrupted by the signal's handler that calls this.
            self._socket.cut()
            return
        try:
            if self._cut:
                self._socket.close_socket()
            else:
                self._stack.close()
        finally:
            self._lock.release()

    def abort(self) -> None:
        """Cut the connection, so that the relay rolls back at once whatever is open.

        The last holder closes the rest.
        """
        if self.pid == os.getpid():
            self._cut = True
            self._socket.cut()

    def catch_up(self) -> None:
        """Take what the relay has sent since the last call, without waiting.

        A session that another thread closes, or that a call uses, stays as it is.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._socket.catch_up()
            finally:
                self._lock.release()

    def keep_alive(self) -> None:
        """Ping the relay for an idle session; see ``RelaySocket.keep_alive``."""
        self._socket.keep_alive()

    def _open(self, url: str, token: str, timeout: float) -> RelaySocket:
        where = shown(url)
        try:
            opened: Any = self._stack.enter_context(
                connect(
                    session_url(url),
                    additional_headers={"Authorization": Secret(f"Bearer {token}")},
                    # Firewall rules in front of a Worker may refuse the user agents of well-known libraries.
                    user_agent_header=USER_AGENT,
                    subprotocols=[_SUBPROTOCOL],
                    compression=None,
                    max_size=_LARGEST_ANSWER,
                    open_timeout=timeout,
                    close_timeout=_CLOSE_TIMEOUT,
                    # Use the environment's proxy, except for the developer's own Worker.
                    proxy=None if is_on_this_machine(url) else True,
                    logger=_quiet,
                    create_connection=RelaySocket,  # type: ignore[arg-type]
                )
            )
        except InvalidStatus as error:
            raise _refused(error.response, where) from without_frames(error)
        except TimeoutError as error:
            text = (
                f"The relay at {where} did not answer within {timeout:.1f} seconds. Check RELAY_URL "
                "and the network"
            )
            raise OperationalError(text, effect="none", transient=True) from without_frames(error)
        except ssl.SSLError as error:
            text = (
                f"TLS with the relay at {where} failed ({error.reason}). Check RELAY_URL and the certificates"
            )
            raise OperationalError(text, effect="none") from without_frames(error)
        except (InvalidURI, ValueError) as error:
            if isinstance(error.__context__, InvalidStatus):
                # The library followed a redirect to an address that is not a WebSocket's.
                raise _refused(error.__context__.response, where) from without_frames(error)
            raise InterfaceError(
                f"RELAY_URL is not a valid address: {where}. It begins with https:// or http://",
                effect="none",
            ) from without_frames(error)
        except (OSError, WebSocketException, EOFError) as error:
            text = (
                f"The relay at {where} could not be reached ({_reason(error)}). Check RELAY_URL, and "
                "that the Worker runs"
            )
            raise OperationalError(text, effect="none", transient=True) from without_frames(error)
        if opened.subprotocol != _SUBPROTOCOL:
            self._stack.close()
            raise InterfaceError(
                f"The server at {where} is not a do_bridge relay. Set RELAY_URL to the address of the Worker",
                effect="none",
            )
        return opened  # type: ignore[no-any-return]

    def _results(self, answer: Frame | Error, message: Frame) -> list[Answer] | Error:
        results = answer if isinstance(answer, Error) else answers_of(answer, message)
        if isinstance(results, Error) and results.kind == "session_limit":
            self.retired = True
        if isinstance(results, Error) and results.kind is None:
            # After an answer that cannot be read, a transaction may still be open.
            self.abort()
        return results

    def _exchange(self, messages: Sequence[Frame], deadline: Deadline) -> list[Frame | DatabaseError]:
        """Send the messages and return the answer to each.

        A message that the relay cannot accept is not sent. Its answer is the error.
        """
        answers: list[Frame | DatabaseError | None] = [None] * len(messages)
        frames: dict[int, bytes] = {}
        places: dict[int, int] = {}
        for place, message in enumerate(messages):
            self._last_id += 1
            data = _encode({"id": self._last_id, **message}).encode()
            if "session" in message and not self.knows_d1_sessions:
                self._warn_of_its_age()
            if not self.knows_places and "@" in str(message.get("db")):
                answers[place] = older_than_places(message["db"])
            elif len(data) > self.max_message:
                answers[place] = too_large(len(data), self.max_message)
            else:
                frames[self._last_id], places[self._last_id] = data, place
        if frames:
            self._refuse_unusable(deadline)
            trip()
            self._used += sum(_cost(messages[place]) for place in places.values())
            for number, answer in self._send_and_receive(frames, deadline).items():
                answers[places[number]] = answer
        return [answer for answer in answers if answer is not None]

    def _warn_of_its_age(self) -> None:
        if not self._is_warned:
            self._is_warned = True
            _logger.warning(
                "The relay is older than the package and does not know sessions of D1. Read replicas are not "
                "used. Run `manage.py relay deploy`."
            )

    def _refuse_unusable(self, deadline: Deadline) -> None:
        if not self.usable:
            raise OperationalError(
                "The connection to the relay was closed", effect="none", transient=True, retry_after=0.0
            )
        if not deadline.remaining():
            # Sent after the deadline it would run unseen, and cost the session and its open transactions.
            raise OperationalError(
                f"The {deadline.seconds:g} seconds of the timeout passed before the request was sent",
                effect="none",
            )

    def _send_and_receive(self, frames: dict[int, bytes], deadline: Deadline) -> dict[int, Frame]:
        answers: dict[int, Frame] = {}
        try:
            for data in frames.values():
                with self._cut_at(deadline, len(data)):
                    self._socket.send(data, deadline.remaining())
            while len(answers) < len(frames):
                answer = self._receive(deadline)
                number = answer.get("id")
                if number is None:
                    # The relay could not read a frame, and answers its frames in any order.
                    number = next(waiting for waiting in frames if waiting not in answers)
                if number in frames:
                    answers[number] = answer
            return answers
        except ConnectionClosed as error:
            if self._cut:
                raise silent(deadline) from error
            text = "The connection to the relay was lost before its answer came"
            raise OperationalError(text, effect="unknown", transient=True) from error
        except TimeoutError as error:
            self.abort()
            raise silent(deadline) from error
        except BaseException:
            # An unread answer would be taken for the next request's.
            self.abort()
            raise

    def _receive(self, deadline: Deadline) -> Frame:
        left = deadline.remaining()
        if not left:
            raise TimeoutError
        return read_frame(self._socket.recv(timeout=left))

    @contextlib.contextmanager
    def _cut_at(self, deadline: Deadline, size: int) -> Iterator[None]:
        """End a send that a slow or stalled peer would keep beyond the deadline.

        The socket's own timeout does not: OpenSSL tries again after it, and it would count for each chunk.
        """
        if size <= SENT_AT_ONCE:
            yield
            return
        watch = threading.Timer(deadline.remaining(), self.abort)
        watch.daemon = True
        try:
            watch.start()
        except RuntimeError as error:
            text = f"The request was not sent, because no thread could be started to limit its time ({error})"
            raise OperationalError(text, effect="none") from error
        try:
            yield
        finally:
            watch.cancel()


def _refused(response: Response, where: str) -> OperationalError | InterfaceError:
    return refused(
        response.status_code, bytes(response.body or b""), response.headers.get("retry-after"), where
    )


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _cost(message: Frame) -> int:
    """Return how many of the Worker's subrequests a request may use."""
    if message.get("begin"):
        return 2
    return len(message.get("steps", ())) or 1 if str(message.get("db")).startswith("d1:") else 1


def _header(value: str | None, default: int) -> int:
    return int(value) if value and value.isdecimal() else default
