"""A Site of the doctor on this test process's Worker, with D1 over the relay and over the local REST API."""

from collections.abc import Iterator
from typing import Any

import pytest

from do_bridge.doctor import Site
from do_bridge.doctor.cleanup import clean
from do_bridge.doctor.site import RelayAccess, RestAccess
from tests.conftest import DATABASE_ID
from tests.doctor.fakes import FakeAnswers

# Not the one that other tests migrate: what is there must be as it was.
D1_ID = DATABASE_ID.format(4)


def site_of(worker: Any, **changes: Any) -> Site:
    ways = {
        "objects": RelayAccess(worker.url, worker.token),
        "d1": RelayAccess(worker.url, worker.token, D1_ID),
        "rest": RestAccess(worker.api_base, D1_ID),
    }
    return Site(**{**ways, **changes})


@pytest.fixture
def new_site(local_worker: Any) -> Any:
    """Makes Sites that are not connected yet; keywords replace a way, None takes it out."""
    return lambda **changes: site_of(local_worker, **changes)


@pytest.fixture(scope="module")
def connected(local_worker: Any) -> Iterator[Site]:
    """A Site that is connected, for single probes; cleaned at the end of the module."""
    site = site_of(local_worker)
    site.connect()
    yield site
    assert clean(site) == []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAnswers:
    """Lets a test change what the relay, D1's API and plain HTTP answer."""
    return FakeAnswers(monkeypatch)
