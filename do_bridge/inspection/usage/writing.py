"""The thread that writes the usage sums of this process to D1.

It writes once a minute. At the end of the process the rest is written. No request waits for it. A process
that ends before its first minute writes only if it has served a request, so that a short command does not
wait for D1. If D1 does not answer, the sums are kept for the next minute.
"""

import atexit
import contextlib
import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from django.core.signals import request_started
from django.db import DatabaseError, InterfaceError, connections

from do_bridge.driver.calls import observe
from do_bridge.tenancy.conf import conf

from .counting import FIELDS, Counter, after_fork, day, with_total

logger = logging.getLogger("do_bridge.inspection")

SECONDS = 60.0
#: The name of the connection that writes the sums.
NAME = "usage"
#: Seconds that D1 has for its answer, also at the end of the process.
PATIENCE = 5.0
#: Hours are kept for so long, and days for so long.
HOURS_FOR, DAYS_FOR = timedelta(hours=50), timedelta(days=63)
TIDY_SECONDS = 6 * 3600
_TEXT = "%Y-%m-%d %H:%M:%S"


class Writer:
    """The thread that writes a process's sums."""

    def __init__(self):
        self.counter = Counter(self.start)
        self.forget()

    def forget(self):
        """Start without counts, in the child of a fork."""
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._tidied = None
        self.serves = False

    def start(self):
        """Start the thread; it ends with the process."""
        threading.Thread(target=self._run, name="do-bridge-usage", daemon=True).start()

    def _run(self):
        stop = self._stop
        while not stop.wait(SECONDS):
            self.serves = True
            try:
                self.write()
            except Exception:
                # Without this thread the sums would only grow.
                logger.exception("The use of databases was not written to the shared database")
            finally:
                connections.close_all()

    def write(self):
        """Write the counted sums to D1, in one round trip.

        Return whether D1 has them, or there was nothing to write. A write whose outcome is unknown is not
        repeated, because D1 would count it twice.
        """
        with self._writing:
            taken = self.counter.take()
            if not taken:
                return True
            try:
                self._send(taken)
            except (DatabaseError, InterfaceError, RuntimeError) as error:
                # A RuntimeError: at the interpreter's end no thread, and so no session, can be opened.
                if getattr(error.__cause__, "effect", None) != "unknown":
                    self.counter.give_back(taken)
                logger.info("The use of databases was not written to the shared database: %s", error)
                return False
            return True

    def _send(self, taken):
        # Imported late: every command imports this module.
        from do_bridge.backends.sqlite_file.schema import connect

        alias = conf("DIRECTORY_ALIAS")
        statements = [upsert(with_total(taken))]
        tidies = self._tidied is None or time.monotonic() - self._tidied > TIDY_SECONDS
        if tidies:
            statements += tidying(datetime.now(UTC))
        wrapper = connections[alias]
        with (
            wrapper.wrap_database_errors,
            contextlib.closing(connect(wrapper, timeout=PATIENCE)) as connection,
        ):
            # Observers see another name. The request is counted with the next write, but does not cause one.
            connection.name = NAME
            connection.on_call = partial(self.counter.add, alias, quietly=True)
            connection.execute_batch(statements)
        if tidies:
            self._tidied = time.monotonic()

    def at_exit(self):
        """Write what is left when the process ends."""
        self._stop.set()
        if self.serves:
            self.write()


def upsert(sums):
    """Return the statement that adds sums, {(alias, hour): figures}, to D1's."""
    rows = [[alias, start.strftime(_TEXT), *figures] for (alias, start), figures in sums.items()]
    values = ", ".join(f"value->>{place}" for place in range(len(FIELDS) + 2))
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)
    sql = (
        f"INSERT INTO {_table()} (database, start, {', '.join(FIELDS)}, hours) "  # noqa: S608
        f"SELECT {values}, 1 FROM json_each(%s) WHERE true "
        f"ON CONFLICT (database, start, hours) DO UPDATE SET {added}"
    )
    return sql, [json.dumps(rows)]


def tidying(now):
    """Return the statements that sum up old hours by day and delete old days.

    Two processes may run them at the same time.
    """
    table, names = _table(), ", ".join(FIELDS)
    before = day(now - HOURS_FOR).strftime(_TEXT)
    sums = ", ".join(f"sum({name})" for name in FIELDS)
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)
    made = (
        f"INSERT INTO {table} (database, start, {names}, hours) "  # noqa: S608
        f"SELECT database, date(start) || ' 00:00:00', {sums}, 24 FROM {table} "
        f"WHERE start < %s AND hours = 1 GROUP BY 1, 2 "
        f"ON CONFLICT (database, start, hours) DO UPDATE SET {added}"
    )
    return [
        (made, [before]),
        (f"DELETE FROM {table} WHERE start < %s AND hours = 1", [before]),  # noqa: S608
        (f"DELETE FROM {table} WHERE start < %s", [day(now - DAYS_FOR).strftime(_TEXT)]),  # noqa: S608
    ]


def _table():
    from .models import Usage

    return connections[conf("DIRECTORY_ALIAS")].ops.quote_name(Usage._meta.db_table)


writer = Writer()


def _serve(**kwargs):
    writer.serves = True


def count_usage():
    """Begin to count; the app does this when it is ready."""
    observe(writer.counter.seen, _needs_rows)
    request_started.connect(_serve, dispatch_uid="do_bridge.usage_serves")
    after_fork(writer.counter)
    after_fork(writer)
    # A server that forks and then ends by os._exit() calls this itself; see the how-to about usage.
    atexit.register(writer.at_exit)


def _needs_rows():
    return conf("USAGE")
