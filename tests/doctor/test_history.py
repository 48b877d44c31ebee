"""The probes of histories, on a stand-in for the platform's recovery and with a fake of Cloudflare's API."""

import pytest

from do_bridge.doctor import PROBES, Status, examine
from do_bridge.doctor.probe import OBJECT, REST
from do_bridge.doctor.site import RelayAccess, RestAccess
from do_bridge.driver.transports.relay import RelayTransport
from tests.doctor.conftest import D1_ID
from tests.infra.fake_time_travel import ACCOUNT, TOKEN, FakeTimeTravel

NAMES = ("bookmark-restore", "bookmark-of-a-moment")
OF_OBJECTS = [probe for probe in PROBES if probe.name in NAMES]
(OF_D1,) = [probe for probe in PROBES if probe.name == "d1-bookmark"]


@pytest.fixture
def on_history(new_site, history_worker):
    def make(token=history_worker.token):
        return new_site(objects=RelayAccess(history_worker.url, token), d1=None, rest=None)

    return make


def test_the_probes_pass_where_there_is_a_history_on_a_stand_in(on_history):
    report = examine(on_history(), probes=OF_OBJECTS)
    assert [(one.on, one.status) for one in report.results] == [(OBJECT, Status.OK)] * 2
    assert report.left == []


def test_a_restore_that_restores_nothing_is_noticed_on_a_stand_in(on_history, monkeypatch):
    monkeypatch.setattr(RelayTransport, "restore", lambda *arguments, **options: "0" * 8)
    site = on_history()
    site.relay.version = lambda: "0123456789abcdef"
    (result,) = examine(site, probes=OF_OBJECTS[:1]).results
    assert (result.status, "the rows after the restore" in result.message) == (Status.FAILED, True)


def test_without_the_whole_token_they_are_skipped_on_a_stand_in(on_history, history_worker):
    report = examine(on_history(history_worker.tokens["RELAY_TOKEN_TENANTS"]), probes=OF_OBJECTS)
    assert [one.status for one in report.results] == [Status.SKIPPED] * 2
    assert "bookmarks need RELAY_TOKEN" in report.results[0].message


def test_the_probe_of_d1_only_reads_by_a_fake_api():
    with FakeTimeTravel(D1_ID) as fake:
        access = RestAccess(fake.api_base, D1_ID, TOKEN, ACCOUNT, "")
        site = _Site(access)
        OF_D1.check(site)
        site.transport.close()
    assert fake.requests == ["GET bookmark []"]
    assert OF_D1.on == (REST,)


class _Site:
    """As much of the doctor's database as the probe uses."""

    def __init__(self, access):
        from do_bridge.driver.transports.rest import RestTransport

        self.transport = RestTransport(access.api_base, access.token, access.account_id)
        self.name = f"d1:{access.database_id}"
