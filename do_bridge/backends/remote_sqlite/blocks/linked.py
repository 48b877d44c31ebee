"""Extend a block of `atomic()` without a database to the default's followers.

Django opens such a block on the default alias alone. A follower (a tenant's connection, by the rule that
`install` gets) enters a block of its own for it, a mirror, just before its first statement inside, which
costs no round trip. Mirrors are Django's own blocks, and so are savepoints, `needs_rollback` and callbacks.
"""

import sys
from contextlib import ExitStack, contextmanager
from functools import partial

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.transaction import Atomic, TransactionManagementError, get_connection

from do_bridge import patches

from .links import Links

# Inside these modules Django fills in the alias: for `@atomic` without arguments, and for ATOMIC_REQUESTS.
_UNNAMED_IN = ("django.db.transaction", "django.core.handlers.base")
_LINKS = "do_bridge_links"
# Returns the connection whose blocks cover a given one, or None.
_leader_of = None


class LinkedAtomic(Atomic):
    """Django's block, which ends its mirrors before itself if it names no database."""

    def __init__(self, using, savepoint, durable):
        super().__init__(using, savepoint, durable)
        #: Whether the code around it named no database.
        self.is_unnamed = using is None

    def __call__(self, func):
        by = sys._getframe(1).f_globals.get("__name__")
        self.is_unnamed = self.is_unnamed or (by in _UNNAMED_IN and self.using == DEFAULT_DB_ALIAS)
        return super().__call__(func)

    def __enter__(self):
        connection = get_connection(self.using)
        if not self.is_unnamed:
            # On a follower it is nested in the mirrors of the blocks around it.
            catch_up(connection)
            self._enter(links_of(connection))
            return
        if _LINKS not in vars(connection):
            setattr(connection, _LINKS, Links(connection))
        self._enter(links := links_of(connection))
        links.steps.append(self)

    def _enter(self, links):
        if links is None:
            super().__enter__()
            return
        # The savepoint that a block makes for itself is its own matter.
        links.is_entering = True
        try:
            super().__enter__()
        finally:
            links.is_entering = False

    def __exit__(self, *exc_info):
        connection = get_connection(self.using)
        links = links_of(connection) if self.is_unnamed else None
        ended = links.end(self) if links is not None else []
        leave = super().__exit__
        if not ended:
            leave(*exc_info)
        elif exc_info[0] is None and (crossed := [part for part, mirror in ended if part.is_crossed(mirror)]):
            error = crossed[0].crossing_error()
            _undo(ended, leave, (type(error), error, None))
            raise error
        elif exc_info[0] is not None or connection.needs_rollback or any(part.is_broken for part, _ in ended):
            if exc_info[0] is None:
                # As after set_rollback(True), or an error that was swallowed: no exception leaves the block.
                connection.needs_rollback = True
            _undo(ended, leave, exc_info)
        else:
            _commit(connection, ended, leave)


def _undo(ended, leave, exc_info):
    """Roll the parts back, the last one first, then the block, even if some fail."""
    with ExitStack() as stack:
        stack.callback(leave, *exc_info)
        for part, mirror in ended:
            stack.callback(part.undo, mirror, exc_info)


def _commit(connection, ended, leave):
    """Commit the parts, then the block itself, then run all callbacks.

    The parts are committed in the order of their first use.
    """
    is_outermost = not connection.savepoint_ids
    committed, callbacks = [], []
    try:
        for part, mirror in ended:
            callbacks += part.commit(mirror, hand_over=is_outermost)
            committed.append(part)
    except BaseException as error:
        try:
            _undo(ended[len(committed) + 1 :], leave, (type(error), error, error.__traceback__))
        finally:
            for part in committed:
                part.outlive(error)
        raise
    has_ended = []
    if is_outermost:
        # Callbacks run after the commit has succeeded: an exception of a callback is not a failed commit.
        connection.run_on_commit.insert(0, (set(), partial(has_ended.append, True), False))
        connection.run_on_commit += [(set(), *callback[1:]) for callback in callbacks]
    try:
        leave(None, None, None)
    except BaseException as error:
        if not has_ended:
            for part in committed:
                part.outlive(error)
        raise


