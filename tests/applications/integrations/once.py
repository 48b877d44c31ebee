"""Judge what workers have done with numbered tasks of some tenants."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils import timezone

from do_bridge.contrib.tasks.models import QueuedTask
from do_bridge.tenancy import tenant_context
from tests.applications.integrations.desk.models import Result, Run


@dataclass
class Done:
    """What the tenants' Durable Objects hold: how often each task began, and its results."""

    begun: Counter[int]
    ended: Counter[int]
    results: Counter[int]
    strays: int  # rows in another tenant than the task's


def enqueue(backend: str, slugs: Sequence[str], count: int) -> None:
    """Queue tasks numbered from 0, each for one of the tenants in turn."""
    QueuedTask.objects.bulk_create(
        QueuedTask(
            backend=backend,
            queue="default",
            path="-",
            arguments={"number": number},
            scope="tenant",
            tenant=slugs[number % len(slugs)],
            enqueued_at=timezone.now(),
        )
        for number in range(count)
    )


def read(slugs: Sequence[str]) -> Done:
    """Read what stands in the tenants."""
    done = Done(Counter(), Counter(), Counter(), 0)
    for place, slug in enumerate(slugs):
        with tenant_context(slug):
            for number, is_end in Run.objects.values_list("number", "is_end"):
                (done.ended if is_end else done.begun)[number] += 1
                done.strays += number % len(slugs) != place
            done.results.update(Result.objects.values_list("number", flat=True))
    return done


def left(backend: str) -> int:
    """Return how many tasks have no result yet."""
    return QueuedTask.objects.filter(backend=backend, status__in=("READY", "RUNNING")).count()


def wait_until(reached: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
