"""docs/reference/doctor.md says of each probe what the code says."""

import pytest

from do_bridge.doctor import PROBES
from do_bridge.doctor.probe import EVERY, RELAY, Group
from tests.doctor import reference


def test_the_page_has_every_probe_as_the_code_has_it():
    assert reference.written() == (reference.table(), reference.differences()), (
        "write it anew: python -m tests.doctor.reference"
    )


def test_every_probe_says_what_it_shows_why_and_what_to_do():
    for probe in PROBES:
        assert {probe.fact[-1], probe.why[-1], probe.fix[-1]} == {"."}, probe.name
        assert set(probe.on) <= {RELAY, *EVERY}, probe.name
        assert set(probe.local) <= set(probe.on), probe.name


def test_two_probes_of_one_name_are_refused():
    registry = []
    group = Group("Made up", registry)
    options = {"on": RELAY, "fact": "A.", "why": "B.", "fix": "C."}
    group.probe("one", **options)(lambda relay: None)
    with pytest.raises(ValueError, match="two probes called 'one'"):
        group.probe("one", **options)
