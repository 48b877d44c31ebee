"""The probes of jurisdictions and hints, on a stand-in for the platform's and on the plain local runtime."""

import pytest

from do_bridge import driver
from do_bridge.doctor import PROBES, Status, examine
from do_bridge.doctor.probe import OBJECT, Wrong
from do_bridge.doctor.site import RelayAccess
from do_bridge.driver.transport import Answer
from tests.doctor import fakes
from tests.doctor.test_wrong_answers import fails, subject_of

PLACES = [probe for probe in PROBES if probe.group == "Where objects are"]


def probe_called(name):
    (probe,) = [probe for probe in PLACES if probe.name == name]
    return probe


@pytest.fixture
def examined(own_worker, new_site):
    """Runs the probes on a Worker of their own; returns (status, message) of each by name, and the report."""

    def run(jurisdiction="", **options):
        worker = own_worker(**options).start()
        access = RelayAccess(worker.url, worker.token, jurisdiction=jurisdiction)
        report = examine(new_site(objects=access, d1=None, rest=None), probes=PLACES)
        return {result.probe.name: (result.status, result.message) for result in report.results}, report

    return run


def test_the_plain_local_runtime_says_that_jurisdictions_cannot_be_tried_there(examined):
    found, report = examined(jurisdictions=False)
    status, message = found.pop("jurisdictions-apart")
    assert status is Status.LOCAL_ONLY
    assert "the local runtime has no jurisdictions, so this cannot be tried here (" in message
    assert "not implemented in workerd" in message
    assert {name: status for name, (status, _) in found.items()} == {
        "jurisdiction": Status.OK,
        "jurisdiction-alone": Status.SKIPPED,
        "location-hint": Status.OK,
    }
    assert report.ok


@pytest.mark.parametrize("jurisdiction", ["", "eu", "fedramp-high"])
def test_objects_in_and_outside_a_jurisdiction_are_apart_on_a_stand_in(examined, jurisdiction):
    found, report = examined(jurisdiction)
    assert {name for name, (status, _) in found.items() if status is not Status.OK} == {"jurisdiction-alone"}
    assert (report.ok, report.left) == (True, [])
    (result,) = [result for result in report.results if result.probe.name == "jurisdiction"]
    assert result.measured == {"jurisdiction": jurisdiction or "none"}


def test_a_relay_of_one_jurisdiction_refuses_the_others_on_a_stand_in(examined):
    found, report = examined("eu", variables={"JURISDICTION": "eu"})
    status, message = found.pop("jurisdictions-apart")
    assert (status, "serves the jurisdiction eu alone" in message) == (Status.SKIPPED, True)
    assert {status for status, _ in found.values()} == {Status.OK}
    assert report.ok


def test_a_site_in_another_jurisdiction_than_its_relay_is_told_so_on_a_stand_in(examined):
    _, report = examined("us", variables={"JURISDICTION": "eu"})
    assert not report.ok
    assert all("eu alone" in result.message for result in report.of(Status.FAILED))


def test_nothing_of_the_other_jurisdiction_is_left_on_a_stand_in(connected, relay):
    probe_called("jurisdictions-apart").check(subject_of(connected, OBJECT))
    own = subject_of(connected, OBJECT).name
    for name in (own, f"{own}@eu"):
        tables = driver.connect(relay, name).execute("SELECT name FROM sqlite_master").fetchall()
        assert not [name for (name,) in tables if name.startswith("_do_bridge_doctor")]


def test_one_object_for_both_jurisdictions_fails_the_probe_by_a_fake(connected, monkeypatch):
    """A platform, or a relay, that ignored the jurisdiction would give the same object under both names."""
    subject = subject_of(connected, OBJECT)
    real = type(subject).placed_in
    monkeypatch.setattr(
        type(subject), "placed_in", lambda self, where, *rest, **options: real(self, None, *rest, **options)
    )
    monkeypatch.setattr(type(subject), "reported_jurisdiction", lambda self: "eu")
    assert fails(probe_called("jurisdictions-apart"), subject)


def test_another_jurisdiction_than_the_names_fails_the_probes_by_a_fake_report(connected, fake):
    subject = subject_of(connected, OBJECT)
    fake.begin(change=lambda outcome: [Answer(["jurisdiction"], [["us"]])])
    for name in ("jurisdiction", "jurisdictions-apart"):
        with pytest.raises(Wrong, match="the jurisdiction of the other object|the object's jurisdiction"):
            probe_called(name).check(subject)
    fake.begin()
    subject.reset()


def test_a_relay_that_serves_another_jurisdiction_all_the_same_fails_the_probe_by_a_fake(connected, fake):
    subject = subject_of(connected, OBJECT)
    subject.served = "eu"
    try:
        # It serves any: so would a relay that lost its variable.
        with pytest.raises(Wrong, match="accepted a statement that it must refuse"):
            probe_called("jurisdiction-alone").check(subject)
        fake.begin(change=fakes.accepted)
        assert fails(probe_called("jurisdiction-alone"), subject)
    finally:
        fake.begin()
        subject.served = ""
