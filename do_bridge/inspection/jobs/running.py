"""The runner of jobs, in a thread of the site or in a command.

An interrupted job continues with the next run.
"""

import logging
import threading

from django.db import connections

from do_bridge.tenancy import directory_context
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.lease.leases import renewed

from .state import Taken
from .work import worker

logger = logging.getLogger("do_bridge.inspection")


def run(job, on_chunk=None):
    """Work on a job until nothing waits or the job is stopped.

    Return False if another worker has the job. `on_chunk(number of databases)` is called after each chunk
    that was recorded.
    """
    taken = Taken(job.pk, conf("LEASE_SECONDS"))
    if not taken.take():
        return False
    work = worker(job.action)
    with renewed(conf("DIRECTORY_ALIAS"), taken.renewal(), taken.seconds):
        slugs = taken.record([])
        while slugs:
            done = work(slugs)
            slugs = taken.record(done)
            if on_chunk is not None:
                on_chunk(len(done))
    taken.end()
    return True


def run_in_thread(job):
    """Run a job in a thread, which ends with the process; return the thread."""
    thread = threading.Thread(target=_run, args=(job,), name=f"do-bridge-job-{job.pk}", daemon=True)
    thread.start()
    return thread


def _run(job):
    try:
        with directory_context():
            run(job)
    except Exception:
        # The job's page shows that the job is not running, and continues it.
        logger.exception("Job %d (%s) was cut off", job.pk, job.action)
    finally:
        connections.close_all()
