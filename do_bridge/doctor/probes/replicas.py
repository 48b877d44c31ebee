"""The probe of D1's sessions, on which reads from replicas rely."""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import TIMEOUT, Database
from do_bridge.doctor.probe import D1, Group, Measured, Probe, Wrong, expect
from do_bridge.driver.replicas import FIRST_PRIMARY, FIRST_UNCONSTRAINED, Reached
from do_bridge.driver.sql import Statement, prepare
from do_bridge.driver.transport import Answer, Deadline

PROBES: list[Probe] = []
_group = Group("Read replicas", PROBES)

#: Metered: from its second run on, D1 reports who has served it.
_READ: Final = prepare("SELECT 7 AS n", None)._replace(metered=True)


@_group.probe(
    "d1-session",
    on=D1,
    fact="A session of D1 returns its bookmark, which a write advances and a later session accepts.",
    why="With OPTIONS['replicas'] a visitor reads own writes by the bookmark.",
    fix="Run `manage.py relay deploy`. If that does not help, remove OPTIONS['replicas'] and report this.",
)
def d1_session(database: Database) -> Measured:
    table = database.table("session")
    before, _ = _in_session(database, FIRST_PRIMARY, _READ)
    write = (prepare(f"CREATE TABLE {table} (a)", None), prepare(f"DROP TABLE {table}", None))
    written, _ = _in_session(database, FIRST_PRIMARY, *write)
    if not _bookmark(before) < _bookmark(written):
        raise Wrong("the bookmark after a write is not newer than the one before it")
    for session in (_bookmark(written), FIRST_UNCONSTRAINED):
        reached, answers = _in_session(database, session, _READ)
        expect(answers[0].rows, [[7]], "the rows of a read in a session")
        if session != FIRST_UNCONSTRAINED and _bookmark(reached) < session:
            raise Wrong("a session from a bookmark has read an older version")
    served = "unknown" if reached.primary is None else "the primary" if reached.primary else "a replica"
    return {"served in a session": f"{served}, {reached.region or 'region unknown'}"}


def _in_session(database: Database, session: str, *statements: Statement) -> tuple[Reached, list[Answer]]:
    answers = database.transport.batch(database.name, statements, Deadline(TIMEOUT), session=session)
    expect(len(answers), len(statements), "the number of results in a session")
    if (reached := answers[0].reached) is None:
        raise Wrong("the relay returned no bookmark, because it is older than the package")
    return reached, answers


def _bookmark(reached: Reached) -> str:
    if not reached.bookmark:
        raise Wrong("D1 returned no bookmark")
    return reached.bookmark
