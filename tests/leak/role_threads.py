"""The roles of threads: with databases in reach, and with connections that are cut, stalled and too slow."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connections,
    transaction,
)
from django.db.transaction import TransactionManagementError

from blog.models import Post
from do_bridge import driver
from do_bridge.tenancy import current_tenant, tenant_alias, tenant_context
from tests.driver.proxy import Proxy
from tests.leak import crossing, driving, reading, writing
from tests.leak.actor import Actor
from tests.leak.marks import MixUp, Tally, check, mark, require
from tests.leak.role import IMPATIENT, Budget, Table, beside, in_threads, noting
from tests.leak.shopping import administered, fresh, lists, prefetches, rest, views
from tests.leak.shopping import crossing as shopping_crossing
from tests.leak.shopping import forms as shopping_forms

THREADS = 8
VISIT = 8  # operations at most that follow each other in one tenant
REQUEST = 20  # operations, after which connections are looked at as a web server does
# What cut connections, timeouts and ended leases give.
FAULTS = (
    *(OperationalError, InterfaceError, InternalError, TransactionManagementError),
    *(driver.OperationalError, driver.InterfaceError, driver.InternalError),
)
TABLES = (reading, writing, crossing, driving)
# What ordinary applications have; see shop/.
SHOP = (lists, prefetches, shopping_crossing, shopping_forms, views, rest, administered, fresh)
OPERATIONS = {name: weight for part in (*TABLES, *SHOP) for name, weight in part.OPERATIONS.items()}


def play(make_actor: Callable[[int], Actor], tally: Tally, budget: Budget, _proxy: Proxy | None) -> None:
    """Threads that expect no error at all."""
    table = Table(OPERATIONS)
    in_threads(THREADS, lambda number: work(make_actor(number), table, tally, budget))


def play_with_faults(make_actor: Callable[[int], Actor], tally: Tally, budget: Budget, proxy: Proxy) -> None:
    """Threads that expect errors, and no mix-up after one."""
    table = Table(OPERATIONS, {overstayed: 4, abandoned: 3})
    chance = make_actor(THREADS).random
    with beside(lambda over: disturb(proxy, chance, over, IMPATIENT["timeout"])):
        in_threads(THREADS, lambda number: work(make_actor(number), table, tally, budget, FAULTS))


def work(
    actor: Actor, table: Table, tally: Tally, budget: Budget, expected: tuple[type[Exception], ...] = ()
) -> None:
    """Do operations until the budget is spent, and count their round trips."""
    with driver.count_trips() as trips:
        _work(actor, table, tally, budget, expected)
    tally.took(trips.count)


def _work(
    actor: Actor, table: Table, tally: Tally, budget: Budget, expected: tuple[type[Exception], ...]
) -> None:
    done = stays = 0
    try:
        while not budget.is_spent:
            if not stays:
                slug, stays = actor.slug(), actor.random.randint(1, VISIT)
            stays -= 1
            kind, operation = table.choose(actor)
            with noting(tally, kind, expected):
                with tenant_context(slug):
                    count = operation(actor, slug)
                tally.did(kind, count)
                budget.take(count)
            with noting(tally, kind):
                if current_tenant() is not None:
                    raise MixUp(f"{current_tenant()} is still current afterwards")
            done += 1
            if done % REQUEST == 0:
                close_old_connections()
    finally:
        connections.close_all()


def disturb(
    proxy: Proxy, chance: random.Random, over: threading.Event, longest: float, pause: float = 0.4
) -> None:
    """Cut the proxy's connections, lose answers and hold them back until it is over; times in seconds."""
    while not over.wait(pause * (0.2 + chance.random())):
        fault = chance.choice(("cut", "lose", "lose", "stall"))
        if fault == "cut":
            proxy.cut()
        elif fault == "lose":
            proxy.lose_answers = 1
        else:
            proxy.stall(chance.random() * 1.5 * longest)


def overstayed(actor: Actor, slug: str) -> int:
    """A transaction outlives its lease: its rows are gone, and the next tenant gets its own."""
    token, alias = actor.token(), tenant_alias(slug)
    try:
        with transaction.atomic(using=alias):
            Post.objects.create(**actor.fields(slug, token))
            time.sleep(IMPATIENT["lease"] + 0.2)
            Post.objects.create(**actor.fields(slug, token))
    except FAULTS:
        pass
    else:
        require(slug, False, "a transaction outlived its lease")
    with tenant_context(other := actor.other(slug)):
        check(other, Post.objects.get(pk=actor.key()).title)
    require(slug, not Post.objects.filter(title__endswith=token).exists(), "a row outlived its lease")
    return 4


def abandoned(actor: Actor, slug: str) -> int:
    """A transaction is left open and forgotten; whoever gets its session next reads the right tenant."""
    connection = driving.connect(slug)
    connection.begin()
    connection.execute("UPDATE blog_post SET title = %s WHERE id = %s", ["nobody's", actor.key()])
    del connection
    other = actor.other(slug)
    with driving.connect(other) as next_one:
        check(other, next_one.execute("SELECT title FROM blog_post WHERE id = 1").fetchone()[0])
    check(slug, Post.objects.get(pk=actor.key()).title)
    require(slug, not Post.objects.exclude(title__startswith=mark(slug)).exists(), "an open write stayed")
    return 4
