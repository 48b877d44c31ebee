"""Mixed load: browsers of several people, and now and then migrations and new tenants by command."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Iterator

from tests import forking
from tests.leak import pages
from tests.leak.actor import Actor, Cast
from tests.leak.marks import MixUp
from tests.leak.role import Table
from tests.soak.book import Book


class RecordingBrowser(pages.Browser):
    """Writes each request into the book."""

    def __init__(self, base: str, username: str, book: Book) -> None:
        super().__init__(base, username)
        self._book = book

    def lines(self, path: str) -> Iterator[str]:
        with self._noted("GET, in a stream,"):
            try:
                yield from super().lines(path)
            except pages.WrongStatus as error:
                # gunicorn's own page: the stream was handed over, and its first rows could not be read.
                raise pages.Unavailable(str(error)) from error

    def _sent(self, method: str, path: str, status: int, **options: object) -> object:
        with self._noted(method):
            return super()._sent(method, path, status, **options)

    @contextlib.contextmanager
    def _noted(self, method: str) -> Iterator[None]:
        began, kind = time.monotonic(), f"{method} {_who(self.username)}"
        try:
            yield
        except Exception as error:
            self._book.note(kind, began, type(error).__name__, _without_slugs(str(error)))
            raise
        self._book.note(kind, began)


def _who(username: str) -> str:
    """Return what kind of person this is."""
    if username.startswith("own-"):
        return "a member of one tenant"
    return {"": "a visitor", "several": "a member of all tenants", "root": "staff"}[username]


def _without_slugs(text: str) -> str:
    return re.sub(r"\bt\d+\b", "t…", text)[:160]


def browse(
    base: str, cast: Cast, seed: str, number: int, reading: float, book: Book, over: threading.Event
) -> None:
    """Go from page to page until it is over, with `reading` seconds between; a mix-up is always a leak."""
    actor, table = Actor(f"soak{number}", seed, cast), Table(pages.OPERATIONS)
    people = pages.People(base, lambda where, username: RecordingBrowser(where, username, book))
    while not over.is_set():
        try:
            if not people.signed_in:
                people.sign_in()
            _, operation = table.choose(actor)
            operation(people, actor, actor.slug())
        except (pages.Unavailable, pages.WrongStatus):
            over.wait(0.2)  # it stands in the book already
        except MixUp as error:
            book.leaks.append(str(error))
        over.wait(2 * reading * actor.random.random())


def maintain(seed: str, pause: float, book: Book, over: threading.Event) -> None:
    """Migrate all tenants, make a tenant, delete it: each by a command, with a pause of seconds between."""
    chance, made = random.Random(seed), 0  # noqa: S311
    while not over.wait(pause * (0.5 + chance.random())):
        made += 1
        slug = f"extra-{made}"
        for command in (
            ["create_tenant", slug, "--name", slug],
            ["migrate", "--database", "tenant"],
            ["sync_members", slug],
            ["tenant_delete", slug, "--yes"],
        ):
            # All of them may be run again after a failure.
            while not over.is_set() and not _run(command, book):
                over.wait(1)


def _run(command: list[str], book: Book) -> bool:
    began = time.monotonic()
    process = forking.run(["manage.py", *command, "--verbosity", "0"])
    if process.returncode:
        words = (process.stderr.strip().splitlines() or ["no reason"])[-1]
        book.note(command[0], began, "CommandFailed", words[:160])
        return False
    book.note(command[0], began)
    return True
