"""Aliases of both engines on a local Worker, each with an empty database of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync

DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"
CONFIGURED = DATABASE_ID.format(0)
# No other test uses these: the site's tests have number 1.
OWN = DATABASE_ID.format(5)
UNUSED = DATABASE_ID.format(6)

_objects = itertools.count(1)


def settings_for(engine: str, worker: Any, transport: str = "relay") -> dict[str, Any]:
    """The settings of an alias of `engine` on a local Worker, ready for tests.

    `engine` is "d1", "d1_optimistic" or "durable_object".
    """
    rest = transport == "rest"
    on_d1 = engine.startswith("d1")
    settings = {
        "ENGINE": f"do_bridge.backends.{engine.removesuffix('_optimistic')}",
        "NAME": OWN if on_d1 else f"test/backends/{next(_objects)}",
        "USER": "",
        "HOST": worker.api_base if rest else worker.url,
        "PORT": "",
        "PASSWORD": worker.token,
        "OPTIONS": {"transport": transport} if on_d1 else {},
        "TIME_ZONE": None,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {"NAME": None, "MIRROR": None, "CHARSET": None, "COLLATION": None, "MIGRATE": True},
    }
    if engine == "d1_optimistic":
        settings["OPTIONS"]["transactions"] = "optimistic"
    return copy.deepcopy(settings)


@contextmanager
def alias_for(engine: str, worker: Any, transport: str = "relay") -> Iterator[Any]:
    """A Django connection under the alias of the engine's name; its database is empty."""
    from django.db import connections

    from do_bridge.backends.remote_sqlite import creation

    settings = settings_for(engine, worker, transport)
    connections.settings[engine] = settings
    connection = connections[engine]
    creation._test_names.add(settings["NAME"])
    try:
        connection.creation.empty(settings["NAME"])
        connection.ensure_connection()
        # A fresh session: one that reaches its limit costs a round trip more, which a test may be counting.
        connection.connection.transport.close()
        yield connection
    finally:
        remove_alias(engine)


def remove_alias(alias: str) -> None:
    """Close an alias and forget its settings.

    The thread of asynchronous tests outlives them, and would keep a connection to this database.
    """
    from django.db import connections

    _close(alias)
    SyncToAsync.single_thread_executor.submit(_close, alias).result()
    del connections.settings[alias]


def _close(alias: str) -> None:
    from django.db import connections

    if hasattr(connections._connections, alias):
        connections[alias].close()
        del connections[alias]
