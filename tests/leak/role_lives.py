"""The roles of people in tenants with several lives: where these are decided over, and in another process."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.core.exceptions import ObjectDoesNotExist
from django.db import close_old_connections, connections

from tests.driver.proxy import Proxy
from tests.leak import lives
from tests.leak.actor import Actor
from tests.leak.fates import Fates, Life, move_about
from tests.leak.journals import Journal
from tests.leak.marks import MixUp, Tally
from tests.leak.role import Budget, Table, beside, in_threads, noting
from tests.leak.role_threads import FAULTS, disturb

KEEPERS = 2
DECIDERS = 2
REQUEST = 20  # operations, after which connections are looked at as a web server does
PATIENCE = 600.0  # seconds for all of a run's processes to come to its end
# What those see whose tenant is restored, deleted or not yet there, or whose connection is cut.
MEANWHILE = (*FAULTS, ObjectDoesNotExist)

MakeActor = Callable[[int], Actor]


def play(make_actor: MakeActor, tally: Tally, budget: Budget, _proxy: Proxy | None) -> None:
    """Work in the tenants, while other threads decide over them."""
    folder, over = Path(os.environ["LEAK_JOURNALS"]), threading.Event()
    shared = [lives.SLUGS[number::DECIDERS] for number in range(DECIDERS)]
    deciders = []
    for number, slugs in enumerate(shared, KEEPERS):
        actor = make_actor(number)
        mine = [Life(slug, folder / f"{slug}.sqlite3") for slug in slugs]
        deciders.append(Fates(actor, Journal(folder, actor.name), mine))
    in_threads(DECIDERS, lambda number: deciders[number].begin(tally))
    (folder / "begun").touch()
    with ThreadPoolExecutor(DECIDERS + 1) as pool:
        running = [pool.submit(one.decide, over, tally) for one in deciders]
        running.append(pool.submit(move_about, make_actor(KEEPERS + DECIDERS), over, tally))

        def stop() -> None:
            over.set()
            for one in running:
                one.result()
            (folder / "over").touch()

        _keep(make_actor, tally, budget, folder, stop)


def play_beside(make_actor: MakeActor, tally: Tally, budget: Budget, proxy: Proxy) -> None:
    """Work in the tenants, while another process decides over them, and answers are lost now and then."""
    folder, chance = Path(os.environ["LEAK_JOURNALS"]), make_actor(KEEPERS).random
    _wait_for(folder / "begun")
    with contextlib.ExitStack() as stack:
        stack.enter_context(beside(lambda over: disturb(proxy, chance, over, 0.2, 2.0)))

        def stop() -> None:
            stack.close()
            _wait_for(folder / "over")

        _keep(make_actor, tally, budget, folder, stop)


def _wait_for(file: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not file.exists():
        if time.monotonic() > until:
            raise RuntimeError(f"The process that decides over the tenants has not come so far: {file.name}")
        time.sleep(0.05)


def _keep(
    make_actor: MakeActor, tally: Tally, budget: Budget, folder: Path, stop: Callable[[], None]
) -> None:
    """Let threads work until the budget is spent, and see that all that they keep is good afterwards."""
    table, all_done = Table(lives.OPERATIONS), threading.Barrier(KEEPERS, stop, PATIENCE)

    def work(number: int) -> None:
        actor = make_actor(number)
        keeper = lives.Keeper(actor, Journal(folder, actor.name))
        try:
            _work(keeper, table, tally, budget)
            all_done.wait()
            for slug, operation in itertools.product(lives.SLUGS, lives.AFTERWARDS):
                with noting(tally, kind := f"afterwards {operation.__name__}"):
                    tally.did(kind, operation(keeper, slug))
        finally:
            all_done.abort()
            keeper.journal.close()
            connections.close_all()

    in_threads(KEEPERS, work)


def _work(keeper: lives.Keeper, table: Table, tally: Tally, budget: Budget) -> None:
    done = 0
    while not budget.is_spent:
        kind, operation = table.choose(keeper.actor)
        slug = keeper.actor.random.choice(lives.SLUGS)
        with noting(tally, kind, MEANWHILE):
            count = _meanwhile(operation, keeper, slug)
            tally.did(kind, count)
            budget.take(count)
        done += 1
        if done % REQUEST == 0:
            close_old_connections()
        keeper.pause()


def _meanwhile(operation: Callable[[lives.Keeper, str], int], keeper: lives.Keeper, slug: str) -> int:
    try:
        return operation(keeper, slug)
    except MEANWHILE as error:
        # Nobody is to see the inside of an object that was erased or is being made.
        if "no such table" in str(error):
            raise MixUp(f"{slug}: {error}") from error
        raise
