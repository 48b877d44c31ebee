"""The wire examples that the Worker's own tests read too, on the real Worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay_session import RelaySession

CASES = json.loads((Path(__file__).parents[2] / "worker/test/protocol-cases.json").read_text())


@pytest.fixture
def session(local_worker: Any) -> Iterator[RelaySession]:
    """An open session."""
    opened = RelaySession(local_worker.url, local_worker.token, connect_timeout=60, deadline=Deadline(60))
    yield opened
    opened.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_relay_answers_as_the_example_says(session: RelaySession, case: dict[str, Any]) -> None:
    for item in case["exchange"]:
        if "send" in item:
            session._socket.send(json.dumps(item["send"]).encode(), 60)
        if "text" in item:
            session._socket.send(item["text"].encode(), 60)
        if "expect" in item:
            assert json.loads(session._socket.recv(timeout=60)) == item["expect"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_session_turns_the_example_into_results_and_errors(
    session: RelaySession, case: dict[str, Any]
) -> None:
    pairs = [item for item in case["exchange"] if {"send", "expect"} <= item.keys() and "op" in item["send"]]
    for item in pairs:
        request = {name: value for name, value in item["send"].items() if name != "id"}
        if item["expect"]["id"] is None:
            continue
        if "error" in item["expect"]:
            expected = item["expect"]["error"]
            with pytest.raises(driver.Error, match=r"\w") as caught:
                session.request(request, Deadline(10))
            error = caught.value
            assert (error.kind, error.effect, error.step) == (
                expected["kind"],
                expected["effect"],
                expected.get("step"),
            )
        else:
            answers = session.request(request, Deadline(10))
            results = item["expect"]["results"]
            assert [answer.rows for answer in answers] == [result.get("rows", []) for result in results]
            assert [answer.columns for answer in answers] == [result.get("columns", []) for result in results]
            assert [answer.changes for answer in answers] == [result.get("changes") for result in results]


def test_a_session_goes_on_after_a_ping(session: RelaySession) -> None:
    assert session.request({"op": "ping"}, Deadline(10)) == []
    assert session.usable
