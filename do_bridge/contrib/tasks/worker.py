"""The loop of a worker: it claims a task, runs it and records the result.

The lease is renewed while the task runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from .models import QueuedTask
from .queue import Queue

logger = logging.getLogger("do_bridge.tasks")
# Seconds between two tries while the database does not answer, at most.
LONGEST_PAUSE = 30.0


class Postponed(Exception):
    """A task can't begin yet; `seconds` is when to try again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The task is tried again in {seconds} s.")
        self.seconds = seconds


class Worker:
    """Run the tasks of a queue, one at a time, by `run(task, finish)`.

    `interval` is in seconds, between two looks at an empty queue. With `batch` the worker ends when no task
    is ready; `max_tasks` ends it after that number. `lost` is called with each task that has failed because
    its workers were lost.
    """

    def __init__(
        self,
        queue: Queue,
        run: Callable[[QueuedTask, Callable[..., bool]], None],
        *,
        interval: float = 1.0,
        batch: bool = False,
        max_tasks: int | None = None,
        lost: Callable[[QueuedTask], None] = lambda task: None,
    ) -> None:
        self.queue, self._run, self._lost = queue, run, lost
        self.interval, self.batch, self.max_tasks = interval, batch, max_tasks
        self.done = 0
        self._stop = threading.Event()
        self._renewal = Renewal(queue)

    @property
    def is_running_task(self) -> bool:
        """Whether a task is running now."""
        return self._renewal.task is not None

    def stop(self) -> None:
        """Let the worker end after its current task."""
        self._stop.set()

    def work(self) -> None:
        """Run tasks until the worker is to end."""
        self._renewal.start()
        pause, swept = self.interval, float("-inf")
        try:
            while not self._stop.is_set() and self.done != self.max_tasks:
                close_old_connections()
                try:
                    if time.monotonic() - swept > self.queue.lease:
                        swept = self._sweep()
                    task = self.queue.claim()
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("The queue can't be read; the worker tries again: %s", error)
                    pause = min(max(pause * 2, 0.5), LONGEST_PAUSE)
                    self._stop.wait(pause)
                    continue
                pause = self.interval
                if task is not None:
                    self._work_on(task)
                elif self.batch:
                    self._sweep()
                    return
                else:
                    self._stop.wait(self.interval)
        finally:
            self._renewal.stop()

    def _work_on(self, task):
        self._renewal.task = task
        try:
            self._run(task, partial(self._finish, task))
        except Postponed as postponed:
            self.queue.postpone(task, postponed.seconds)
        finally:
            self._renewal.task = None
            self.done += 1

    def _finish(self, task, status, return_value, errors):
        """Record a result, and return whether it is recorded.

        Try again until the lease would be over.
        """
        # The task may have left a connection unusable.
        close_old_connections()
        end, pause = time.monotonic() + self.queue.lease, 0.1
        while True:
            try:
                recorded = self.queue.finish(task, status, return_value, errors)
                break
            except (DatabaseError, InterfaceError) as error:
                if time.monotonic() + pause > end:
                    logger.error("The result of task %s can't be recorded: %s", task.pk, error)
                    return False
            time.sleep(pause)
            pause *= 2
        if not recorded:
            logger.error(
                "The result of task %s is dropped, because its lease had expired and another worker took "
                "it. Use a longer lease in the OPTIONS of TASKS.",
                task.pk,
            )
        return recorded

    def _sweep(self):
        for task in self.queue.fail_lost():
            self._lost(task)
        return time.monotonic()


class Renewal(threading.Thread):
    """Renews the lease of the worker's task, in a thread with connections of its own."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(name="do_bridge-task-lease", daemon=True)
        self.queue = queue
        self.task: Any = None
        self._end = threading.Event()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._end.set()
        self.join()

    def run(self) -> None:
        """Renew three times in each lease."""
        while not self._end.wait(self.queue.lease / 3):
            if (task := self.task) is None:
                continue
            try:
                if not self.queue.renew(task) and self.task is task:
                    logger.warning("The lease of task %s had expired, and another worker took it.", task.pk)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The lease of task %s was not renewed: %s", task.pk, error)
                connections.close_all()
        connections.close_all()
