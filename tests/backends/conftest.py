"""Both engines for tests that make their own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from engine_aliases import alias_for


@pytest.fixture(params=["d1", "d1_optimistic", "durable_object"])
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
def optimistic(local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection to an empty D1 database with optimistic transactions, over the relay."""
    with django_db_blocker.unblock(), alias_for("d1_optimistic", local_worker) as connection:
        yield connection


@pytest.fixture(params=["d1_optimistic", "durable_object"])
def transactional(request: pytest.FixtureRequest, local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection with transactions, of each kind, with an empty database."""
    with django_db_blocker.unblock(), alias_for(request.param, local_worker) as connection:
        yield connection


@pytest.fixture
def durable_object(local_worker: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection to an empty Durable Object."""
    with django_db_blocker.unblock(), alias_for("durable_object", local_worker) as connection:
        yield connection
