"""Count requests and rows by database and hour in this process's memory."""

import os
import threading
from datetime import UTC, datetime, timedelta

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.slugs import alias_slug

#: Sums kept while D1 does not answer, by database and hour; more are dropped.
MOST = 20_000
FIELDS = ("calls", "writes", "rows_read", "rows_written", "milliseconds")
ALL_TENANTS = "*"


def hour(now=None):
    """Return the beginning of the present hour in UTC, or of the hour of `now`."""
    return (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)


class Counter:
    """The usage sums of one process.

    They are {(alias, hour): [calls, writes, rows read, rows written, milliseconds]}.

    `start()` is called, outside the lock, once there is something to write. The child of a fork begins with
    nothing, because its parent writes what was counted before.
    """

    def __init__(self, start=None):
        self._begin = start
        self.forget()

    def forget(self):
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._sums = {}
        self._is_dirty = False
        self._has_begun = False
        self.lost = 0

    def seen(self, call):
        """Add one request of the driver to the sums of its connection's alias."""
        self.add(call.name, call)

    def add(self, alias, call, *, quietly=False):
        """Add one request of the driver.

        With `quietly` the request alone does not cause a write of the sums.
        """
        if not conf("USAGE") or (alias != conf("DIRECTORY_ALIAS") and alias_slug(alias) is None):
            return
        figures = (
            1,
            int(bool(call.changed or call.rows_written)),
            call.rows_read or 0,
            call.rows_written or 0,
            round(call.duration * 1000),
        )
        with self._lock:
            self._add(alias, hour(), figures)
            self._is_dirty |= not quietly
            starts, self._has_begun = not (self._has_begun or quietly), self._has_begun or not quietly
        if starts and self._begin is not None:
            self._begin()

    def take(self):
        """Return the sums and start again with nothing.

        Return an empty dictionary if there is no reason to write.
        """
        with self._lock:
            if not self._is_dirty:
                return {}
            taken, self._sums, self._is_dirty = self._sums, {}, False
            return taken

    def give_back(self, sums):
        """Add sums that could not be written."""
        with self._lock:
            for (alias, start), figures in sums.items():
                self._add(alias, start, figures)
            self._is_dirty = True

    def _add(self, alias, start, figures):
        sums = self._sums.get((alias, start))
        if sums is None:
            if len(self._sums) >= MOST:
                self.lost += figures[0]
                return
            sums = self._sums[alias, start] = [0] * len(FIELDS)
        for place, figure in enumerate(figures):
            sums[place] += figure


def with_total(sums):
    """Return the sums with those of all tenants together, under the name ALL_TENANTS."""
    found = {key: list(figures) for key, figures in sums.items()}
    for (alias, start), figures in sums.items():
        if alias_slug(alias) is not None:
            total = found.setdefault((ALL_TENANTS, start), [0] * len(FIELDS))
            for place, figure in enumerate(figures):
                total[place] += figure
    return found


def day(start):
    """Return the beginning of the day of an hour."""
    return start - timedelta(hours=start.hour)


def after_fork(counter):
    """Let the child of a fork begin with nothing."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=counter.forget)
