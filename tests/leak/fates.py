"""What becomes of tenants while others work in them: moved, restored, deleted and made again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connections

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import directory_context, tenant_alias
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.history.rewind import rewind_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from tests.leak.actor import Actor
from tests.leak.journals import RESTORED, UNDONE, Journal
from tests.leak.marks import MixUp, Tally, mark
from tests.leak.role import Table, noting
from tests.leak.timeline import Lineage, Span, since, until

# Jurisdictions of the stand-in; a new tenant is in the first one.
PLACES = ("none", "eu", "us")
_KEPT = 6  # bookmarks that are remembered of a tenant's life
_PATIENCE = 60.0  # seconds for a deletion to end, after which the slug can be had
# Why a restore is refused that is no fault: the stand-in keeps 200 moments.
_TOO_OLD = "history of the object does not have this bookmark"


@dataclass(frozen=True)
class Moment:
    """A bookmark of the object in a place, and what the tenant held then."""

    bookmark: str
    place: str
    lineage: Lineage


@dataclass
class Life:
    """A tenant, and what the one thread that decides over it knows."""

    slug: str
    file: Path
    place: str = PLACES[0]
    lineage: Lineage = ()
    moments: list[Moment] = field(default_factory=list)
    former: list[Moment] = field(default_factory=list)

    def keep(self, bookmark: str, at: Span) -> None:
        """Remember a bookmark that was taken in a span of time."""
        self.moments = [*self.moments[1 - _KEPT :], Moment(bookmark, self.place, until(self.lineage, at))]

    def here(self, moments: list[Moment]) -> list[Moment]:
        """Return those of the object where the tenant is."""
        return [moment for moment in moments if moment.place == self.place]


class Fates:
    """Decides over some tenants, one thing after the other."""

    def __init__(self, actor: Actor, journal: Journal, lives: list[Life]) -> None:
        self._actor = actor
        self._journal = journal
        self._lives = lives
        self._table = Table(
            {self.moved: 4, self.marked: 4, self.restored: 4, self.undone: 2, self.former: 2, self.ended: 3}
        )

    def decide(self, over: threading.Event, tally: Tally) -> None:
        """Do something with one of the tenants after the other, until it is over."""
        try:
            while not over.is_set():
                life = self._actor.random.choice(self._lives)
                kind, fate = self._table.choose(self._actor)
                with noting(tally, kind):
                    tally.did(kind, fate(life))
        finally:
            connections.close_all()

    def begin(self, tally: Tally) -> None:
        """Make all the tenants; what an earlier run has left of them goes."""
        try:
            for life in self._lives:
                with noting(tally, "fates.begin"):
                    if leases.look(life.slug).is_registered:
                        _run("tenant_delete", life.slug, "--yes")
                    self._make(life)
        finally:
            connections.close_all()

    def moved(self, life: Life) -> int:
        life.place = self._actor.random.choice([place for place in PLACES if place != life.place])
        _run("tenant_move", life.slug, "--jurisdiction", life.place)
        return 1

    def marked(self, life: Life) -> int:
        begun = time.monotonic()
        life.keep(_run("tenant_bookmark", life.slug), _since(begun))
        return 1

    def restored(self, life: Life) -> int:
        """Go back to any moment of this object."""
        here = life.here(life.moments)
        if not here or not self._rewind(life, self._actor.random.choice(here)):
            return self.marked(life)
        return 1

    def undone(self, life: Life) -> int:
        """Go back and return: each write of the time between is on one of the two sides."""
        here = life.here(life.moments)
        if not here or not self._rewind(life, here[-1]):
            return self.marked(life)
        self._look(life, RESTORED)
        if self._rewind(life, life.moments[-1]):
            self._look(life, UNDONE)
        return 4

    def former(self, life: Life) -> int:
        """A moment of an object that was left, or of a tenant that had the slug before, is refused."""
        left = [moment for moment in life.moments if moment.place != life.place]
        moments = [*left, *life.here(life.former)]
        if not moments:
            return self.ended(life)
        begun = time.monotonic()
        with contextlib.suppress(DatabaseError):
            rewind_tenant(life.slug, self._actor.random.choice(moments).bookmark)
            raise MixUp(f"{life.slug} was restored to rows that are not its own")
        self._journal.refused(life.slug, _since(begun))
        return 1

    def ended(self, life: Life) -> int:
        """Be deleted, half of the times with a dump, which is what was there to the last; then made again.

        Somebody who wants the same slug may wait for it at the door.
        """
        life.file.unlink(missing_ok=True)
        is_dumped, is_awaited = (self._actor.random.random() < 0.5 for _ in range(2))
        last, begun = life.lineage, time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(self._create, life) if is_awaited else None
            _run("tenant_delete", life.slug, "--yes", *(["--dump", life.file] if is_dumped else []))
            gone = _since(begun)
        self._journal.fate(life.slug, gone, ())
        if is_dumped:
            with self._journal.looking(life.slug, "dump", lineage=until(last, gone)) as titles:
                titles += _titles_in(life.file)
        life.former = [*life.former, *life.moments][-_KEPT:]
        life.moments = []
        self._make(life, None if made is None else made.result())
        return 3

    # Steps

    def _make(self, life: Life, made: Span | None = None) -> None:
        """Make a tenant, unless somebody has, and its first rows."""
        at = made or self._create(life)
        life.place, life.lineage = PLACES[0], since((), at)
        self._journal.fate(life.slug, at, life.lineage)
        op = self._actor.token()
        with self._journal.writing(life.slug, op, 3):
            Post.objects.using(tenant_alias(life.slug)).bulk_create(
                Post(title=f"{mark(life.slug)} {op}", content="-", user_id=self._actor.cast.several)
                for _ in range(3)
            )

    def _create(self, life: Life) -> Span:
        people = User.objects.using("default").filter(pk=self._actor.cast.several)
        until, begun, why = time.monotonic() + _PATIENCE, 0.0, None
        try:
            while (begun := time.monotonic()) < until:
                # While it is deleted it may be there, or not to be had.
                try:
                    with directory_context():
                        _, is_new, _ = create_tenant(life.slug, life.slug.title(), list(people))
                    if is_new:
                        return _since(begun)
                except OperationalError as error:
                    why = error
        finally:
            connections.close_all()
        raise MixUp(f"{life.slug} can't be made again: {why}")

    def _rewind(self, life: Life, moment: Moment) -> bool:
        """Restore a moment, and remember the one before it; return whether the stand-in still had it."""
        begun = time.monotonic()
        try:
            rewound = rewind_tenant(life.slug, moment.bookmark)
        except DatabaseError as error:
            if _TOO_OLD not in str(error):
                raise
            life.moments.remove(moment)
            return False
        at = _since(begun)
        life.keep(rewound.undo, at)
        life.lineage = since(moment.lineage, at)
        self._journal.fate(life.slug, at, life.lineage)
        return True

    def _look(self, life: Life, by: str) -> None:
        with self._journal.looking(life.slug, by) as titles:
            titles += Post.objects.using(tenant_alias(life.slug)).values_list("title", flat=True)


def move_about(actor: Actor, over: threading.Event, tally: Tally) -> None:
    """Move the tenants in which the other roles work, while they do; some of them stay where they are.

    D1's replica catches up now and then: most of the time it has the tenants where they were.
    """
    replicate = f"{os.environ['LEAK_RELAY']}/replicate?binding=DB"
    try:
        while not over.wait(actor.random.random() / 2):
            with noting(tally, "fates.moved_about"):
                slug = actor.random.choice(actor.cast.moved)
                _run("tenant_move", slug, "--jurisdiction", actor.random.choice(PLACES))
                tally.did("fates.moved_about", 1)
                if actor.random.random() < 1 / 4:
                    urllib.request.urlopen(replicate, timeout=60).close()  # noqa: S310
    finally:
        connections.close_all()


def _since(begun: float) -> Span:
    return Span(begun, time.monotonic())


def _run(*words: Any) -> str:
    """Run a command, and return its answer."""
    out = StringIO()
    call_command(*map(str, words), verbosity=0, stdout=out, stderr=StringIO(), skip_checks=True)
    return out.getvalue().strip()


def _titles_in(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [title for (title,) in connection.execute("SELECT title FROM blog_post")]
