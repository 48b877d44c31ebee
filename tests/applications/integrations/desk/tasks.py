"""Tasks of the framework: on Django 5.2 they need the package django-tasks."""

import time
from typing import Any

from django.db import transaction

from do_bridge import current_tenant
from do_bridge.contrib.tasks import without_tenant
from do_bridge.contrib.tasks.framework import task
from tests.applications.integrations.desk.models import Note, Result, Run


@task
def write(text: str) -> str | None:
    """Write a note; return the tenant."""
    Note.objects.create(text=text)
    return current_tenant()


@task
def count(text: str = "") -> int:
    """Count notes."""
    return Note.objects.filter(text__contains=text).count()


@task
async def write_later(text: str) -> int:
    """Write a note in a coroutine."""
    await Note.objects.acreate(text=text)
    return await Note.objects.acount()


@task
@without_tenant
def needs_none(use_notes: bool = False) -> str | None:
    """Return the current tenant, of which there is none."""
    if use_notes:
        Note.objects.count()
    return current_tenant()


@task
def fail(text: str) -> None:
    """Fail."""
    raise ValueError(text)


@task
def give(value: Any) -> Any:
    """Return what cannot be stored."""
    return {value}


@task(takes_context=True)
def attempts(context: Any) -> list[Any]:
    """Return which attempt this is, and the id of the result."""
    return [context.attempt, context.task_result.id]


@task(takes_context=True)
def numbered(context: Any, number: int, seconds: float) -> None:
    """Note the begin and the end, and make a result once."""
    worker = context.task_result.worker_ids[-1]
    Run.objects.create(number=number, worker=worker, is_end=False)
    time.sleep(seconds)
    with transaction.atomic():
        Result.objects.get_or_create(number=number)
        Run.objects.create(number=number, worker=worker, is_end=True)


@task
def noted(number: int) -> str | None:
    """Note in the shared database that a task began; return the tenant."""
    Run.objects.using("default").create(number=number, worker="-", is_end=False)
    return current_tenant()
