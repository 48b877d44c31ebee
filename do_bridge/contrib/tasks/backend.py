"""The backend for `TASKS`, which stores tasks in the shared database.

Each is stored with the tenant that is current.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.module_loading import import_string

from do_bridge.tenancy.context import NoTenant, current

from . import needs_no_tenant
from .framework import (
    BaseTaskBackend,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_enqueued,
)

#: OPTIONS: seconds of a lease, attempts of a task whose workers are lost, and whether a tenant is needed.
DEFAULTS = {"lease": 60, "max_attempts": 3, "require_tenant": True}


class TenantTaskBackend(BaseTaskBackend):
    """A task backend with its queue in the shared database.

    `manage.py run_tasks` runs each task in the tenant that it came from.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        if unknown := set(self.options) - set(DEFAULTS):
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]['OPTIONS'] has the unknown {', '.join(sorted(map(repr, unknown)))}. "
                f"Use {', '.join(map(repr, DEFAULTS))}."
            )
        self.settings = DEFAULTS | self.options
        if not self.settings["lease"] > 0 or not self.settings["max_attempts"] >= 1:
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]['OPTIONS'] needs a lease above 0 and at least 1 max_attempts."
            )

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult:
        """Store a task with the current tenant.

        Raises NoTenant if the task needs a tenant and none is current.
        """
        from .models import QueuedTask

        self.validate_task(task)
        scope, tenant = self._scope(task)
        row = QueuedTask(
            backend=self.alias,
            queue=task.queue_name,
            path=task.module_path,
            arguments=normalize_json({"args": list(args), "kwargs": kwargs}),
            scope=scope,
            tenant=tenant,
            priority=task.priority,
            due=0 if task.run_after is None else int(task.run_after.timestamp() * 1000),
            enqueued_at=timezone.now(),
        )
        row.save(force_insert=True)
        result = result_of(row, task)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """Return the result of a task.

        Inside a tenant, find only its own tasks and those without a tenant. Raises TaskResultDoesNotExist.
        """
        from .models import QueuedTask

        rows = QueuedTask.objects.filter(pk=result_id, backend=self.alias)
        scope = current()
        if scope.is_tenant:
            rows = rows.filter(tenant__in=(scope.slug, ""))
        row = rows.first()
        if row is None:
            raise TaskResultDoesNotExist(result_id)
        return result_of(row)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Return an error if the application with the table is not installed."""
        if apps.is_installed("do_bridge.contrib.tasks"):
            return []
        return [
            checks.Error(
                f"TASKS[{self.alias!r}] uses TenantTaskBackend, but its application is not installed.",
                hint="Add 'do_bridge.contrib.tasks' to INSTALLED_APPS, and run manage.py migrate.",
                id="do_bridge_tasks.E001",
            )
        ]

    def _scope(self, task):
        """Return the scope and the tenant that a task is to run in."""
        from .models import QueuedTask

        scope = current()
        if needs_no_tenant(task.func):
            return QueuedTask.Scope.UNSET, ""
        if scope.is_tenant:
            return QueuedTask.Scope.TENANT, scope.slug
        if scope.is_directory:
            return QueuedTask.Scope.DIRECTORY, ""
        if self.settings["require_tenant"]:
            raise NoTenant(
                f"The task {task.module_path} was enqueued while no tenant is current. Enqueue it inside "
                "tenant_context(slug). If it uses no tenant's rows, decorate it with "
                "@do_bridge.contrib.tasks.without_tenant."
            )
        return QueuedTask.Scope.UNSET, ""


def task_of(row: Any) -> Task:
    """Return the task that a row names.

    Raises ImportError or TypeError if it does not exist.
    """
    task = import_string(row.path)
    if not isinstance(task, Task):
        raise TypeError(f"{row.path} is not a task.")
    run_after = None if not row.due else datetime.fromtimestamp(row.due / 1000, UTC)
    return task.using(priority=row.priority, queue_name=row.queue, backend=row.backend, run_after=run_after)


def result_of(row: Any, task: Task | None = None) -> TaskResult:
    """Return the framework's result of a row."""
    result = TaskResult(
        task=task or task_of(row),
        id=row.pk,
        status=TaskResultStatus(row.status),
        enqueued_at=row.enqueued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        last_attempted_at=row.last_attempted_at,
        args=row.arguments["args"],
        kwargs=row.arguments["kwargs"],
        backend=row.backend,
        errors=[TaskError(exception_class_path=name, traceback=text) for name, text in row.errors],
        worker_ids=list(row.workers),
    )
    object.__setattr__(result, "_return_value", row.return_value)  # as Django's own backends do
    return result
