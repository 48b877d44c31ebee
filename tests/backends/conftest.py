"""Aliases of both engines for tests that make their own tables, each with an empty database."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

DATABASE_ID = "d0b41d9e-0000-4000-8000-00000000000{}"
# No other test uses it: the site's tests have number 1.
OWN_DATABASE_ID = DATABASE_ID.format(5)

_objects = itertools.count(1)


def settings_for(engine: str, worker: Any, transport: str = "relay") -> dict[str, Any]:
    """The settings of an alias of `engine` ("d1", "durable_object") on a local Worker, ready for tests."""
    rest = transport == "rest"
    settings = {
        "ENGINE": f"do_bridge.backends.{engine}",
        "NAME": OWN_DATABASE_ID if engine == "d1" else f"test/backends/{next(_objects)}",
        "USER": "",
        "HOST": worker.api_base if rest else worker.url,
        "PORT": "",
        "PASSWORD": worker.token,
        "OPTIONS": {"transport": transport} if engine == "d1" else {},
        "TIME_ZONE": None,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {"NAME": None, "MIRROR": None, "CHARSET": None, "COLLATION": None, "MIGRATE": True},
    }
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
        yield connection
    finally:
        connection.close()
        del connections[engine]
        del connections.settings[engine]


@pytest.fixture(params=["d1", "durable_object"])
def engine(request: pytest.FixtureRequest, local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection of each engine, with an empty database."""
    with django_db_blocker.unblock(), alias_for(request.param, local_worker) as connection:
        yield connection


@pytest.fixture
def d1(local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection to an empty D1 database over the relay."""
    with django_db_blocker.unblock(), alias_for("d1", local_worker) as connection:
        yield connection


@pytest.fixture
def durable_object(local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection to an empty Durable Object."""
    with django_db_blocker.unblock(), alias_for("durable_object", local_worker) as connection:
        yield connection
