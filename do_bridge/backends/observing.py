"""Pass the requests of this package's connections to the code that logs or counts them."""

from functools import partial

_observers = []


def observe(seen, needs_rows):
    """Call `seen(alias, call)` after each request of connections that are opened from now on.

    `call` is a `do_bridge.driver.calls.Call`. `seen` runs in the thread of the request, so it must be quick,
    and it must not use the connection. `needs_rows()` returns whether to count the rows read and written.
    """
    if (seen, needs_rows) not in _observers:
        _observers.append((seen, needs_rows))


def watch(connection, alias):
    """Pass the requests of a driver connection to the observers; return the connection."""
    connection.on_call = partial(_pass_on, alias)
    connection.metered = _needs_rows
    return connection


def _pass_on(alias, call):
    for seen, _ in _observers:
        seen(alias, call)


def _needs_rows():
    return any(needs_rows() for _, needs_rows in _observers)
