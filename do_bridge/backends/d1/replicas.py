"""What one request has seen of each D1 database.

With it replicas may serve the reads of the request. Outside of a visit, as in commands, tasks and migrations,
every statement runs on the primary, and no session of D1 is opened.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from do_bridge.backends.decorating import BlockDecorator
from do_bridge.driver.replicas import FIRST_PRIMARY, FIRST_UNCONSTRAINED

_visit = ContextVar("do_bridge_visit", default=None)
_is_primary = ContextVar("do_bridge_primary", default=False)


class Seen:
    """What a visit has seen of one database: a `do_bridge.driver.replicas.D1Session`.

    `bookmark` is the newest one, or None. `losses` counts the events after which it is too old: a write that
    failed, or an answer without a bookmark. Reads then go to the primary, until one of its answers brings a
    bookmark that covers them.
    """

    def __init__(self, visit, bookmark=None, *, is_lost=False):
        self.bookmark = bookmark
        self.losses = int(is_lost)
        self._visit = visit
        self._covered = 0
        self._lock = Lock()

    @property
    def is_lost(self):
        """Whether the database has a version that is newer than the bookmark."""
        return self.losses > self._covered

    def constraint(self, statements):
        if self._visit.reads_primary or self.is_lost or self._visit.needs_primary(statements):
            return FIRST_PRIMARY
        return self.bookmark or FIRST_UNCONSTRAINED

    def seen(self, bookmark, covers):
        with self._lock:
            # Bookmarks are sorted as texts: https://developers.cloudflare.com/d1/reference/glossary/
            self.bookmark = max(self.bookmark or bookmark, bookmark)
            if covers is not None:
                self._covered = max(self._covered, covers)

    def lost(self):
        with self._lock:
            self.losses += 1

    def refused(self):
        with self._lock:
            self.bookmark = None
            self.losses += 1


class _OnPrimary:
    """A Seen whose statements all go to the primary."""

    def __init__(self, seen):
        self._seen = seen
        self.seen, self.lost, self.refused = seen.seen, seen.lost, seen.refused

    @property
    def losses(self):
        return self._seen.losses

    def constraint(self, statements):
        return FIRST_PRIMARY


class Visit:
    """One request, with what its visitor has seen before.

    `bookmarks` maps a driver's database (`d1:…`) to the newest bookmark, or to "" if that is unknown and the
    primary must be read. Any replica may answer for a database that is not in it. With `reads_primary` all
    reads of the request go to the primary. `needs_primary(statements)` returns whether these do.
    """

    def __init__(self, bookmarks=None, *, reads_primary=False, needs_primary=None):
        self.reads_primary = reads_primary
        self.needs_primary = needs_primary or (lambda statements: False)
        self._before = dict(bookmarks or {})
        self._seen = {}
        self._lock = Lock()

    def of(self, database):
        """Return the Seen of a database."""
        with self._lock:
            found = self._seen.get(database)
            if found is None:
                known = self._before.get(database)
                found = self._seen[database] = Seen(self, known or None, is_lost=known == "")
            return found

    def bookmarks(self):
        """Return the bookmarks of the databases that this request has used.

        "" stands for an unknown one, as in the arguments.
        """
        with self._lock:
            used = dict(self._seen)
        return {name: "" if seen.is_lost else seen.bookmark for name, seen in used.items() if _has(seen)}


def _has(seen):
    return seen.is_lost or seen.bookmark is not None


def session_of(wrapper, database):
    """Return the session of D1 for the next request of a weakly referenced wrapper.

    None outside of a visit: the primary answers, without a session.
    """
    visit, wrapper = _visit.get(), wrapper()
    if visit is None or wrapper is None:
        return None
    seen = visit.of(database)
    return _OnPrimary(seen) if wrapper.reads_primary or _is_primary.get() else seen


@contextmanager
def visiting(visit):
    """Let the block's reads use replicas, within the limits of the visit."""
    token = _visit.set(visit)
    try:
        yield visit
    finally:
        _visit.reset(token)


class OnPrimary(BlockDecorator):
    """Read from the primary in a block or a decorated function."""

    refuses_generators = (
        "primary() can't decorate a generator function, because its body runs after the decorator has "
        "returned. Use `with primary():` inside the function."
    )

    def __enter__(self) -> None:
        self._token = _is_primary.set(True)

    def __exit__(self, *exc_info: object) -> None:
        _is_primary.reset(self._token)

    def _recreate_cm(self):
        return type(self)()
