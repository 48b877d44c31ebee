"""Looks at every database and every journal while the load goes on, and tells what does not hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from do_bridge import driver

from . import books, states
from .journal import WRONG, Journals
from .judge import Fault, judge_directory, judge_keys, judge_page, judge_tenant

if TYPE_CHECKING:
    from .run import Report

_TRIGGERS = 5


class Inspector:
    """Reads past the proxy, by the driver alone, each database as it is at one moment."""

    def __init__(self, transport: driver.Transport, folder: Path) -> None:
        self._transport = transport
        self.journals = Journals(folder)
        self._told_wrong: set[str] = set()
        self._looked: Counter[str] = Counter()

    def look(self, era: str, *, quiet: bool = False) -> list[Fault]:
        """Return the faults of an era's operations and of every tenant; `quiet`: nobody is at work."""
        faults = self._wrong_results()
        for book in books.book_names():
            faults += self.look_at_book(book, era)
        faults += self.look_at_tenants(all_of_them=quiet)
        for book in books.book_names():
            if not book.endswith(books.POSTS):
                faults += judge_keys(book, states.dangling_rows(self._transport, book))
        return faults

    def look_at_book(self, book: str, era: str) -> list[Fault]:
        """Return the faults of an era's operations in one book."""
        self._looked["books"] += 1
        first, end = f"{era}-", f"{era}."
        self.journals.read()
        before = [replace(one) for one in self.journals.by_book.get((book, era), ())]
        page = books.read_page(self._transport, book, first, end)
        return judge_page(book, page, before, self.journals.read().keys())

    def look_at_tenants(self, *, all_of_them: bool = True) -> list[Fault]:
        """Return the faults of D1's directory and of tenants; those in work are passed by."""
        before = states.read_directory(self._transport)
        faults = judge_directory(before)
        slugs = set(before.ledger) | before.tenants | self._begun_slugs()
        found = {}
        for slug in sorted(slugs):
            row = before.ledger.get(slug)
            # An object that was emptied stays so: it is looked at when there is time.
            if all_of_them or row is None or row.state != "deleted":
                found[slug] = states.read_object(self._transport, slug)
        after = states.read_directory(self._transport)
        for slug, state in found.items():
            self._looked["objects"] += 1
            if state.names and not state.is_loading:
                faults += judge_keys(f"tenant {slug}", state.dangling)
            unchanged = before.ledger.get(slug) == after.ledger.get(slug)
            if unchanged and (slug in before.tenants) == (slug in after.tenants):
                faults += judge_tenant(slug, before, state)
            else:
                self._looked["tenants passed by"] += 1
        return faults

    def look_at_repaired(self) -> list[Fault]:
        """Return what is not in order after the commands that repair have run."""
        state = states.read_directory(self._transport)
        faults = [
            Fault("not repaired", f"tenant {slug}", f"{row.state}: {row.doing}")
            for slug, row in state.ledger.items()
            if row.state not in ("ready", "deleted")
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
        wrong = [one for one in self.journals.read().values() if one.end == WRONG]
        new = [one for one in wrong if one.op not in self._told_wrong]
        self._told_wrong |= {one.op for one in new}
        return [Fault("wrong result", one.kind, f"{one.op}: {one.error}") for one in new]

    def _begun_slugs(self) -> set[str]:
        return {slug for one in self.journals.read().values() for slug in one.slugs}
