"""A worker that needs no task framework: `python -m tests.applications.integrations.worker_process NAME`.

Each of its tasks writes in the tenant that it carries.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402

from do_bridge.contrib.tasks.models import QueuedTask  # noqa: E402
from do_bridge.contrib.tasks.queue import Queue  # noqa: E402
from do_bridge.contrib.tasks.worker import Worker  # noqa: E402
from do_bridge.tenancy import tenant_context  # noqa: E402
from tests.applications.integrations.desk.models import Result, Run  # noqa: E402


def record(number: int, worker: str, seconds: float) -> None:
    """What a task does: it notes its begin and its end, and makes its result once."""
    Run.objects.create(number=number, worker=worker, is_end=False)
    time.sleep(seconds)
    with transaction.atomic():
        Result.objects.get_or_create(number=number)
        Run.objects.create(number=number, worker=worker, is_end=True)


def main(backend: str, name: str, seconds: str, lease: str, max_attempts: str) -> None:
    """Run tasks until none is left."""

    def run(task: QueuedTask, finish: Any) -> None:
        with tenant_context(task.tenant):
            record(task.arguments["number"], name, float(seconds))
        finish("SUCCESSFUL", None, [])

    queue = Queue(backend, ["*"], name, lease=float(lease), max_attempts=int(max_attempts))
    print("ready", flush=True)  # noqa: T201
    Worker(queue, run, interval=0.2).work()


if __name__ == "__main__":
    main(*sys.argv[1:])
