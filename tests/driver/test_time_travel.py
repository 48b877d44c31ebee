"""Time Travel of D1, against a fake of Cloudflare's API."""

from datetime import UTC, datetime, timedelta

import pytest

from do_bridge import driver
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.driver.transports.time_travel import TimeTravel
from tests.infra.fake_time_travel import ACCOUNT, TOKEN, FakeTimeTravel

DATABASE = "d0b41d9e-0000-4000-8000-000000000009"


@pytest.fixture
def fake():
    with FakeTimeTravel(DATABASE) as running:
        yield running


@pytest.fixture
def travel(fake):
    """Makes TimeTravels whose connections are closed after the test."""
    made = []

    def make(token=TOKEN, database=DATABASE, base=None, account=ACCOUNT):
        made.append(RestTransport(base or fake.api_base, token, account))
        return TimeTravel(made[-1], database, timeout=10)

    yield make
    for transport in made:
        transport.close()


def test_a_bookmark_of_now_and_one_of_a_moment_by_a_fake_api(fake, travel):
    moment = datetime.now(UTC) - timedelta(days=2)
    assert travel().bookmark() == fake.bookmark()
    assert travel().bookmark(moment) == fake.bookmark(moment)
    assert fake.requests == ["GET bookmark []", "GET bookmark ['timestamp']"]


def test_a_restore_returns_the_way_back_by_a_fake_api(fake, travel):
    before = fake.bookmark()
    restored = travel().restore("00000001-0")
    assert restored.previous == before
    assert restored.bookmark == fake.bookmark() > before


@pytest.mark.parametrize(
    ("days", "text"), [(31, "more than 30 days ago"), (-1, "in the future")], ids=["too old", "to come"]
)
def test_a_moment_out_of_reach_is_not_asked_for(fake, travel, days, text):
    with pytest.raises(driver.DataError, match=text):
        travel().bookmark(datetime.now(UTC) - timedelta(days=days))
    assert fake.requests == []


def test_the_refusals_of_the_api_are_the_drivers_errors_by_a_fake_api(fake, travel):
    with pytest.raises(driver.OperationalError, match="refused the token"):
        travel(token="wrong").bookmark()
    with pytest.raises(driver.OperationalError, match="no such database"):
        travel(database="d0b41d9e-0000-4000-8000-000000000008").bookmark()
    with pytest.raises(driver.Error, match="Invalid bookmark") as caught:
        travel().restore("nowhere")
    assert caught.value.effect == "none"


def test_a_lost_answer_leaves_the_outcome_unknown_by_a_fake_api(fake, travel):
    fake.fail = 500
    with pytest.raises(driver.Error, match="outcome of the write is unknown") as caught:
        travel().restore("00000001-0")
    assert caught.value.effect == "unknown"
    assert travel().restore("00000001-0").previous


def test_the_local_api_has_no_time_travel(travel, local_worker):
    local = travel("", base=local_worker.api_base, account=None)
    with pytest.raises(driver.Error, match=r"\w"):
        local.bookmark()
