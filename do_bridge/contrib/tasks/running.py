"""Run a claimed task inside its tenant, and record how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from traceback import format_exception
from typing import Any

from do_bridge.tenancy.context import directory_context, tenant_context, unset_context
from do_bridge.tenancy.schema.errors import SchemaMismatch, TenantGone
from do_bridge.tenancy.tenants import lookup

from .backend import result_of, task_of
from .framework import TaskContext, normalize_json, task_finished, task_started
from .models import QueuedTask
from .worker import Postponed

logger = logging.getLogger("do_bridge.tasks")
Status = QueuedTask.Status
#: Seconds until a task is tried again whose tenant is being migrated.
PAUSE = 60
Finish = Callable[[str, Any, list[Any]], bool]


def run(row: QueuedTask, finish: Finish) -> None:
    """Call a task's function, and record its result.

    `finish(status, return_value, errors)` records it. Raises Postponed, before the function is called, if the
    tenant's database is not ready.
    """
    try:
        context, task = context_of(row), task_of(row)
    except SchemaMismatch as error:
        if not isinstance(error, TenantGone):
            raise Postponed(PAUSE) from error
        _fail(row, finish, error)
    except (ImportError, TypeError, ValueError) as error:
        _fail(row, finish, error)
    else:
        # Always entered, so that nothing of the task before is current.
        with context:
            _call(row, task, finish)


def context_of(row: QueuedTask) -> AbstractContextManager[Any]:
    """Return the context that a task was enqueued in.

    Raises TenantGone if the task's tenant has no row.
    """
    if row.scope == QueuedTask.Scope.DIRECTORY:
        return directory_context()
    if row.scope != QueuedTask.Scope.TENANT:
        return unset_context()
    if lookup.get(row.tenant) is None:
        raise TenantGone(f"Tenant {row.tenant!r} does not exist any more, so its task did not run.")
    return tenant_context(row.tenant)


def announce_lost(row: QueuedTask) -> None:
    """Log a task whose workers were lost, and send task_finished for it."""
    logger.error("Task %s (%s) has failed: its worker was lost at the last attempt.", row.pk, row.path)
    try:
        task = task_of(row)
    except (ImportError, TypeError, ValueError):
        return
    task_finished.send_robust(type(task.get_backend()), task_result=result_of(row, task))


def _call(row, task, finish):
    result = result_of(row, task)
    backend = type(task.get_backend())
    task_started.send(backend, task_result=result)
    try:
        context = [TaskContext(task_result=result)] if task.takes_context else []
        value = normalize_json(task.call(*context, *result.args, **result.kwargs))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Sent here, because the framework's own receiver logs sys.exc_info().
        if finish(Status.FAILED, None, [_described(error)]):
            task_finished.send_robust(backend, task_result=result_of(row, task))
    else:
        if finish(Status.SUCCESSFUL, value, []):
            task_finished.send_robust(backend, task_result=result_of(row, task))


def _fail(row, finish, error):
    logger.error("Task %s (%s) can't run: %s", row.pk, row.path, error)
    finish(Status.FAILED, None, [_described(error)])


def _described(error):
    return [f"{type(error).__module__}.{type(error).__qualname__}", "".join(format_exception(error))]
