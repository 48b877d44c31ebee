"""Both engines for tests that make their own tables."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from engine_aliases import alias_for
from fixture_files import make_tables, write

ENGINES = ("d1", "d1_optimistic", "durable_object")
# `make long` sets it.
EVERY_ENGINE = bool(os.environ.get("EVERY_ENGINE"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with `engine` on each engine, or on those that its module names as ENGINES.

    Outside blocks optimistic D1 runs the same code as D1, so modules about the SQL of a query leave it out.
    Modules in which few statements are in blocks name the engines of each day as ENGINES_BY_DAY.
    """
    if "engine" in metafunc.fixturenames:
        engines = getattr(metafunc.module, "ENGINES", ENGINES)
        if not EVERY_ENGINE:
            engines = getattr(metafunc.module, "ENGINES_BY_DAY", engines)
        metafunc.parametrize("engine", engines, indirect=True)


@pytest.fixture
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


@pytest.fixture
def depot(engine: Any, settings: Any) -> Any:
    """The depot's models, with tables in the engine's database."""
    settings.DATABASE_ROUTERS = []
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "depot"]
    make_tables(engine)
    from depot import models

    return models


@pytest.fixture
def loads(engine: Any, depot: Any, tmp_path: Path) -> Callable[..., str]:
    """loads(records): runs loaddata with a fixture of them, and returns what it wrote."""

    def run(records: Any, **options: Any) -> str:
        out = io.StringIO()
        path = write(tmp_path / "fixture.json", records)
        call_command("loaddata", str(path), database=engine.alias, stdout=out, **options)
        return out.getvalue()

    return run


@pytest.fixture
def requests(engine: Any) -> Iterator[list[Any]]:
    """The requests of the engine's connection so far: a Call for each."""
    made: list[Any] = []
    engine.ensure_connection()

    def note(sender: Any, connection: Any, **kwargs: Any) -> None:
        if connection.alias == engine.alias:
            connection.connection.on_call = made.append

    from django.db.backends.signals import connection_created

    connection_created.connect(note)
    note(None, engine)
    yield made
    connection_created.disconnect(note)


@pytest.fixture(scope="session")
def lagging_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A relay over a stand-in of D1 whose replica lags."""
    from lagging import lagging_worker

    with lagging_worker(tmp_path_factory.mktemp("lagging")) as running:
        yield running


@pytest.fixture(params=["d1", "d1_optimistic"])
def lagging(request: pytest.FixtureRequest, lagging_relay: Any, django_db_blocker: Any) -> Iterator[Any]:
    """A connection to a database with the author "old", whose replica has nothing newer."""
    from lagging import replicate, replicated
    from shelf import Author, tables

    with (
        django_db_blocker.unblock(),
        replicated(request.param, lagging_relay) as connection,
        tables(connection),
    ):
        Author.objects.using(connection.alias).create(name="old")
        replicate(lagging_relay)
        yield connection


@pytest.fixture
def authors(lagging: Any) -> Any:
    """The names of all authors, as a function that reads them."""
    from shelf import Author

    def read() -> list[str]:
        return list(Author.objects.using(lagging.alias).order_by("name").values_list("name", flat=True))

    read.rows = Author.objects.using(lagging.alias)  # type: ignore[attr-defined]
    return read


@pytest.fixture
def newer(authors: Any) -> Any:
    """The same, after somebody has written the author "new"."""
    authors.rows.create(name="new")
    return authors
