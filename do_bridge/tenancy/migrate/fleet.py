"""Works through many tenants in threads: in pieces, past failures, and to a clean stop at Ctrl-C."""

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

#: Tenants between two writes to the ledger; so many are looked at again after a crash.
PIECE = 64
JOBS = 4
#: Seconds after which a run looks whether somebody wants it to end.
AWAKE = 0.5


@dataclass
class Outcome:
    """What became of one tenant."""

    slug: str
    text: str = "ok"
    fingerprint: str = ""
    seconds: float = 0.0
    error: str = ""

    @property
    def failed(self):
        """Whether it is not where it should be."""
        return bool(self.error)


@dataclass
class Fleet:
    """One run over many tenants.

    `work(slug)` returns an Outcome and may raise anything; `before(slugs)` and `after(outcomes, untouched)`
    are called around each piece, in the calling thread, to write many rows in one trip.
    """

    work: object
    before: object = None
    after: object = None
    jobs: int = JOBS
    outcomes: list = field(default_factory=list)
    interrupted: bool = False

    def run(self, slugs, bar=None):
        """Work through `slugs`; return outcomes. After Ctrl-C `interrupted` is true, the rest untouched."""
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
        """Let the first Ctrl-C end the run when the tenants that have begun are done, the second at once."""
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
        # A Ctrl-C that comes just as this thread falls asleep is seen when it wakes.
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
            # Whatever a tenant's work raises concerns it alone; the others go on.
            outcome = Outcome(slug, error=f"{type(error).__name__}: {error}")
            connection = getattr(connections._connections, tenant_alias(slug), None)
            outcome.fingerprint = getattr(connection, "schema_fingerprint", "")
        outcome.seconds = time.monotonic() - start
        tenant_databases().release(tenant_alias(slug))
        if bar is not None:
            bar.update()
        return outcome
