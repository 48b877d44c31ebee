"""What the oracle of tenants with several lives makes of writes and looks."""

from __future__ import annotations

import pytest

from tests.leak.timeline import Look, Span, Timeline, Write, since, until
from tests.torture.journal import CONFIRMED, FAILED, UNKNOWN

MADE = since((), Span(0, 1))
KEPT = until(MADE, Span(10, 11))
RESTORED = since(KEPT, Span(20, 21))
FATES = [
    (Span(0, 1), MADE),
    (Span(20, 21), RESTORED),
    (Span(30, 31), ()),
    (Span(32, 33), since((), Span(32, 33))),
]
WRITES = [
    Write("early.", Span(2, 3), 1, CONFIRMED),
    Write("around.", Span(9, 12), 1, CONFIRMED),
    Write("undone.", Span(12, 13), 1, CONFIRMED),
    Write("failed.", Span(2, 3), 1, FAILED),
    Write("lost answer.", Span(12, 13), 1, UNKNOWN),
    Write("late.", Span(22, 23), 2, CONFIRMED),
    Write("next.", Span(34, 35), 1, CONFIRMED),
]


@pytest.mark.parametrize(
    ("at", "found", "faults"),
    [
        ((14, 15), {"early.": 1, "around.": 1, "undone.": 1}, []),
        ((14, 15), {"early.": 1, "around.": 1}, ["undone. was confirmed at 13.000, and is lost"]),
        ((24, 25), {"early.": 1, "late.": 2}, []),
        ((24, 25), {"early.": 1, "around.": 1, "lost answer.": 1, "late.": 2}, []),
        (
            (24, 25),
            {"early.": 1, "undone.": 1, "late.": 2},
            ["undone. (confirmed, 12.000) is of another life or"],
        ),
        (
            (24, 25),
            {"early.": 1, "failed.": 1, "late.": 2},
            ["failed. (failed, 2.000) is of another life or"],
        ),
        ((24, 25), {"late.": 2}, ["early. was confirmed at 3.000, and is lost"]),
        ((24, 25), {"early.": 1, "late.": 1}, ["1 rows of late., which has 2"]),
        ((24, 25), {"early.": 1, "late.": 2, "what.": 1}, ["nobody wrote what."]),
        # While the tenant is restored, deleted or made it may be as before or as afterwards.
        ((19, 22), {"early.": 1}, []),
        ((19, 22), {"early.": 1, "undone.": 1}, []),
        ((29, 32.5), {}, []),
        ((36, 37), {"next.": 1}, []),
        ((36, 37), {"early.": 1, "next.": 1}, ["early. (confirmed, 2.000) is of another life or was undone"]),
    ],
)
def test_a_look_is_compared_with_what_was_written_in_the_stretches_that_the_tenant_keeps(at, found, faults):
    timeline = Timeline("acme", list(FATES), {write.op: write for write in WRITES})
    timeline.close()
    told = list(timeline.judge(Look("look", Span(*at), found)))
    assert len(told) == len(faults), told
    for text, fault in zip(told, faults, strict=True):
        assert fault in text


def test_what_was_held_when_a_tenant_was_deleted_is_compared_with_its_own_life_alone():
    timeline = Timeline("acme", list(FATES), {write.op: write for write in WRITES})
    timeline.close()
    look = Look("dump", Span(30, 31), {"early.": 1, "late.": 2, "next.": 1}, lineage=RESTORED)
    assert [fault.split(": ")[1] for fault in timeline.judge(look)] == [
        "next. (confirmed, 34.000) is of another life or was undone"
    ]


@pytest.mark.parametrize(
    ("restored", "undone", "faults"),
    [
        ({"early.": 1}, {"early.": 1, "around it.": 1}, 0),
        ({"early.": 1, "around it.": 1}, {"early.": 1}, 0),
        ({"early.": 1}, {"early.": 1}, 1),
        ({"early.": 1, "around it.": 1}, {"early.": 1, "around it.": 1}, 1),
    ],
)
def test_a_write_around_a_restore_is_on_one_of_its_sides(restored, undone, faults):
    around = Write("around it.", Span(19, 20.5), 1, CONFIRMED)
    timeline = Timeline("acme", list(FATES), {write.op: write for write in (*WRITES, around)})
    timeline.close()
    looks = Look("look", Span(22, 23), restored), Look("look", Span(26, 27), undone)
    assert len(list(timeline.judge_pair(*looks))) == faults
