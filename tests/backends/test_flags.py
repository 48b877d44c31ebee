"""Each of Django's feature flags is one that the engines set, or one whose value has been approved."""

import json
from pathlib import Path

import pytest
from django.db.backends.base.features import BaseDatabaseFeatures

from do_bridge import django_compat
from do_bridge.driver.trips import count_trips

# By the series with which a flag came; a later one may change its value.
APPROVED = json.loads((Path(__file__).parent / "approved_flags.json").read_text())
NOT_COMPARED, NOT_KNOWN = "(not compared)", object()


def approved():
    """{flag: value} for the installed Django."""
    found = {}
    for series in django_compat.SERIES:
        if series <= django_compat.INSTALLED:
            found |= APPROVED[".".join(map(str, series))]
    return found


def is_ours(features, name):
    """Whether a class of this package sets the flag."""
    owner = next(cls for cls in type(features).__mro__ if name in vars(cls))
    return owner.__module__.startswith("do_bridge.")


def test_every_flag_is_set_by_an_engine_or_approved_with_its_value(engine):
    features, known = engine.features, approved()
    unknown = {}
    for name in (name for name in dir(BaseDatabaseFeatures) if not name.startswith("_")):
        value = getattr(features, name)
        if not is_ours(features, name) and known.get(name, NOT_KNOWN) not in (value, NOT_COMPARED):
            unknown[name] = value
    assert unknown == {}, "Set these flags in features.py, or approve their values in approved_flags.json."


def test_reading_the_flags_costs_no_round_trip(engine):
    with count_trips() as trips:
        for name in (name for name in dir(BaseDatabaseFeatures) if not name.startswith("_")):
            getattr(engine.features, name)
    assert trips.count == 0


@pytest.mark.parametrize("name", sorted(set().union(*APPROVED.values())))
def test_an_approved_flag_is_one_of_djangos(name):
    if name in approved():
        assert hasattr(BaseDatabaseFeatures, name)
