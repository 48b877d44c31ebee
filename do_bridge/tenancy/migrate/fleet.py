"""Work on many tenants in threads, in chunks.

A failure does not stop the run, and Ctrl-C stops it cleanly.
"""

import contextvars
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import connections

from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import tenant_alias

#: Tenants between two writes to the ledger; as many are checked again after a crash.
PIECE = 64
JOBS = 4
#: Seconds until a run reacts to Ctrl-C, at most.
AWAKE = 0.5


@dataclass
class Outcome:
    """The outcome for one tenant."""

    slug: str
    text: str = "ok"
    fingerprint: str = ""
    seconds: float = 0.0
    error: str = ""

    @property
    def failed(self):
        """Whether the work failed."""
        return bool(self.error)


@dataclass
class Fleet:
    """One run over many tenants.

    `work(slug)` returns an Outcome and may raise anything; `before(slugs)` and `after(outcomes, untouched)`
    are called around each chunk, in the calling thread, to write many rows in one round trip.
    """

    work: object
    before: object = None
    after: object = None
    jobs: int = JOBS
    outcomes: list = field(default_factory=list)
    interrupted: bool = False

    def run(self, slugs, bar=None):
        """Work on `slugs` and return the outcomes.

        After Ctrl-C `interrupted` is true, and the remaining tenants are untouched.
        """
        self._stop = threading.Event()
        slugs = list(slugs)
        with self._ctrl_c(), ThreadPoolExecutor(max(1, self.jobs), "do-bridge") as pool:
            for start in range(0, len(slugs), PIECE):
                self._run_piece(pool, slugs[start : start + PIECE], bar)
                if self.interrupted:
                    break
        return self.outcomes

    @contextmanager
    def _ctrl_c(self):
        """Let the first Ctrl-C end the run after the running tenants, the second at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number, frame):
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            self._stop.set()

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before or signal.default_int_handler)

    def _run_piece(self, pool, slugs, bar):
        if self.before is not None:
            self.before(slugs)
        futures = {slug: pool.submit(contextvars.copy_context().run, self._one, slug, bar) for slug in slugs}
        # A Ctrl-C just before this thread sleeps is handled when it wakes.
        while wait(futures.values(), timeout=AWAKE).not_done:
            pass
        done = [outcome for future in futures.values() if (outcome := future.result()) is not None]
        self.outcomes += done
        touched = {outcome.slug for outcome in done}
        if self.after is not None:
            self.after(done, [slug for slug in slugs if slug not in touched])

    def _one(self, slug, bar):
        if self._stop.is_set():
            return None
        start = time.monotonic()
        try:
            outcome = self.work(slug)
        except Exception as error:
            # One tenant's failure must not end the run.
            outcome = Outcome(slug, error=f"{type(error).__name__}: {error}")
            connection = getattr(connections._connections, tenant_alias(slug), None)
            outcome.fingerprint = getattr(connection, "schema_fingerprint", "")
        outcome.seconds = time.monotonic() - start
        tenant_databases().release(tenant_alias(slug))
        if bar is not None:
            bar.update()
        return outcome
