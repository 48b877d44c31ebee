"""The role of browsers, while gunicorn's own connections to the relay are cut now and then."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.driver.proxy import Proxy
from tests.leak import pages
from tests.leak.actor import Actor
from tests.leak.marks import Tally
from tests.leak.role import Budget, Table, in_threads, noting
from tests.leak.shopping import pages as shopping_pages

BROWSERS = 6


def play(make_actor: Callable[[int], Actor], tally: Tally, budget: Budget, _proxy: Proxy | None) -> None:
    """Each thread has a visitor, a member of all tenants and one of the staff."""
    table = Table(pages.OPERATIONS, shopping_pages.OPERATIONS)

    def browse(number: int) -> None:
        actor, people = make_actor(number), pages.People(os.environ["LEAK_SITE"])
        while not budget.is_spent and not people.signed_in:
            with noting(tally, "pages.sign_in", (pages.Unavailable,)):
                people.sign_in()
        while not budget.is_spent:
            kind, operation = table.choose(actor)
            with noting(tally, kind, (pages.Unavailable,)):
                count = operation(people, actor, actor.slug())
                tally.did(kind, count)
                budget.take(count)

    in_threads(BROWSERS, browse)
