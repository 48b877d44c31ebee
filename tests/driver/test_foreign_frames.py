"""Frames that no relay sends, from a server that stands in for a broken one."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

_quiet = logging.getLogger("do_bridge.tests.broken_relay")
_quiet.disabled = True

Reply = Callable[[dict[str, Any]], str | bytes]

#: Without its braces, because the answer's id comes before.
BODIES = {
    "nothing at all": "",
    "results that are no list": ', "results": {"a": 1}',
    "results without an object": ', "results": [1]',
    "fewer results than steps": ', "results": []',
    "rows that are no list": ', "results": [{"columns": ["a"], "rows": 5}]',
    "a row that is no list": ', "results": [{"columns": ["a"], "rows": [7]}]',
    "a count that is no number": ', "results": [{"changes": "many", "rows": []}]',
    "an error that is a text": ', "error": "no"',
    "an error of no kind": ', "error": {"message": "no"}',
    "an error of an odd kind": ', "error": {"kind": ["sql"], "message": "no"}',
    "an error with an odd effect": ', "error": {"kind": "sql", "effect": 5, "step": "x"}',
    "a session that is a text": ', "session": "s", "results": [{"rows": []}]',
}
FRAMES: dict[str, Reply] = {
    "no JSON": lambda asked: "<html>",
    "half of a JSON": lambda asked: f'{{"id": {asked["id"]}, "results": [',
    "a list": lambda asked: "[]",
    "a number": lambda asked: "1",
    "an id that is a list": lambda asked: '{"id": [], "results": []}',
    "bytes that are no text": lambda asked: b"\xff\xfe",
    "deep nesting": lambda asked: "[" * 100_000,
}


def _with(body: str) -> Reply:
    return lambda asked: f'{{"id": {asked["id"]}{body}}}'


@pytest.fixture
def answering() -> Iterator[Callable[[Reply], RelayTransport]]:
    """Starts a stand-in that answers every request in one way; returns the transport to it."""
    started: list[tuple[Server, RelayTransport]] = []

    def start(reply: Reply) -> RelayTransport:
        def handle(connection: ServerConnection) -> None:
            for message in connection:
                connection.send(reply(json.loads(message)))

        protocols = [Subprotocol("do-bridge.v1")]
        server = serve(handle, "127.0.0.1", 0, subprotocols=protocols, logger=_quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        transport = RelayTransport(f"http://127.0.0.1:{server.socket.getsockname()[1]}", "t" * 32)
        started.append((server, transport))
        return transport

    yield start
    for server, transport in started:
        transport.close()
        server.shutdown()


REPLIES = FRAMES | {name: _with(body) for name, body in BODIES.items()}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("sql", ["SELECT 1 AS a", "INSERT INTO t VALUES (1)"], ids=["read", "write"])
def test_a_frame_of_a_broken_stand_in_is_an_error_of_the_driver(
    answering: Callable[[Reply], RelayTransport], reply: Reply, sql: str
) -> None:
    with driver.connect(answering(reply), "do:test/frames", timeout=3) as connection:
        with pytest.raises(driver.Error, match="cannot be read") as caught:
            connection.execute(sql).fetchall()
        assert caught.value.effect == "unknown"


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_a_commit_that_a_broken_stand_in_answers_has_an_unknown_outcome(
    answering: Callable[[Reply], RelayTransport], reply: Reply
) -> None:
    def answer(asked: dict[str, Any]) -> str | bytes:
        is_plain = asked["op"] == "tx" and "commit" not in asked["steps"][-1]
        return f'{{"id": {asked["id"]}, "results": [{{"rows": []}}]}}' if is_plain else reply(asked)

    with driver.connect(answering(answer), "do:test/frames", timeout=3) as connection:
        connection.begin()
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(driver.Error, match="outcome of the commit is unknown") as caught:
            connection.commit()
        assert caught.value.effect == "unknown"


@pytest.mark.parametrize("body", [', "results": []', ', "results": [{"columns": ["size"], "rows": []}]'])
def test_a_question_that_a_broken_stand_in_leaves_open_is_an_error_of_the_driver(
    answering: Callable[[Reply], RelayTransport], body: str
) -> None:
    with driver.connect(answering(_with(body)), "do:test/frames", timeout=3) as connection:
        for ask in (connection.size, connection.erase, connection.bookmark):
            with pytest.raises(driver.OperationalError, match="cannot be read"):
                ask()


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_a_transaction_ends_with_the_session_of_a_broken_stand_in(
    answering: Callable[[Reply], RelayTransport], reply: Reply
) -> None:
    """Whoever gets the session next would find the transaction open."""

    def answer(asked: dict[str, Any]) -> str | bytes:
        return f'{{"id": {asked["id"]}, "results": [{{"rows": []}}]}}' if "begin" in asked else reply(asked)

    transport = answering(answer)
    with driver.connect(transport, "do:test/frames", timeout=3) as connection:
        connection.begin()
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(driver.OperationalError, match="cannot be read.*has been rolled back") as caught:
            connection.execute("INSERT INTO t VALUES (2)")
        assert caught.value.effect == "ended"
        assert transport.pool.counts() == (0, 0)
