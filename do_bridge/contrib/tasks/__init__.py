"""Background tasks that carry their tenant.

The package has a backend for `django.tasks` and its worker.
"""

from __future__ import annotations

from typing import Any, TypeVar

_F = TypeVar("_F")


def without_tenant(function: _F) -> _F:
    """Let a task run without a tenant, whatever is current when it is enqueued.

    Write it below `@task`. Inside the task no tenant is current, so tenant models raise NoTenant.
    """
    function.__dict__["needs_no_tenant"] = True
    return function


def needs_no_tenant(function: Any) -> bool:
    """Return whether `without_tenant` decorates a task's function."""
    return getattr(function, "needs_no_tenant", False)
