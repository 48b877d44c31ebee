"""The collector of the requests that a view or a task sends to the relay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from do_bridge.driver.calls import Call, observe

_lists: ContextVar[tuple[list[Call], ...]] = ContextVar("do_bridge_collected_calls", default=())


@contextmanager
def collect_calls() -> Iterator[list[Call]]:
    """Yield a list that receives each request of this thread or task.

    It also receives the requests of code that is called through asgiref. A call has `name` (the alias),
    `operation`, `statements` (their number), `sql` (their texts, without parameters), `duration` in seconds,
    `rows`, `changed`, `error`, and `replica` and `region` (whether a read replica of D1 has answered, and
    where; None if D1 does not report it).
    """
    found: list[Call] = []
    token = _lists.set((*_lists.get(), found))
    undo = observe(_collect) if len(_lists.get()) == 1 else _nothing
    try:
        yield found
    finally:
        _lists.reset(token)
        undo()


def _collect(call: Call) -> None:
    for found in _lists.get():
        found.append(call)


def _nothing() -> None:
    """Undo nothing."""
