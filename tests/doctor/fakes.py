"""Wrong answers: what really came from workerd, changed on its way into the driver or the doctor.

The real platform gives no wrong answers on demand; everything else about these tests is real.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from do_bridge.doctor import relay as doctor_relay
from do_bridge.doctor import web
from do_bridge.driver import Error, OperationalError
from do_bridge.driver.transport import Answer
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.driver.transports.rest import RestTransport

#: What a call brought: answers, a reply, a session's terms, or an error.
Outcome = Any
Change = Callable[[Outcome], Outcome]


class FakeAnswers:
    """Counts calls, and gives the outcome of the one at `at` to `change`, which returns another one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.fails_at: int | None = None
        self.change: Change = lambda outcome: outcome
        self.calls: list[tuple[Any, Outcome]] = []
        real_request, real_ask = RelaySession.request, RestTransport._ask
        real_http, real_open = web.request, doctor_relay.Relay.open

        def request(session: RelaySession, message: dict[str, Any], deadline: Any) -> list[Answer]:
            return self._seen(message, lambda: real_request(session, message, deadline))

        def ask(transport: Any, url: str, statements: Any, deadline: Any) -> list[Answer]:
            return self._seen({"sql": statements}, lambda: real_ask(transport, url, statements, deadline))

        def http(url: str, **options: Any) -> web.Reply:
            return self._seen({"url": url}, lambda: real_http(url, **options))

        def open_(relay: doctor_relay.Relay, token: str) -> Any:
            return self._seen({"open": True}, lambda: real_open(relay, token))

        monkeypatch.setattr(RelaySession, "request", request)
        monkeypatch.setattr(RestTransport, "_ask", ask)
        monkeypatch.setattr(doctor_relay, "request", http)
        monkeypatch.setattr(doctor_relay.Relay, "open", open_)

    def begin(self, at: int | None = None, change: Change | None = None) -> None:
        """Count from the start; change the call `at`, or each one where it is None."""
        self.calls, self.at, self.fails_at = [], at, None
        self.change = change or (lambda outcome: outcome)

    def fail(self, at: int) -> None:
        """Let the call `at` fail before it is sent."""
        self.begin()
        self.fails_at = at

    def _seen(self, what: Any, call: Callable[[], Any]) -> Any:
        number = len(self.calls)
        self.calls.append((what, None))
        if number == self.fails_at:
            raise OperationalError("made up by the test", kind="internal", effect="none")
        try:
            outcome: Outcome = call()
        except Error as error:
            outcome = error
        self.calls[number] = (what, outcome)
        if self.at is None or self.at == number:
            outcome = self.change(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def accepted(outcome: Outcome) -> Outcome:
    """A refusal becomes an answer."""
    if not isinstance(outcome, Error):
        return outcome
    return [Answer(["a"], [[1]], 1, 1) for _ in range(30)]


def other_values(outcome: Outcome) -> Outcome:
    """Each value of each row becomes another one, of its type where it has one."""
    if not isinstance(outcome, list):
        return outcome
    return [
        replace(answer, rows=[[_other(value) for value in row] for row in answer.rows]) for answer in outcome
    ]


def no_rows(outcome: Outcome) -> Outcome:
    """The rows are lost."""
    return [replace(answer, rows=[]) for answer in outcome] if isinstance(outcome, list) else outcome


def other_columns(outcome: Outcome) -> Outcome:
    """The names of the columns are lost."""
    return [replace(answer, columns=[]) for answer in outcome] if isinstance(outcome, list) else outcome


def other_counts(outcome: Outcome) -> Outcome:
    """Row counts and last keys are too high, the bill's counters are missing."""
    if not isinstance(outcome, list):
        return outcome
    return [
        replace(
            answer,
            changes=None if answer.changes is None else answer.changes + 1,
            last_row_id=None if answer.last_row_id is None else answer.last_row_id + 1,
            rows_written=None,
        )
        for answer in outcome
    ]


def _other(value: Any) -> Any:
    if value is None:
        return 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        # A clock that is a minute ahead is wrong, too; so is a size.
        return -value - 61
    if isinstance(value, str):
        return value + "x" if value else "x"
    return {"b": "AAAA"}
