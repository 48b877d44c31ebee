"""Looks at every database and every journal while the load goes on, and tells what does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from do_bridge import driver
from do_bridge.tenancy.lifecycle.states import Row

from . import books, states
from .journal import Journals
from .judge import Fault, judge_directory, judge_keys, judge_page, judge_places, judge_tenant

if TYPE_CHECKING:
    from .run import Report

_TRIGGERS = 5
# Databases that are read at a time.
_READERS = 4


class Which(Enum):
    """The tenants that a look is at."""

    LIVING = "those not deleted: an object that was emptied stays so, and is looked at when there is time"
    UNSETTLED = "those, and the deleted ones that were not yet seen to be empty while nobody was at work"
    ALL = "all that there ever were"


class Inspector:
    """Reads past the proxy, by the driver alone, each database as it is at one moment."""

    def __init__(self, transport: driver.Transport, folder: Path) -> None:
        self._transport = transport
        self.journals = Journals(folder)
        self._told_wrong = 0
        self._looked: Counter[str] = Counter()
        self._found_right: dict[str, Row] = {}
        self._readers = ThreadPoolExecutor(_READERS)

    def look(self, era: str, *, quiet: bool = False) -> list[Fault]:
        """Return the faults of an era's operations and of the tenants; `quiet`: nobody is at work."""
        which = Which.UNSETTLED if quiet else Which.LIVING
        return [*self._wrong_results(), *self._look_at_books(era), *self._look_at_tenants(which)]

    def look_at_everything(self, eras: Iterable[str]) -> list[Fault]:
        """Return the faults of all operations and of every tenant that there ever was."""
        of_books = [fault for era in eras for fault in self._look_at_books(era)]
        return [*self._wrong_results(), *of_books, *self._look_at_tenants(Which.ALL)]

    def _look_at_books(self, era: str) -> list[Fault]:
        self.journals.read()
        names = books.databases()
        before = {
            book: [replace(one) for one in self.journals.by_book.get((book, era), ())]
            for name in names
            for book in books.books_of(name)
        }
        read = partial(books.read_pages, self._transport, first=f"{era}-", end=f"{era}.")
        found = list(self._readers.map(read, names))
        known = self.journals.read().keys()
        faults = []
        for name, (pages, dangling) in zip(names, found, strict=True):
            faults += judge_keys(name, dangling)
            for book, page in pages.items():
                self._looked["books"] += 1
                faults += judge_page(book, page, before[book], known)
        return faults

    def _look_at_tenants(self, which: Which) -> list[Fault]:
        """Return the faults of D1's directory and of tenants; those in work are passed by."""
        self.journals.read()
        before = states.read_directory(self._transport)
        faults = judge_directory(before)
        slugs = self._chosen(before, which)
        places = [row.jurisdiction if (row := before.ledger.get(slug)) else "" for slug in slugs]
        read = partial(states.read_object, self._transport)
        found = dict(zip(slugs, self._readers.map(read, slugs, places), strict=True))
        after = states.read_directory(self._transport)
        for slug, state in found.items():
            self._looked["objects"] += 1
            here = []
            if state.names and not state.is_loading:
                here += judge_keys(f"tenant {slug}", state.dangling)
            row = before.ledger.get(slug)
            if which != Which.LIVING:
                here += judge_places(slug, row, self._tables_elsewhere(slug))
            if row == after.ledger.get(slug) and (slug in before.tenants) == (slug in after.tenants):
                here += judge_tenant(slug, before, state)
                if row is not None and not here:
                    self._found_right[slug] = row
            else:
                self._looked["tenants passed by"] += 1
            faults += here
        return faults

    def _tables_elsewhere(self, slug: str) -> dict[str, set[str]]:
        self._looked["places"] += len(states.PLACES)
        return {place: states.tables_in(self._transport, slug, place) for place in states.PLACES}

    def _chosen(self, directory: states.DirectoryState, which: Which) -> list[str]:
        rows = directory.ledger
        deleted = {slug for slug, row in rows.items() if row.state == "deleted" and not row.operation}
        settled = {slug for slug in deleted if rows[slug] == self._found_right.get(slug)}
        left_out = {Which.LIVING: deleted, Which.UNSETTLED: settled, Which.ALL: set[str]()}[which]
        return sorted((set(rows) | directory.tenants | self.journals.slugs) - left_out)

    def look_at_repaired(self) -> list[Fault]:
        """Return what is not in order after the commands that repair have run."""
        state = states.read_directory(self._transport)
        faults = [
            Fault("not repaired", f"tenant {slug}", f"{row.state}, {row.operation} not finished")
            for slug, row in state.ledger.items()
            if row.operation not in ("", "create") or (row.state == "unused" and row.is_registered)
        ]
        if state.unfinished:
            faults.append(Fault("not repaired", "D1", f"{state.unfinished} unfinished"))
        if state.triggers != _TRIGGERS:
            faults.append(Fault("not repaired", "D1", f"{state.triggers} triggers"))
        if state.tenants != {slug for slug, row in state.ledger.items() if row.state == "ready"}:
            faults.append(Fault("not repaired", "D1", "the ledger and the directory have other tenants"))
        return faults

    def tell(self, report: Report) -> None:
        """Write what the clients were told into the report."""
        for one in self.journals.read().values():
            report.outcomes.setdefault(one.kind, Counter())[one.end or "cut off with its client"] += 1
            if one.error:
                report.errors[f"{one.end}: {one.error.splitlines()[0][:150]}"] += 1
            if one.seconds > 25:
                report.slow.append(f"{one.op} ({one.kind}): {one.seconds:.1f} s, {one.end}")
        report.checks = self._looked

    def _wrong_results(self) -> list[Fault]:
        self.journals.read()
        new = self.journals.wrong[self._told_wrong :]
        self._told_wrong += len(new)
        return [Fault("wrong result", one.kind, f"{one.op}: {one.error}") for one in new]
