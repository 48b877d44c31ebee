"""Statements past the ORM, by the driver's own connections; they share its sessions with the ORM."""

from __future__ import annotations

from django.db import connections

from do_bridge import driver
from do_bridge.tenancy import tenant_alias
from tests.leak.actor import SEEDS, Actor
from tests.leak.marks import check, mark, require

_TITLE = "SELECT title FROM blog_post WHERE id = %s"
_ROW = "SELECT id, title FROM blog_post WHERE id = %s"
_CHANGE = "UPDATE blog_post SET title = %s WHERE id = %s"


def connect(slug: str) -> driver.Connection:
    """Return a new connection to the tenant's object; it costs nothing before its first statement.

    It is made as Django makes its own, and follows the tenant when it is moved.
    """
    wrapper = connections[tenant_alias(slug)]
    own = type(wrapper)(wrapper.settings_dict, wrapper.alias)
    own.ensure_connection()
    # Wrappers are cycles: one that is forgotten must not keep the connection until the next collection.
    connection, own.connection = own.connection, None
    return connection


def read(actor: Actor, slug: str) -> int:
    with connect(slug) as connection:
        check(slug, connection.execute(_TITLE, [actor.key()]).fetchone()[0])
    return 1


def interleaved(actor: Actor, slug: str) -> int:
    """Two connections of one thread take turns."""
    other = actor.other(slug)
    with connect(slug) as one, connect(other) as two:
        for _ in range(3):
            check(slug, one.execute(_TITLE, [actor.key()]).fetchone()[0])
            check(other, two.execute(_TITLE, [actor.key()]).fetchone()[0])
    return 6


def batch(actor: Actor, slug: str) -> int:
    title = f"{mark(slug)} {actor.token()}"
    with connect(slug) as connection:
        key = actor.key()
        results = connection.execute_batch([(_CHANGE, [title, key]), (_TITLE, [key]), (_TITLE, [1])])
    require(slug, results[1].rows == [(title,)], "a batch read what another had written")
    check(slug, results[2].rows[0][0])
    return 3


def several(actor: Actor, slug: str) -> int:
    """Reads and writes that go in one trip have each its own answer."""
    changes = [(f"{mark(slug)} {actor.token()}", key) for key in actor.random.sample(range(1, SEEDS + 1), 4)]
    steps = [step for title, key in changes for step in ((_CHANGE, [title, key]), (_TITLE, [key]))]
    with connect(slug) as connection:
        results = connection.execute_batch(steps)
    for (title, _), changed, read in zip(changes, results[::2], results[1::2], strict=True):
        require(slug, changed.rowcount == 1, "an update of several did not find the tenant's row")
        require(slug, read.rows == [(title,)], "one of several reads got another's answer")
    return len(steps)


def several_read(actor: Actor, slug: str) -> int:
    """The same without writes: such a trip carries no key, and may be made again."""
    keys = actor.random.sample(range(1, SEEDS + 1), 8)
    with connect(slug) as connection:
        results = connection.execute_batch([(_ROW, [key]) for key in keys])
    for key, result in zip(keys, results, strict=True):
        ((found, title),) = result.rows
        check(slug, title)
        require(slug, found == key, "one of several reads got another's answer")
    return len(keys)


def transaction(actor: Actor, slug: str) -> int:
    with connect(slug) as connection:
        connection.begin()
        connection.execute("UPDATE blog_post SET title = %s WHERE id <= %s", ["nobody's", SEEDS])
        connection.savepoint("s")
        connection.execute(_CHANGE, ["nobody's", actor.key()])
        connection.rollback_to("s")
        found = connection.execute("SELECT DISTINCT title FROM blog_post WHERE id <= %s", [SEEDS]).fetchall()
        require(slug, found == [("nobody's",)], "a transaction does not see its own writes")
        connection.rollback()
        check(slug, connection.execute(_TITLE, [actor.key()]).fetchone()[0])
    return 4


OPERATIONS = {read: 150, interleaved: 16, batch: 12, several: 12, several_read: 18, transaction: 1}
