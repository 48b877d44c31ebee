"""What the judge of the attacks finds in what clients were told."""

from __future__ import annotations

import pytest

from do_bridge.tenancy.lifecycle.states import Row
from tests.torture.journal import CONFIRMED, FAILED, UNKNOWN
from tests.torture.judge import judge_kinds, judge_places


@pytest.mark.parametrize(
    ("told", "faults"),
    [
        ({FAILED: 10}, ["never done, tenant_load: 10 times told to have failed, not once confirmed"]),
        ({FAILED: 10, CONFIRMED: 1}, []),
        ({FAILED: 9, UNKNOWN: 5}, []),
    ],
)
def test_work_that_fails_again_and_again_and_never_works_is_a_fault(told, faults):
    assert list(map(str, judge_kinds({"tenant_load": told}))) == faults


def test_what_a_foreign_key_is_to_refuse_may_fail_each_time():
    assert not judge_kinds({"refused": {FAILED: 99}, "D1 refused": {FAILED: 99}})


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        (Row("acme", "ready", jurisdiction="eu"), ["tenant acme: its object in '' has 2 tables"]),
        (Row("acme", "ready", jurisdiction="eu", left_behind=""), []),
        (Row("acme", "ready", "move", jurisdiction="eu"), []),
        (Row("acme", "ready"), ["tenant acme: its object in 'eu' has 1 tables"]),
        (None, []),
    ],
)
def test_a_tenant_at_rest_has_tables_only_where_its_row_says(row, faults):
    found = list(map(str, judge_places("acme", row, {"": {"a", "b"}, "eu": {"a"}, "us": set()})))
    assert len(found) == len(faults)
    for text, fault in zip(faults, found, strict=True):
        assert text in fault
