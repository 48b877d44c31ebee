"""One run: processes do operations by chance, some are killed or paused, and then everything is looked at."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

from do_bridge.tenancy.lifecycle.states import Row

from . import worker
from .oracle import Done, Tenant, judge

PROCESSES = 3
SLUGS = ("ant", "bee", "cow", "dog", "eel", "fox")
OTHERS = ("bob", "cid")
# Jurisdictions of the stand-in on which the attack's relay runs.
PLACES = ("none", "eu", "us")
# Operations between two looks at everything.
ROUND = 15
# Of a hundred operations so many are killed, and so many stand still for longer than a lease.
KILLED, PAUSED = 12, 3
PAUSE = 1.6
_WEIGHTS = {
    "create": 16,
    "by hand": 4,
    "adopt": 3,
    "create_many": 5,
    "load": 9,
    "copy": 6,
    "move": 10,
    "delete": 16,
    "migrate one": 8,
    "migrate back": 5,
    "migrate all": 4,
    "bookmark": 5,
    "rewind": 10,
    "post": 20,
    "read": 12,
    "join": 6,
    "leave": 4,
    "rename": 4,
}


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    operations: int = 0
    kills: int = 0
    pauses: int = 0
    looks: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class _Process:
    """A worker process, and what it is doing."""

    def __init__(self, context: Any) -> None:
        self.orders, theirs = context.Pipe()
        self.process = context.Process(target=worker.serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.doing: Done | None = None
        #: When it is to be killed or stopped, and started again.
        self.kill_at = self.stop_at = self.go_on_at = float("inf")


class Run:
    """Random operations, until there were so many."""

    def __init__(self, seed: int, operations: int) -> None:
        self._rng = Random(seed)  # noqa: S311
        self._most = operations
        self.report = Report(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.lifecycle.worker"])
        self._folder = Path(tempfile.mkdtemp(prefix="lifecycle-"))
        self._history: dict[str, list[Done]] = {slug: [] for slug in SLUGS}
        self._count = 0

    def go(self) -> Report:
        """Do everything, and return the report."""
        start = time.monotonic()
        with worker.here():
            self._set_up()
        processes = [_Process(self._context) for _ in range(PROCESSES)]
        while self.report.operations < self._most:
            self._round(processes, min(ROUND, self._most - self.report.operations))
            with worker.here():
                self._look()
            if self.report.operations % 300 < ROUND:
                say(f"{self.report.operations} operations, {len(self.report.faults)} faults")
            if len(self.report.faults) > 20:
                break
        with worker.here():
            self._nothing_is_refused_for_ever()
        for one in processes:
            one.process.kill()
        self.report.seconds = time.monotonic() - start
        return self.report

    def _set_up(self) -> None:
        from accounts.models import User

        worker._command("migrate", "--database", "default")
        for name in (worker.FIRST, *OTHERS):
            User.objects.create_user(name, password=None, name=name.title())
        assert worker.run("create", ("source",))[0] == "ok"
        assert worker.run("post", ("source", "from the file"))[0] == "ok"
        worker._command("tenant_dump", "source", self._folder / "dump.sqlite3")

    # Operations

    def _pick(self) -> tuple[str, tuple[Any, ...], tuple[str, ...], str]:
        """Return (name, arguments, slugs that it may change, the title of a post)."""
        rng = self._rng
        name = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        slug = rng.choice(SLUGS)
        self._count += 1
        if name == "create_many":
            slugs = tuple(sorted({slug, rng.choice(SLUGS)}))
            file = self._folder / f"{self._count}.csv"
            file.write_text("".join(f"{one},{one.title()},{worker.FIRST}\n" for one in slugs))
            return name, (str(file),), slugs, ""
        if name == "load":
            return name, (slug, str(self._folder / "dump.sqlite3"), self._maybe_a_place()), (slug,), ""
        if name == "create":
            return name, (slug, self._maybe_a_place()), (slug,), ""
        if name == "copy":
            source = rng.choice([one for one in (*SLUGS, "source") if one != slug])
            return name, (source, slug), (slug,), ""
        if name == "move":
            return name, (slug, rng.choice(PLACES)), (slug,), ""
        if name == "migrate all":
            return name, (), (), ""
        if name == "rename":
            return name, (rng.choice((worker.FIRST, *OTHERS)), f"name {self._count}"), (), ""
        if name in ("join", "leave"):
            return name, (slug, rng.choice(OTHERS)), (slug,), ""
        if name == "post":
            title = f"{slug}:{self._count}"
            return name, (slug, title), (slug,), title
        return name, (slug,), (slug,), ""

    def _maybe_a_place(self) -> str:
        return self._rng.choice(("", "", *PLACES))

    def _round(self, processes: list[_Process], number: int) -> None:
        left = number
        while left or any(one.doing for one in processes):
            for at, one in enumerate(processes):
                if left and one.doing is None:
                    self._begin(one)
                    left -= 1
                now = time.monotonic()
                if one.doing is not None and now >= one.kill_at:
                    processes[at] = self._kill(one)
                elif one.doing is not None and now >= one.stop_at:
                    os.kill(one.process.pid or 0, signal.SIGSTOP)
                    one.stop_at, one.go_on_at = float("inf"), now + PAUSE
                    self.report.pauses += 1
                elif now >= one.go_on_at:
                    os.kill(one.process.pid or 0, signal.SIGCONT)
                    one.go_on_at = float("inf")
            busy = {one.orders: one for one in processes if one.doing}
            for ready in wait(list(busy), timeout=0.005):
                self._end(busy[ready], ready)  # type: ignore[index]

    def _begin(self, one: _Process) -> None:
        name, arguments, slugs, title = self._pick()
        now = time.monotonic()
        one.doing = Done(name, slugs, now, title=title)
        for slug in slugs:
            self._history[slug].append(one.doing)
        dice = self._rng.randrange(100)
        # Most operations take less than that.
        delay = self._rng.expovariate(1 / 0.06)
        one.kill_at = now + delay if dice < KILLED else float("inf")
        one.stop_at = now + delay if KILLED <= dice < KILLED + PAUSED else float("inf")
        one.orders.send((name, arguments))
        self.report.operations += 1

    def _end(self, one: _Process, ready: Connection) -> None:
        doing = one.doing
        assert doing is not None
        try:
            doing.answer, doing.why = ready.recv()
        except EOFError:
            self.report.faults.append(f"a process ended by itself in {doing.name}")
            doing.answer = "killed"
        else:
            doing.ended = time.monotonic()
        self._tell(doing)
        one.doing = None
        one.kill_at = one.stop_at = float("inf")

    def _kill(self, one: _Process) -> _Process:
        doing = one.doing
        assert doing is not None
        one.process.kill()
        one.process.join()
        doing.answer = "killed"
        # What it had sent may still arrive.
        doing.ended = time.monotonic() + 0.5
        self.report.kills += 1
        self._tell(doing)
        return _Process(self._context)

    def _tell(self, doing: Done) -> None:
        self.report.outcomes[f"{doing.name}: {doing.answer}"] += 1
        if doing.answer in ("failed", "wrong"):
            self.report.errors[f"{doing.name}: {doing.why.splitlines()[0][:110]}"] += 1
        if doing.answer == "wrong":
            self.report.faults.append(f"{doing.name} {doing.slugs}: {doing.why}")

    # Looks

    def _look(self) -> None:
        time.sleep(0.05)
        self.report.looks += 1
        for slug in SLUGS:
            tenant = read_tenant(slug)
            if tenant.held.fingerprint and not tenant.held.has_tables:
                # Of a deleted tenant; it is not known which operation leaves them.
                self.report.outcomes["look: notes without tables"] += 1
            for fault in judge(tenant, self._history[slug]):
                self.report.faults.append(
                    f"after {self.report.operations}: {slug}: {fault}\n    {tenant.row}\n    object: "
                    f"{tenant.held.has_tables}, {tenant.held.fingerprint[:8]}, fence {tenant.held.fence} "
                    f"{tenant.held.owner}\n    {self._last(slug)}"
                )

    def _last(self, slug: str) -> str:
        return "\n    ".join(
            f"{one.begun:.3f}–{one.ended:.3f} {one.name}: {one.answer} {one.why[:150]}"
            for one in self._history[slug][-8:]
        )

    def _nothing_is_refused_for_ever(self) -> None:
        """Delete each tenant, make it again, and use it: whatever it was, that works."""
        for slug in SLUGS:
            for name, arguments in (
                ("delete", (slug,)),
                ("create", (slug,)),
                ("post", (slug, f"{slug}:last")),
            ):
                answer, why = worker.run(name, arguments)
                if answer != "ok" and not (name == "delete" and "does not exist" in why):
                    self.report.faults.append(f"at the end {name} of {slug} {answer}: {why}")
            tenant = read_tenant(slug)
            if tenant.titles != [f"{slug}:last"]:
                self.report.faults.append(f"at the end {slug} has the posts {tenant.titles}")


def read_tenant(slug: str) -> Tenant:
    """Read all that the oracle looks at."""
    from django.db import connections

    from accounts.models import Membership
    from do_bridge.members.models import DirtyFlag
    from do_bridge.tenancy import tenant_alias
    from do_bridge.tenancy.lifecycle.lease import leases
    from do_bridge.tenancy.migrate import catch_up
    from do_bridge.tenancy.replicated.sql import run_batch

    tenant = Tenant(leases.look(slug), catch_up.read_tenant(slug))
    alias = tenant_alias(slug)
    # `_look` counts objects with notes and without tables.
    if tenant.held.fingerprint and tenant.held.has_tables:
        with catch_up.unchecked(alias):
            posts, users = run_batch(
                connections[alias],
                [
                    ("SELECT title FROM blog_post", None),
                    ("SELECT id, name, is_active FROM accounts_user", None),
                ],
            )
        tenant.titles = [title for (title,) in posts.rows]
        tenant.copies = {key: (name, bool(active)) for key, name, active in users.rows}
    tenant.elsewhere = [place for place in PLACES if _has_rows(slug, place) and place != _of(tenant.row)]
    places = Membership.objects.filter(tenant__slug=slug).values_list("user_id", "user__name")
    tenant.members = dict(places)
    tenant.is_dirty = DirtyFlag.objects.filter(slug=slug).exists()
    return tenant


def _of(row: Row) -> str:
    """Return the place of a row as PLACES has it."""
    return row.jurisdiction or "none"


def _has_rows(slug: str, place: str) -> bool:
    """Return whether the tenant's object in a place has tables that a project made."""
    from do_bridge.tenancy import tenant_alias
    from do_bridge.tenancy.lifecycle.emptying import connected

    with connected(tenant_alias(slug), "" if place == "none" else place) as connection:
        sql = "SELECT 1 FROM sqlite_master WHERE name = 'blog_post'"
        return bool(connection.execute(sql).fetchall())


def as_text(report: Report) -> str:
    """Return the report as people read it."""
    lines = [
        f"seed {report.seed}: {report.operations} operations, {report.kills} killed, {report.pauses} paused, "
        f"{report.looks} looks, {report.seconds:.0f} s",
        *(f"  {count:6} {name}" for name, count in sorted(report.outcomes.items())),
        "errors:",
        *(f"  {count:6} {text}" for text, count in report.errors.most_common(40)),
        f"{len(report.faults)} faults",
        *report.faults[:20],
    ]
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """One line to the terminal."""
    sys.stderr.write(text + "\n")
