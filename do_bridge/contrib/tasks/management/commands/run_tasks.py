"""The command run_tasks: a worker for tasks that TenantTaskBackend stores."""

import signal
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError


def positive(kind):
    """Return a parser of an option: a number of a kind above 0."""

    def parse(text):
        if not 0 < (number := kind(text)) < float("inf"):
            raise ValueError
        return number

    parse.__name__ = "number above 0"
    return parse


class Command(BaseCommand):
    """The command that runs tasks, one at a time, until SIGINT or SIGTERM.

    Start several commands to run several tasks at a time.
    """

    help = "Runs background tasks, each in the tenant that it was enqueued in."

    def add_arguments(self, parser):
        parser.add_argument("--backend", default="default", help="The alias in TASKS. Default: %(default)s.")
        parser.add_argument(
            "--queue-name",
            default="*",
            help="The queues, separated by commas. Default: all queues of the backend.",
        )
        parser.add_argument(
            "--interval",
            type=positive(float),
            default=1.0,
            help="Seconds between two looks at an empty queue, one round trip each. Default: %(default)s.",
        )
        parser.add_argument("--batch", action="store_true", help="End when no task is ready.")
        parser.add_argument("--max-tasks", type=positive(int), help="End after this number of tasks.")
        parser.add_argument(
            "--worker-id", default=None, help="The worker's name in results. Default: random."
        )

    def handle(self, *, backend, queue_name, interval, batch, max_tasks, worker_id, **options):
        try:
            from do_bridge.contrib.tasks.backend import TenantTaskBackend
            from do_bridge.contrib.tasks.framework import task_backends
            from do_bridge.contrib.tasks.queue import Queue
            from do_bridge.contrib.tasks.running import announce_lost, run
            from do_bridge.contrib.tasks.worker import Worker
        except ModuleNotFoundError as error:
            raise CommandError(
                "Django 5.2 needs the package django-tasks: pip install django-tasks"
            ) from error
        if backend not in task_backends.settings:
            raise CommandError(f"TASKS has no backend {backend!r}. Choose one with --backend.")
        if not isinstance(chosen := task_backends[backend], TenantTaskBackend):
            raise CommandError(
                f"TASKS[{backend!r}] does not use do_bridge.contrib.tasks, so it has no queue."
            )
        queue = Queue(
            backend,
            [name.strip() for name in queue_name.split(",")],
            (worker_id or uuid4().hex)[:64],
            lease=chosen.settings["lease"],
            max_attempts=chosen.settings["max_attempts"],
        )
        worker = Worker(queue, run, interval=interval, batch=batch, max_tasks=max_tasks, lost=announce_lost)
        before = {
            number: signal.signal(number, lambda *_: _stop(worker, before))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            worker.work()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if options["verbosity"] > 0:
            self.stdout.write(f"{worker.done} tasks run.")


def _stop(worker, before):
    """End the worker after its task; a second signal ends it at once."""
    worker.stop()
    for number, handler in before.items():
        signal.signal(number, handler)
