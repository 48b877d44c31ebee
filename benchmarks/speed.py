"""Measures how fast queries are, beside what they are compared with: `python -m benchmarks.speed [part…]`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks import stage
from benchmarks.measuring import Figure, machine, medians, plot, shown, table, write_result
from do_bridge.relay import LocalRelay, bundle

QUICK = 300
SLOW = 7
BULK = 10_000


class Parts:
    """The measurements; each adds its figures, and notes for what is no ratio."""

    def __init__(self, worker: LocalRelay, item: Any) -> None:
        self.worker = worker
        self.item = item
        self.bare = stage.Bare(worker)
        self.figures: list[Figure] = []
        self.notes: list[str] = []
        self.keys = {
            alias: [made.pk for made in item.objects.using(alias).bulk_create(stage.rows(item, 100))]
            for alias in ("default", "object", "d1", "rest")
        }

    def get(self, alias: str) -> Callable[[], Any]:
        """`get()` by primary key."""
        key = self.keys[alias][50]
        return lambda: self.item.objects.using(alias).get(pk=key)

    def statement(self) -> None:
        """One statement by each way, beside a bare exchange of the same bytes."""
        cases = {f"get {alias}": self.get(alias) for alias in ("object", "d1", "rest", "default")}
        for alias in ("object", "d1"):
            frames = stage.recorded(self.get(alias))
            cases[f"bare {alias}"] = partial(self.bare.exchange, frames)
        request, client = self._rest_request()
        cases["bare rest"] = lambda: client.post(request.url, content=request.content).content
        once = {
            "once": self._new_connection(stage.recorded(self.get("object"))),
            "once rest": self._new_client(request),
            "again": self.get("object"),
        }
        times = medians(cases, QUICK)
        times |= medians(once, 40)
        add = self.figures.append
        add(Figure("get(pk) on an object", "bare WebSocket", times["get object"], times["bare object"], 1.5))
        add(Figure("get(pk) on D1, relay", "bare WebSocket", times["get d1"], times["bare d1"], 1.5))
        add(Figure("get(pk) on D1, REST", "bare httpx", times["get rest"], times["bare rest"], 1.5))
        name, again = "get(pk) on an object", times["again"]
        add(Figure(name, "a new WebSocket for each query", again, times["once"], None, True))
        add(Figure(name, "httpx.post() to D1's API for each query", again, times["once rest"], None, True))
        d1, rest = times["get d1"], times["get rest"]
        add(Figure("get(pk) on D1, relay", "get(pk) on D1, REST", d1, rest, None, True))
        self.notes.append(f"`get(pk)` on the local sqlite3 file, no network: {shown(times['get default'])}")
        client.close()

    def _rest_request(self) -> tuple[httpx.Request, httpx.Client]:
        """The call of D1's REST API that `get()` makes, and a client that can repeat it."""
        sent: list[httpx.Request] = []
        original = httpx.Client.send

        def note(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
            sent.append(request)
            return original(client, request, **options)

        httpx.Client.send = note  # type: ignore[method-assign,assignment]
        try:
            self.get("rest")()
        finally:
            httpx.Client.send = original  # type: ignore[method-assign]
        return sent[-1], httpx.Client(headers=sent[-1].headers, timeout=30)

    def _new_client(self, request: httpx.Request) -> Callable[[], None]:
        """What a backend does that keeps nothing: a client and a connection for each query."""

        def work() -> None:
            httpx.post(request.url, content=request.content, headers=request.headers, timeout=30)

        return work

    def _new_connection(self, frames: list[bytes]) -> Callable[[], None]:
        def work() -> None:
            bare = stage.Bare(self.worker)
            bare.exchange(frames)
            bare.close()

        return work

    def cpu(self) -> None:
        """What Django's process spends, beside its sqlite3 backend and a bare exchange of the same bytes."""
        works: dict[str, Callable[[str], Callable[[], Any]]] = {
            "get(pk)": self.get,
            "create()": lambda alias: (
                lambda: stage.rows(self.item, 1)[0].save(using=alias, force_insert=True)
            ),
            "a list of 100": lambda alias: (
                lambda: list(self.item.objects.using(alias).filter(pk__in=self.keys[alias]))
            ),
        }
        for name, work in works.items():
            frames = stage.recorded(work("object"))
            cases = {
                "object": work("object"),
                "sqlite3": work("default"),
                "bare": partial(self.bare.exchange, frames),
                # In one call: after waiting for the network Python's own work finds cold caches.
                "both": partial(self._both, work("default"), frames),
            }
            times = medians(cases, 40, repeat=10, clock=time.process_time)
            self.figures.append(
                Figure(f"client CPU, {name}", "sqlite3 + bare exchange", times["object"], times["both"], 1.5)
            )
            self.notes.append(
                f"client CPU, {name}: {shown(times['object'])}; sqlite3 {shown(times['sqlite3'])}, "
                f"bare exchange {shown(times['bare'])}"
            )

    def _both(self, work: Callable[[], Any], frames: list[bytes]) -> None:
        work()
        self.bare.exchange(frames)

    def bulk(self) -> None:
        """Writing and reading 10,000 rows."""
        objects = stage.rows(self.item, BULK)

        def create(alias: str) -> Callable[[], None]:
            return lambda: self.item.objects.using(alias).bulk_create(stage.unsaved(objects)) and None

        # Statement by statement, as a backend that knows 100 parameters alone would do it.
        small = {
            "new": ("16-row statements, REST, a new connection for each", 160, self._close_rest),
            "rest": ("16-row statements, REST, one connection", 320, None),
            "object": ("16-row statements, relay session", 1600, None),
        }
        cases: dict[str, Callable[[], Any]] = {"object": create("object"), "sqlite3": create("default")}
        for name, (_, count, before) in small.items():
            alias = "object" if name == "object" else "rest"
            cases[f"small {name}"] = partial(self._by_sixteen, alias, objects[:count], before)
        times = medians(cases, SLOW)
        add = self.figures.append
        name, ours = "bulk_create of 10,000", times["object"]
        add(Figure(name, "sqlite3", ours, times["sqlite3"], 4))
        for key, (against, count, _) in small.items():
            target = 30 if key == "new" else None
            add(Figure(name, against, ours, times[f"small {key}"] * BULK / count, target, True))
        floor = times["small new"] * BULK / small["new"][1] / times["sqlite3"]
        self.notes.append(
            f"`bulk_create` of 10,000 on the local sqlite3 file beside the same: {floor:.1f} × faster"
        )

        def read(alias: str) -> Callable[[], Any]:
            return lambda: list(self.item.objects.using(alias).order_by("pk")[:BULK])

        times = medians({"object": read("object"), "sqlite3": read("default")}, SLOW)
        add(Figure("reading 10,000", "sqlite3", times["object"], times["sqlite3"], 3))

    def _by_sixteen(self, alias: str, objects: list[Any], before: Callable[[], None] | None) -> None:
        for start in range(0, len(objects), 16):
            if before is not None:
                before()
            self.item.objects.using(alias).bulk_create(stage.unsaved(objects[start : start + 16]))

    def _close_rest(self) -> None:
        from django.db import connections

        connections["rest"].ensure_connection()
        connections["rest"].connection.transport.close()


def main(chosen: list[str]) -> None:
    """Run the parts named, or all, and write the table and the plot."""
    state = tempfile.TemporaryDirectory()
    with (
        state as folder,
        LocalRelay(Path(folder) / "state", source=bundle.SOURCE) as worker,
    ):
        parts = Parts(worker, stage.set_up(worker, Path(folder)))
        for name in chosen or ("statement", "cpu", "bulk"):
            getattr(parts, name)()
        parts.bare.close()
    text = [table(parts.figures), "", *(f"- {note}" for note in parts.notes), "", machine()]
    sys.stdout.write("\n".join(text) + "\n")
    if not chosen:
        write_result("speed.md", "\n".join(text))
        write_result("speed.svg", plot(parts.figures))


if __name__ == "__main__":
    main(sys.argv[1:])
