"""Track a leading connection's open blocks and what its followers opened for them."""

import logging

from django.db.transaction import Atomic, TransactionManagementError

logger = logging.getLogger("do_bridge.transactions")


class Links:
    """What is open on the leader.

    These are its blocks that name no database, with savepoints made by hand between them.
    """

    def __init__(self, leader):
        self.leader = leader
        #: What is open, outermost first: blocks, and names of savepoints.
        self.steps = []
        #: The followers' Parts, in the order of their first use.
        self.parts = []
        #: Whether the leader makes a savepoint for a block at this moment.
        self.is_entering = False

    def end(self, block):
        """Remove a block and what is inside it.

        Returns [(part, mirror), …] of the followers that are in the block, in the order of their first use.
        """
        place = next((at for at in range(len(self.steps) - 1, -1, -1) if self.steps[at] is block), None)
        if place is None:
            return []
        del self.steps[place:]
        ended = [(part, part.mirrors[place]) for part in self.parts if len(part.mirrors) > place]
        for part, _ in ended:
            del part.mirrors[place:]
        if not self.steps:
            for part in self.parts:
                part.follower.linked_part = None
            self.parts = []
        return ended

    def part_of(self, follower):
        """Return a follower's Part, a new one at its first use."""
        if follower.linked_part is None:
            follower.linked_part = Part(self, follower)
            self.parts.append(follower.linked_part)
        return follower.linked_part

    # An error on one of the databases

    @property
    def _is_linked(self):
        """Whether the leader's innermost block is one of these.

        A block that names a database concerns the leader alone.
        """
        return bool(self.leader.atomic_blocks) and getattr(self.leader.atomic_blocks[-1], "is_unnamed", False)

    @property
    def is_leader_broken(self):
        """Whether the block has failed on the leader."""
        return self.leader.needs_rollback and self._is_linked

    def broken_follower(self):
        """Return a follower on which the block has failed, or None."""
        if not self._is_linked:
            return None
        return next((part.follower for part in self.parts if part.is_broken_in_mirror), None)

    def forgive(self):
        """Clear errors on the followers."""
        for part in self.parts:
            part.follower.needs_rollback = False

    # Savepoints made by hand

    def savepoint(self, sid):
        """Note a savepoint of the leader."""
        if self.steps and not self.is_entering:
            self.steps.append(sid)

    def roll_back_to(self, sid):
        """Undo on the followers what they did since the leader's savepoint, which stays."""
        for part, mirror in self._reach(sid):
            part.follower.savepoint_rollback(mirror)
            part.mirrors.append(mirror)

    def release(self, sid):
        """Release the savepoint on the followers."""
        for part, mirror in self._reach(sid):
            part.follower.savepoint_commit(mirror)
        if sid in self.steps:
            self.steps.remove(sid)

    def _reach(self, sid):
        """Remove what is inside a savepoint; return [(part, its savepoint), …].

        The savepoints are taken off the parts.
        """
        if sid not in self.steps:
            return []
        place = self.steps.index(sid)
        del self.steps[place + 1 :]
        reached = [(part, part.mirrors[place]) for part in self.parts if len(part.mirrors) > place]
        for part, _ in reached:
            del part.mirrors[place:]
        return reached


class Part:
    """One follower inside the blocks of its leader.

    It has a mirror for each of them: a block or a savepoint's name.
    """

    def __init__(self, links, follower):
        self.links = links
        self.follower = follower
        self.mirrors = []

    def follow(self, steps):
        """Open what the leader has opened since."""
        for step in steps[len(self.mirrors) :]:
            if isinstance(step, Atomic):
                mirror = Atomic(self.follower.alias, step.savepoint, step.durable)
                mirror.__enter__()
            else:
                mirror = self.follower.savepoint()
            self.mirrors.append(mirror)

    @property
    def is_broken(self):
        """Whether an error in the block was swallowed, or a rollback was requested."""
        return self.follower.needs_rollback

    @property
    def is_broken_in_mirror(self):
        """Whether the follower is broken in a mirror.

        It is not if it is broken in a block that it has opened by name inside a mirror.
        """
        blocks = self.follower.atomic_blocks
        return self.is_broken and bool(blocks) and any(blocks[-1] is mirror for mirror in self.mirrors)

    def is_crossed(self, mirror):
        """Whether a block that was opened on the follower inside the mirror is still open."""
        return not self.follower.atomic_blocks or self.follower.atomic_blocks[-1] is not mirror

    def crossing_error(self):
        """Return the error about such a block."""
        return TransactionManagementError(
            f"A block of atomic() on {self.follower.alias!r} is still open at the end of the block "
            f"on {self.links.leader.alias!r} around it, so both are rolled back. Leave the inner "
            "block first."
        )

    def undo(self, mirror, exc_info):
        """Roll the follower back to where the mirror began."""
        blocks = self.follower.atomic_blocks
        if not any(block is mirror for block in blocks):
            return
        while self.is_crossed(mirror):
            blocks[-1].__exit__(*exc_info)
        if exc_info[0] is None:
            self.follower.needs_rollback = True
        mirror.__exit__(*exc_info)

    def commit(self, mirror, hand_over):
        """End the mirror, with a commit if it is the follower's outermost block.

        With `hand_over`, returns the callbacks that the commit would have run, in the form of Django's
        `run_on_commit`.
        """
        callbacks = []
        if hand_over and not self.follower.savepoint_ids:
            callbacks, self.follower.run_on_commit = self.follower.run_on_commit, []
        mirror.__exit__(None, None, None)
        return callbacks

    def outlive(self, error):
        """Undo what was committed if an outer block allows that, else log that it stays."""
        if self.follower.in_atomic_block:
            self.follower.needs_rollback = True
            return
        logger.error(
            "The transaction on %r has been committed, but the block of atomic() around it failed "
            "afterwards: %s. The two are not atomic together. Look at what the transaction wrote, "
            "and undo what must not stay.",
            self.follower.alias,
            type(error).__name__,
            extra={"alias": self.follower.alias},
        )
