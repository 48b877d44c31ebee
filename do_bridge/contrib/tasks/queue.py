"""The queue of a worker: it claims tasks, holds them and records their end.

One atomic statement claims a task, and a lease holds it. Nothing here needs a transaction, so the queue works
on D1 in both modes and on a Durable Object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections, router
from django.db.models.expressions import RawSQL
from django.utils import timezone

from do_bridge.tenancy.lifecycle.lease.lease_sql import FENCE_NOW as NOW

from .models import QueuedTask, new_id

Status = QueuedTask.Status
_TABLE = QueuedTask._meta.db_table
LOST = "do_bridge.contrib.tasks.queue.WorkerLost"
#: The queues' name for all of them.
ALL = "*"


class WorkerLost(Exception):
    """A task's worker ended without a result, and the task has no attempt left."""


class Queue:
    """The tasks of one backend in some queues, for one worker.

    `lease` is in seconds. `max_attempts` is how often a task is started at most if its workers are lost.
    """

    def __init__(
        self, backend: str, queues: Sequence[str], worker: str, *, lease: float = 60.0, max_attempts: int = 3
    ) -> None:
        self.backend, self.queues, self.worker = backend, list(queues), worker
        self.lease, self.max_attempts = lease, max_attempts
        #: The claim of the next task; the same again after an answer that was lost.
        self._next = new_id()

    @property
    def alias(self) -> str:
        """The database that has the tasks."""
        return router.db_for_write(QueuedTask)

    def claim(self) -> QueuedTask | None:
        """Return a task that now belongs to this worker, or None if none is ready.

        Takes one round trip. A task whose lease has expired comes first. If the answer is lost, the next call
        returns the task that the lost one claimed.
        """
        moment = self._moment()
        mine, mine_values = self._where()
        found = self._update(
            f"status = %s, claim = %s, leased_until = {NOW} + %s, attempts = attempts + (claim IS NOT %s), "
            "workers = CASE WHEN claim IS %s THEN workers ELSE json_insert(workers, '$[#]', %s) END, "
            "started_at = COALESCE(started_at, %s), last_attempted_at = %s",
            [Status.RUNNING, self._next, self._milliseconds, self._next, self._next]
            + [self.worker, moment, moment],
            "id = COALESCE("
            f"(SELECT id FROM {_TABLE} WHERE status = 'RUNNING' AND claim = %s), "
            f"(SELECT id FROM {_TABLE} WHERE status = 'RUNNING' AND leased_until < {NOW} "
            f"AND attempts < %s AND {mine} ORDER BY leased_until LIMIT 1), "
            f"(SELECT id FROM {_TABLE} WHERE status = 'READY' AND due <= {NOW} AND {mine} "
            "ORDER BY priority DESC, due, enqueued_at LIMIT 1))",
            [self._next, self.max_attempts, *mine_values, *mine_values],
        )
        if not found:
            return None
        self._next = new_id()
        return found[0]

    def fail_lost(self) -> list[QueuedTask]:
        """Mark tasks as failed whose leases expired at their last attempts; return them."""
        mine, values = self._where()
        return self._update(
            "status = %s, finished_at = %s, errors = json_insert(errors, '$[#]', json_array(%s, %s))",
            [Status.FAILED, self._moment(), LOST, f"The worker ended at attempt {self.max_attempts}."],
            f"status = 'RUNNING' AND leased_until < {NOW} AND attempts >= %s AND {mine}",
            [self.max_attempts, *values],
        )

    def renew(self, task: QueuedTask) -> bool:
        """Begin a task's lease again; return False if another worker has the task."""
        until = RawSQL(f"{NOW} + %s", [self._milliseconds])  # noqa: S611 - a constant
        return self._mine(task).filter(status=Status.RUNNING).update(leased_until=until) == 1

    def finish(self, task: QueuedTask, status: str, return_value: Any, errors: list[Any]) -> bool:
        """Record a result in the row and in `task`.

        Return False if another worker has the task. This is safe to repeat.
        """
        task.status, task.return_value, task.finished_at = status, return_value, timezone.now()
        values = {"errors": [*task.errors, *errors], "return_value": return_value, "status": status}
        if self._mine(task).update(**values, finished_at=task.finished_at) != 1:
            return False
        task.errors = values["errors"]
        return True

    def postpone(self, task: QueuedTask, seconds: float) -> bool:
        """Give a task back that has not begun; the attempt does not count."""
        due = RawSQL(f"{NOW} + %s", [int(seconds * 1000)])  # noqa: S611 - a constant
        return (
            self._mine(task).update(
                status=Status.READY, due=due, attempts=task.attempts - 1, workers=task.workers[:-1]
            )
            == 1
        )

    @property
    def _milliseconds(self):
        return int(self.lease * 1000)

    def _mine(self, task):
        # The claim stays when the task ends, so that a repeated statement finds the row.
        return QueuedTask._base_manager.using(self.alias).filter(pk=task.pk, claim=task.claim)

    def _where(self):
        if ALL in self.queues:
            return "backend = %s", [self.backend]
        places = ", ".join(["%s"] * len(self.queues))
        return f"backend = %s AND queue IN ({places})", [self.backend, *self.queues]

    def _moment(self):
        return connections[self.alias].ops.adapt_datetimefield_value(timezone.now())

    def _update(self, changes, change_values, where, where_values):
        """Run UPDATE … RETURNING; return the changed rows."""
        fields = QueuedTask._meta.concrete_fields
        columns = ", ".join(field.column for field in fields)
        sql = f"UPDATE {_TABLE} SET {changes} WHERE {where} RETURNING {columns}"
        with connections[self.alias].cursor() as cursor:
            cursor.execute(sql, [*change_values, *where_values])
            rows = cursor.fetchall()
        # Not raw(), which needs the names of the columns also if no row is returned.
        compiler = QueuedTask._base_manager.using(self.alias).query.get_compiler(self.alias)
        converters = compiler.get_converters([field.get_col(_TABLE) for field in fields])
        names = [field.attname for field in fields]
        return [
            QueuedTask.from_db(self.alias, names, row) for row in compiler.apply_converters(rows, converters)
        ]
