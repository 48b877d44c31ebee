"""What the driver repeats when the relay answers with an error: what did not run, and reads; nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from do_bridge import driver
from do_bridge.driver.transport import _pause
from do_bridge.driver.transports.relay import RelayTransport

READ, WRITE = "SELECT 1", "INSERT INTO item VALUES (1)"
D1, OBJECT = "d1:somewhere", "do:somewhere"
DONE = {"results": [{"columns": ["1"], "rows": [[1]], "changes": 1, "last_row_id": 1}]}
# Errors that no local runtime can be brought to; what it can be brought to is tried on the runtime itself.
PASSES = ("retry", "reset")
STAYS = ("overloaded", "internal", "sql", "too_large", "unsupported")


class Relay:
    """Speaks the protocol, answers each first question with an error and each later one with success."""

    def __init__(self) -> None:
        self.error: dict[str, Any] = {}
        self.failures = 1
        self.asked: list[dict[str, Any]] = []

    def talk(self, socket: ServerConnection) -> None:
        for text in socket:
            frame = json.loads(text)
            self.asked.append(frame)
            failed = len(self.asked) <= self.failures
            socket.send(json.dumps({"id": frame["id"], **({"error": self.error} if failed else DONE)}))

    def fail(self, kind: str, effect: str, times: int = 1) -> None:
        """Answer so many times with this error."""
        self.error = {"kind": kind, "message": "said so", "effect": effect}
        self.failures = times
        self.asked.clear()


@pytest.fixture
def relay() -> Relay:
    """What the relay shall say, and what it was asked."""
    return Relay()


@pytest.fixture
def server(relay: Relay) -> Iterator[Server]:
    """That relay on a port."""
    with serve(relay.talk, "127.0.0.1", 0, subprotocols=["do-bridge.v1"], compression=None) as made:  # type: ignore[list-item]
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def transport(server: Server) -> Iterator[RelayTransport]:
    """A transport to it."""
    made = RelayTransport(f"http://127.0.0.1:{server.socket.getsockname()[1]}", "t" * 40)
    yield made
    made.close()


def ask(transport: RelayTransport, database: str, sql: str, timeout: float = 5) -> driver.Error | None:
    """Run one statement; returns its error."""
    try:
        with driver.connect(transport, database, timeout=timeout) as connection:
            connection.execute(sql)
    except driver.Error as error:
        return error
    return None


@pytest.mark.parametrize("database", [D1, OBJECT])
@pytest.mark.parametrize("kind", PASSES)
def test_a_read_is_asked_again_after_what_may_pass(
    transport: RelayTransport, relay: Relay, database: str, kind: str
) -> None:
    relay.fail(kind, "unknown")
    assert ask(transport, database, READ) is None
    assert len(relay.asked) == 2


@pytest.mark.parametrize("database", [D1, OBJECT])
@pytest.mark.parametrize("kind", STAYS)
def test_a_read_is_asked_once_where_a_repetition_would_not_help_or_would_harm(
    transport: RelayTransport, relay: Relay, database: str, kind: str
) -> None:
    relay.fail(kind, "none")
    error = ask(transport, database, READ)
    assert error is not None
    assert error.kind == kind
    assert len(relay.asked) == 1
    assert ask(transport, database, READ) is None


# An object keeps idempotency keys and is asked for the outcome: tests/driver/test_lost_writes.py.
@pytest.mark.parametrize("database", [D1])
@pytest.mark.parametrize("kind", [*PASSES, "internal"])
def test_a_write_that_may_have_happened_is_sent_once_and_its_caller_told(
    transport: RelayTransport, relay: Relay, database: str, kind: str
) -> None:
    relay.fail(kind, "unknown")
    error = ask(transport, database, WRITE)
    assert error is not None
    assert error.effect == "unknown"
    assert "The outcome of the write is unknown" in str(error)
    assert len(relay.asked) == 1


@pytest.mark.parametrize("sql", [READ, WRITE])
def test_what_certainly_did_not_run_is_sent_again(transport: RelayTransport, relay: Relay, sql: str) -> None:
    for kind in (*PASSES, "session_limit"):
        relay.fail(kind, "none")
        assert ask(transport, D1, sql) is None
        assert len(relay.asked) == 2


def test_a_read_is_repeated_within_its_deadline_alone(transport: RelayTransport, relay: Relay) -> None:
    relay.fail("retry", "unknown", times=99)
    error = ask(transport, D1, READ, timeout=0.04)
    assert isinstance(error, driver.OperationalError)
    # The first pause is 50 ms at least, more than there is.
    assert len(relay.asked) == 1
    relay.fail("retry", "unknown", times=99)
    assert isinstance(ask(transport, D1, READ, timeout=20), driver.OperationalError)
    assert len(relay.asked) == 5


def test_pauses_grow_to_two_seconds_and_no_two_clients_keep_step() -> None:
    for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (5, 1.6), (6, 2.0), (99, 2.0)):
        pauses = {_pause(attempt) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
        assert len(pauses) > 40


@pytest.mark.parametrize("sql", [READ, WRITE])
def test_a_step_of_an_open_transaction_is_never_repeated(
    transport: RelayTransport, relay: Relay, sql: str
) -> None:
    with driver.connect(transport, OBJECT) as connection:
        relay.failures = 0
        connection.begin()
        connection.execute(READ)
        relay.fail("retry", "ended")
        with pytest.raises(driver.OperationalError, match="The runtime failed for"):
            connection.execute(sql)
        assert len(relay.asked) == 1
        connection.rollback()
