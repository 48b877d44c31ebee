"""The integration with Celery: each task runs in the tenant that sent it.

A task carries the tenant that is current when it is sent. Call `connect()` once, next to the Celery
application.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

from celery import signals
from django.db import DatabaseError

from do_bridge.tenancy.context import current, directory_context, tenant_context, unset_context
from do_bridge.tenancy.slugs import alias_slug, tenant_alias
from do_bridge.tenancy.tenants import lookup

logger = logging.getLogger("do_bridge.tasks")

#: The header of a task's message: "tenant/<slug>", "directory" or "unset".
HEADER = "do_bridge_scope"
DIRECTORY, UNSET = "directory", "unset"
# The attribute of a running task's request that has the open context.
_CONTEXT = "do_bridge_context"


def connect() -> None:
    """Send the current tenant with each task, and run each task in its tenant.

    A task whose message has no tenant runs without one, so tenant models raise NoTenant. That also holds for
    messages of processes that did not call this function.
    """
    signals.before_task_publish.connect(_send, weak=False, dispatch_uid="do_bridge.send_tenant")
    signals.task_prerun.connect(_enter, weak=False, dispatch_uid="do_bridge.enter_tenant")
    signals.task_postrun.connect(_leave, weak=False, dispatch_uid="do_bridge.leave_tenant")


def disconnect() -> None:
    """Undo `connect`."""
    signals.before_task_publish.disconnect(dispatch_uid="do_bridge.send_tenant")
    signals.task_prerun.disconnect(dispatch_uid="do_bridge.enter_tenant")
    signals.task_postrun.disconnect(dispatch_uid="do_bridge.leave_tenant")


def for_tenant(slug: str) -> dict[str, str]:
    """Return headers that choose a task's tenant.

    Use them as `task.apply_async(headers=for_tenant("acme"))`. The schedule of celery beat takes them as
    `"options": {"headers": for_tenant("acme")}`. Raises InvalidSlug.
    """
    return {HEADER: tenant_alias(slug)}


def _send(headers: dict[str, Any], **kwargs: Any) -> None:
    scope = current()
    own = scope.alias if scope.is_tenant else DIRECTORY if scope.is_directory else UNSET
    headers.setdefault(HEADER, own)


def _enter(task: Any, **kwargs: Any) -> None:
    request = task.request
    name = (request.headers or {}).get(HEADER) or getattr(request, HEADER, None)
    if name is None and request.is_eager:
        return  # It is called like a function, in the context of its caller.
    context = _context_of(name, task)
    context.__enter__()
    setattr(request, _CONTEXT, context)


def _leave(task: Any, **kwargs: Any) -> None:
    context = getattr(task.request, _CONTEXT, None)
    if context is not None:
        delattr(task.request, _CONTEXT)
        context.__exit__(None, None, None)


def _context_of(name: str | None, task: Any) -> AbstractContextManager[Any]:
    """Return the context of a header.

    Celery logs what a receiver raises and runs the task, so each failure leads to no tenant.
    """
    if name == DIRECTORY:
        return directory_context()
    slug = alias_slug(name)
    if slug is None:
        if name != UNSET:
            logger.warning(
                "The message of task %s has no tenant, so it runs without one. Call "
                "do_bridge.contrib.celery.connect() in the process that sends it.",
                task.name,
            )
        return unset_context()
    try:
        exists = lookup.get(slug) is not None
    except DatabaseError:
        exists = True  # The task's own statements raise the error.
    if exists:
        return tenant_context(slug)
    logger.error("Tenant %r of task %s does not exist, so the task runs without a tenant.", slug, task.name)
    return unset_context()
