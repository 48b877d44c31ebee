"""The load by Django's ORM: blocks on tenants' objects and on D1, batches on D1, imports of posts."""

from __future__ import annotations

from random import Random

from django.db import transaction
from django.db.models import F

import do_bridge
from blog.importing import Record, write_posts
from do_bridge.tenancy import directory_context, tenant_context

from .bank import ACCOUNTS
from .bank.models import Account, Entry
from .books import D1, ORM_TENANTS, POSTS
from .load_driver import UNDONE, Task

_IMPORTED = 120


class _Unwanted(Exception):
    """Rolls an inner block back."""


class OrmLoad:
    """Picks operations on two tenants and on D1."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def pick(self, op: str) -> Task:
        """Return the next operation."""
        slug = self._rng.choice(ORM_TENANTS)
        alias, book = f"tenant/{slug}", f"do:tenant/{slug}"
        return self._rng.choices(
            [
                Task("ORM transfer", book, 2, lambda: self._transfer(alias, op)),
                Task("ORM bulk", book, 31, lambda: self._bulk(alias, op)),
                Task("ORM create", book, 1, lambda: self._create(alias, op)),
                Task("import of posts", book + POSTS, _IMPORTED, lambda: self._import(slug, op)),
                Task("D1 batch", D1, 3, lambda: self._d1_batch(op)),
                Task("D1 transfer", D1, 2, lambda: self._d1_transfer(op)),
                Task("D1 create", D1, 1, lambda: self._create("default", op)),
                Task("D1 refused", D1, 2, lambda: self._d1_refused(op)),
            ],
            weights=(25, 10, 15, 8, 25, 25, 15, 2),
        )[0]

    def _pair(self) -> tuple[int, int, int]:
        first, second = self._rng.sample(range(1, ACCOUNTS + 1), 2)
        return first, second, self._rng.randint(1, 50)

    def _transfer(self, alias: str, op: str) -> None:
        first, second, amount = self._pair()
        entries = Entry.objects.using(alias)
        with transaction.atomic(using=alias):
            giver = Account.objects.using(alias).get(pk=first)
            giver.balance -= amount
            giver.save()
            entries.create(op=op, account_id=first, amount=-amount)
            try:
                with transaction.atomic(using=alias):
                    entries.create(op=op + UNDONE, account_id=second, amount=1)
                    raise _Unwanted
            except _Unwanted:
                pass
            entries.create(op=op, account_id=second, amount=amount)
            Account.objects.using(alias).filter(pk=second).update(balance=F("balance") + amount)

    def _bulk(self, alias: str, op: str) -> None:
        with transaction.atomic(using=alias):
            Entry.objects.using(alias).bulk_create(
                Entry(op=op, account_id=1 + index % ACCOUNTS, amount=0) for index in range(30)
            )
            Entry.objects.using(alias).create(op=op, account_id=1, amount=0)

    def _create(self, alias: str, op: str) -> None:
        Entry.objects.using(alias).create(op=op, account_id=1, amount=0)

    def _import(self, slug: str, op: str) -> None:
        records = [Record(f"{op} #{index}", "text " * 40, "ada", None) for index in range(_IMPORTED)]
        with tenant_context(slug) as scope:
            write_posts(records, scope.alias)

    @do_bridge.retry_on_conflict(times=20)
    def _d1_transfer(self, op: str) -> None:
        with directory_context():
            self._transfer("default", op)

    def _d1_batch(self, op: str) -> None:
        first, second, amount = self._pair()
        with directory_context(), do_bridge.batch():
            Account.objects.filter(pk=first).update(balance=F("balance") - amount)
            Entry.objects.create(op=op, account_id=first, amount=-amount)
            Entry.objects.bulk_create(
                [Entry(op=op, account_id=second, amount=amount), Entry(op=op, account_id=second, amount=0)]
            )
            Account.objects.filter(pk=second).update(balance=F("balance") + amount)

    def _d1_refused(self, op: str) -> None:
        """Queue what a foreign key refuses: nothing of the batch stays."""
        with directory_context(), do_bridge.batch():
            Entry.objects.create(op=op, account_id=1, amount=0)
            Entry.objects.create(op=op, account_id=99, amount=0)
