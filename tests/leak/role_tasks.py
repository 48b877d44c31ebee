"""The role of one event loop with many tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from do_bridge.driver import count_trips
from do_bridge.tenancy import current_tenant, tenant_context
from tests.driver.proxy import Proxy
from tests.leak import tasks
from tests.leak.actor import Actor
from tests.leak.marks import MixUp, Tally
from tests.leak.role import Budget, Table, noting
from tests.leak.shopping import tasks as shopping_tasks

TASKS = 16
REQUEST = 20  # operations


def play(make_actor: Callable[[int], Actor], tally: Tally, budget: Budget, _proxy: Proxy | None) -> None:
    """Half of the tasks use one thread together, half have one for each "request", as ASGI servers do."""

    table = Table(tasks.OPERATIONS, shopping_tasks.OPERATIONS)

    async def requests(number: int) -> None:
        actor = make_actor(number)
        while not budget.is_spent:
            async with ThreadSensitiveContext() if number % 2 else contextlib.nullcontext():
                await _request(actor, table, tally, budget)

    async def main() -> None:
        await asyncio.gather(*map(requests, range(TASKS)))

    with count_trips() as trips:
        asyncio.run(main())
    tally.took(trips.count)


async def _request(actor: Actor, table: Table, tally: Tally, budget: Budget) -> None:
    for _ in range(REQUEST):
        if budget.is_spent:
            break
        kind, operation = table.choose(actor)
        slug = actor.slug()
        with noting(tally, kind):
            async with tenant_context(slug):
                count = await operation(actor, slug)
            if current_tenant() is not None:
                raise MixUp(f"{current_tenant()} is still current afterwards")
            tally.did(kind, count)
            budget.take(count)
    await sync_to_async(connections.close_all)()
