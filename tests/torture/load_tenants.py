"""The load by commands: tenants made, loaded, moved, restored, deleted, migrated; D1 migrated, too."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from random import Random
from uuid import uuid4

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connections

from accounts.models import Tenant
from do_bridge.models import TenantState
from do_bridge.tenancy import directory_context, tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant, users_by_name
from do_bridge.tenancy.lifecycle.fencing import read_object
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.places import NONE
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.tenancy.moves import places_with_tables

from .bank.models import Entry
from .books import ORM_TENANTS
from .journal import CONFIRMED, Operation
from .load_driver import Task
from .outcomes import WrongResult
from .states import PLACES

TARGETS = ("zero", "0001", "0002", "0003", "0004")
MEMBER = "ada"
# With fewer tenants none is deleted, with more none is made: a look at all of them takes its time.
FEWEST, MOST = 9, 24
_ENDED_BY_DELETION = ("tenant_move", "tenant_restore")


class TenantsLoad:
    """Picks commands; `earlier` are the operations of clients before this one, of which some were cut off."""

    def __init__(self, rng: Random, folder: Path, earlier: Iterable[Operation]) -> None:
        self._rng = rng
        self._folder = folder
        lives = {(one.kind, one.slugs): one for one in earlier if one.slugs}
        # Of several tries the last one counts.
        self._unfinished = [one for one in lives.values() if one.end != CONFIRMED]

    def failed(self, op: str, task: Task) -> None:
        """Note that the operation is to be repeated before anything else."""
        self._unfinished.append(Operation(op, task.kind, slugs=task.slugs))

    def pick(self, op: str) -> Task:
        """Return the next operation: first what was left unfinished, then a command by chance."""
        if self._unfinished:
            left = self._unfinished.pop()
            return self._again(left)
        slug = f"n{op}"
        return self._rng.choices(
            [
                lambda: self._make(Task("create_tenant", "", 0, lambda: self._create(slug), (slug,))),
                lambda: self._make(self._create_many(op)),
                lambda: self._make(Task("tenant_load", "", 0, lambda: self._load(slug), (slug,))),
                self._delete,
                self._move,
                self._restore,
                self._migrate_some,
                self._migrate_one,
                lambda: Task("migrate all", "", 0, self._migrate_all),
                lambda: Task("migrate D1", "", 0, self._migrate_d1),
                self._first_use,
            ],
            weights=(12, 6, 10, 12, 20, 16, 16, 12, 8, 14, 10),
        )[0]()

    def _again(self, left: Operation) -> Task:
        works: dict[str, Callable[[], None]] = {
            "create_tenant": lambda: self._create(left.slugs[0]),
            "create_tenants": lambda: self._run_create_many(left.slugs),
            "tenant_load": lambda: self._load(left.slugs[0]),
            "tenant_delete": lambda: self._run_delete(left.slugs[0]),
            "tenant_restore": lambda: self._run_restore(left.slugs[0]),
            **{
                f"tenant_move {place or NONE}": partial(self._run_move, *left.slugs[:1], place)
                for place in PLACES
            },
        }
        kind, slug = left.kind, left.slugs[0]
        # A deletion ends whatever was cut off, too.
        if kind.startswith(_ENDED_BY_DELETION) and slug not in ORM_TENANTS and self._rng.random() < 1 / 3:
            kind = "tenant_delete"
        return Task(kind, "", 0, works[kind], left.slugs)

    # Tenants' lives

    def _make(self, task: Task) -> Task:
        return task if len(self._moving()) < MOST else self._delete()

    def _create(self, slug: str) -> None:
        with directory_context():
            create_tenant(slug, f"Tenant {slug}", list(users_by_name([MEMBER]).values()))
        self._must_be_at(slug, code_fingerprint())

    def _create_many(self, op: str) -> Task:
        slugs = tuple(f"n{op}-{index}" for index in range(3))
        return Task("create_tenants", "", 0, lambda: self._run_create_many(slugs), slugs)

    def _run_create_many(self, slugs: tuple[str, ...]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([slug, slug.title(), MEMBER] for slug in slugs)
        file = self._folder / f"{slugs[0]}.csv"
        file.write_text(text.getvalue())
        quietly("create_tenants", str(file), jobs=3)
        for slug in slugs:
            self._must_be_at(slug, code_fingerprint())

    def _load(self, slug: str) -> None:
        # The ledger's word comes last: with it the load was whole, and only the answer was lost.
        row = ledger.states([slug]).get(slug)
        if row is None or row.status != "Ready":
            quietly("tenant_load", slug, str(self._folder / "dump.sqlite3"))
        self._must_be_at(slug, code_fingerprint())

    def _delete(self) -> Task:
        slugs = self._moving()
        if len(slugs) < FEWEST:
            return Task("migrate all", "", 0, self._migrate_all)
        slug = self._rng.choice(slugs)
        return Task("tenant_delete", "", 0, lambda: self._run_delete(slug), (slug,))

    def _run_delete(self, slug: str) -> None:
        state = ledger.states([slug]).get(slug)
        if self._registered(slug) or (state is not None and state.status != "Deleted"):
            quietly("tenant_delete", slug, yes=True)
        row = ledger.states([slug]).get(slug)
        with unchecked(tenant_alias(slug)):
            left = read_object(connections[tenant_alias(slug)])
        if self._registered(slug) or row is None or row.state != ledger.DELETED or left.applied:
            raise WrongResult(f"{slug} was deleted: the ledger says {row}, {len(left.applied)} are left")
        if places := places_with_tables(slug):
            raise WrongResult(f"{slug} was deleted, and has tables in {places}")

    def _move(self) -> Task:
        """Move a tenant, that of the ORM's load too, in which others work meanwhile."""
        others = self._rng.random() < 1 / 3
        slug = self._rng.choice(ORM_TENANTS if others else self._moving())
        place = self._rng.choice(PLACES)
        return Task(f"tenant_move {place or NONE}", "", 0, lambda: self._run_move(slug, place), (slug,))

    def _run_move(self, slug: str, place: str) -> None:
        if self._is_deleted(slug):
            return
        quietly("tenant_move", slug, jurisdiction=place or NONE)
        row, places = leases.look(slug), places_with_tables(slug)
        if (row.jurisdiction, row.left_behind, row.operation) != (place, None, "") or places != [place]:
            raise WrongResult(f"{slug} was moved to {place!r}: {row}, and has tables in {places}")

    def _restore(self) -> Task:
        """Take a tenant back to before a row, one that this load has made: only those have a history."""
        slugs = [slug for slug in self._moving() if slug.startswith("n")]
        if not slugs:
            return Task("migrate all", "", 0, self._migrate_all)
        slug = self._rng.choice(slugs)
        return Task("tenant_restore", "", 0, lambda: self._run_restore(slug), (slug,))

    def _run_restore(self, slug: str) -> None:
        if self._is_deleted(slug):
            return
        groups = Group.objects.using(tenant_alias(slug))
        # What another client was in the middle of is finished, with the same bookmark.
        note = self._folder / f"{slug}.restore"
        if not note.exists():
            groups.create(name=f"kept {uuid4()}")
            kept = sorted(groups.values_list("name", flat=True))
            bookmark = quietly("tenant_bookmark", slug)
            part = note.with_suffix(".part")
            part.write_text(json.dumps([bookmark, kept]))
            part.rename(note)
            groups.create(name=f"undone {uuid4()}")
        bookmark, kept = json.loads(note.read_text())
        quietly("tenant_restore", slug, bookmark=bookmark, interactive=False)
        if (found := sorted(groups.values_list("name", flat=True))) != kept:
            raise WrongResult(f"{slug} was restored: it has {found}, and had {kept}")
        note.unlink()
        self._must_be_at(slug, code_fingerprint())

    # Migrations

    def _migrate_some(self) -> Task:
        slugs = self._moving()
        chosen = self._rng.sample(slugs, min(4, len(slugs)))
        target = self._rng.choice(TARGETS)

        def work() -> None:
            quietly("migrate", "yard", target, database="tenant", tenants=chosen, jobs=2)
            self._must_be_one(chosen)

        return Task("migrate some", "", 0, work)

    def _migrate_one(self) -> Task:
        slug, target = self._rng.choice([*self._moving(), ORM_TENANTS[0]]), self._rng.choice(TARGETS)
        if slug in ORM_TENANTS:
            target = TARGETS[-1]

        def work() -> None:
            quietly("migrate", "yard", target, database=tenant_alias(slug))
            self._must_be_one([slug])

        return Task("migrate one", "", 0, work)

    def _migrate_all(self) -> None:
        quietly("migrate", database="tenant", jobs=3)
        for slug in self._moving():
            self._must_be_at(slug, code_fingerprint())

    def _migrate_d1(self) -> None:
        quietly("migrate", "yard", self._rng.choice(TARGETS), database="default")

    def _first_use(self) -> Task:
        slug = self._rng.choice(self._moving())

        def work() -> None:
            Entry.objects.using(tenant_alias(slug)).count()
            # The ledger may still say "migrating", of a run that was cut off behind its last commit.
            if self._fingerprint(slug) != code_fingerprint():
                raise WrongResult(f"{slug} was used and is not at the code's schema")

        return Task("first use", "", 0, work)

    # What must be true afterwards

    def _must_be_at(self, slug: str, wanted: str) -> None:
        row = ledger.states([slug]).get(slug)
        found = self._fingerprint(slug)
        if not ledger.is_at(row, wanted):
            raise WrongResult(f"the ledger says of {slug}: {row}, at {row and row.fingerprint[:8]}")
        if found != wanted or not self._registered(slug):
            raise WrongResult(f"{slug} is not whole although its command succeeded")

    def _fingerprint(self, slug: str) -> str:
        with unchecked(tenant_alias(slug)):
            return str(read_object(connections[tenant_alias(slug)]).fingerprint)

    def _must_be_one(self, slugs: list[str]) -> None:
        marks = {row.fingerprint for row in ledger.states(slugs).values()}
        if len(marks) != 1:
            raise WrongResult(f"{slugs} went to one migration and are at {len(marks)} schemas")
        for slug in slugs:
            self._must_be_at(slug, *marks)

    def _is_deleted(self, slug: str) -> bool:
        return not self._registered(slug) and leases.look(slug).state == ledger.DELETED

    def _registered(self, slug: str) -> bool:
        return bool(Tenant.objects.using("default").filter(slug=slug).exists())

    def _moving(self) -> list[str]:
        held = set(
            TenantState.objects.using("default")
            .filter(operation__in=["load", "copy", "delete", "rewind"])
            .values_list("slug", flat=True)
        )
        slugs = Tenant.objects.using("default").exclude(slug__in=ORM_TENANTS).values_list("slug", flat=True)
        return [slug for slug in slugs if slug not in held]


def quietly(*command: str, **options: object) -> str:
    """Run a command without a word; return its answer, if that is all that it prints."""
    out = io.StringIO()
    call_command(*command, **options, verbosity=0, stdout=out, stderr=io.StringIO(), skip_checks=True)
    return out.getvalue().strip()
