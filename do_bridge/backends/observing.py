"""Observers that log or count the requests of this package's connections."""

from functools import partial

_observers = []


def observe(seen, needs_rows):
    """Register `seen(alias, call)`, which is called after each request.

    It is called for connections that are opened from now on. `call` is a `do_bridge.driver.calls.Call`.
    `seen` runs in the thread of the request, so it must be quick, and it must not use the connection.
    `needs_rows()` returns whether to count the rows read and written.
    """
    if (seen, needs_rows) not in _observers:
        _observers.append((seen, needs_rows))


def watch(connection, alias):
    """Pass a driver connection's requests to the observers.

    Return the connection.
    """
    connection.name = alias
    connection.on_call = partial(_pass_on, alias)
    connection.metered = _needs_rows
    return connection


def _pass_on(alias, call):
    for seen, _ in _observers:
        seen(alias, call)


def _needs_rows():
    return any(needs_rows() for _, needs_rows in _observers)