def links_of(connection):
    """Return the Links of a connection that leads others, or None."""
    return vars(connection).get(_LINKS)


def has_open_block():
    """Whether this thread is inside a block that names no database."""
    # Only a wrapper that this thread has made already can hold a block, so never make one to look.
    leader = getattr(connections._connections, DEFAULT_DB_ALIAS, None)
    links = links_of(leader) if leader is not None else None
    return links is not None and bool(links.steps)


def catch_up(connection):
    """Open on a follower the blocks that cover it and that it has not entered yet."""
    if getattr(connection, "is_catching_up", True):
        return
    links = _links_over(connection)
    if links is not None:
        with alone(connection):
            links.part_of(connection).follow(links.steps)


@contextmanager
def alone(connection):
    """Let a follower do something inside this block without catching up first."""
    before, connection.is_catching_up = connection.is_catching_up, True
    try:
        yield
    finally:
        connection.is_catching_up = before


def _links_over(connection):
    if connection.linked_part is not None:
        return connection.linked_part.links
    leader = _leader_of(connection) if _leader_of is not None else None
    if leader is None or not leader.atomic_blocks:
        return None
    if any(type(block) is Atomic for block in leader.atomic_blocks):
        raise TransactionManagementError(
            "A function was decorated with @atomic before the settings made TenantDatabases, so "
            f"its block may or may not cover {connection.alias!r}. Import its module later than "
            "the settings."
        )
    links = links_of(leader)
    return links if links is not None and links.steps else None


def before_statement(connection):
    """Catch up, then refuse a statement if the block failed on another database."""
    catch_up(connection)
    if (part := getattr(connection, "linked_part", None)) is not None:
        broken = part.links.leader if part.links.is_leader_broken else None
    else:
        links = links_of(connection)
        broken = links.broken_follower() if links is not None else None
    if broken is not None:
        raise TransactionManagementError(
            f"An error occurred on {broken.alias!r}, inside a block of atomic() that covers "
            f"{connection.alias!r} too. You can't execute queries until the end of the 'atomic' block."
        ) from broken.rollback_exc


def has_followers(connection):
    """Return whether a follower has taken part in this leader's open block."""
    links = links_of(connection)
    return links is not None and bool(links.parts)


def is_broken(connection):
    """Whether the innermost block of a leader has failed on one of its followers."""
    links = links_of(connection)
    return links is not None and links.broken_follower() is not None


def install(leader_of):
    """Make every block that names no database cover its followers.

    A second call changes only the rule. `leader_of(connection)` returns the connection whose blocks cover the
    given one, or None. Raises RuntimeError if this Django makes its blocks in another way, so that some would
    be missed.
    """
    global _leader_of
    _leader_of = leader_of
    patches.replace(transaction, "Atomic", lambda present: LinkedAtomic)
    decorated = transaction.atomic(_refuse_unknown_blocks)
    inside = [cell.cell_contents for cell in getattr(decorated, "__closure__", None) or ()]
    _refuse_unknown_blocks(transaction.atomic(), *(each for each in inside if isinstance(each, Atomic)))


def _refuse_unknown_blocks(*unnamed):
    named = transaction.atomic(using=DEFAULT_DB_ALIAS)
    if len(unnamed) != 2 or not all(getattr(block, "is_unnamed", False) for block in unnamed):
        raise RuntimeError(
            "do_bridge does not support how this version of Django builds blocks of atomic(). Install "
            "a version of Django that do_bridge supports."
        )
    if named.is_unnamed:
        raise RuntimeError(
            "do_bridge cannot see in this version of Django which blocks of atomic() name a database. "
            "Install a version of Django that do_bridge supports."
        )
