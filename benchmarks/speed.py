"""Measures how fast queries are, beside what they are compared with: `python -m benchmarks.speed [part…]`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks import stage
from benchmarks.measuring import Figure, medians, plot, shown, table
from worker.local import LocalWorker

RESULTS = Path(__file__).resolve().parent / "results"
QUICK = 300
SLOW = 7


class Parts:
    """The measurements; each adds its figures, and notes for what is no ratio."""

    def __init__(self, worker: LocalWorker, item: Any) -> None:
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
        post, request = self._rest_request()
        cases["bare rest"] = post
        once = self._new_connection(stage.recorded(self.get("object")))
        times = medians(cases, QUICK)
        times |= medians({"once": once, "again": self.get("object")}, 40)
        add = self.figures.append
        add(Figure("get(pk) on an object", "bare WebSocket", times["get object"], times["bare object"], 1.5))
        add(Figure("get(pk) on D1, relay", "bare WebSocket", times["get d1"], times["bare d1"], 1.5))
        add(Figure("get(pk) on D1, REST", "bare httpx", times["get rest"], times["bare rest"], 1.5))
        add(
            Figure(
                "get(pk) on an object",
                "a new connection for each query",
                times["again"],
                times["once"],
                None,
                True,
            )
        )
        add(
            Figure(
                "get(pk) on D1, relay", "get(pk) on D1, REST", times["get d1"], times["get rest"], None, True
            )
        )
        self.notes.append(f"`get(pk)` on the local sqlite3 file, no network: {shown(times['get default'])}")
        request.close()

    def _rest_request(self) -> tuple[Callable[[], Any], httpx.Client]:
        """The same call of D1's REST API by httpx alone."""
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
        request = sent[-1]
        client = httpx.Client(headers=request.headers, timeout=30)
        url, body = str(request.url), request.content
        return lambda: client.post(url, content=body).content, client

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

        objects = stage.rows(self.item, 10_000)

        def create(alias: str) -> Callable[[], None]:
            return lambda: self.item.objects.using(alias).bulk_create(stage.unsaved(objects)) and None

        def small() -> None:
            # One request for each statement, as a backend that knows 100 parameters alone would do it.
            for start in range(0, 1_600, 16):
                self.item.objects.using("object").bulk_create(stage.unsaved(objects[start : start + 16]))

        def small_rest() -> None:
            for start in range(0, 320, 16):
                self.item.objects.using("rest").bulk_create(stage.unsaved(objects[start : start + 16]))

        cases = {"object": create("object"), "sqlite3": create("default")}
        cases |= {"small": small, "small REST": small_rest}
        times = medians(cases, SLOW)
        add = self.figures.append
        name = "bulk_create of 10,000"
        add(Figure(name, "sqlite3", times["object"], times["sqlite3"], 4))
        add(Figure(name, "16-row statements, REST", times["object"], times["small REST"] * 31.25, 30, True))
        add(
            Figure(
                name, "16-row statements, held session", times["object"], times["small"] * 6.25, None, True
            )
        )

        def read(alias: str) -> Callable[[], Any]:
            return lambda: list(self.item.objects.using(alias).order_by("pk")[:10_000])

        times = medians({"object": read("object"), "sqlite3": read("default")}, SLOW)
        add(Figure("reading 10,000", "sqlite3", times["object"], times["sqlite3"], 3))


def main(chosen: list[str]) -> None:
    """Run the parts named, or all, and write the table and the plot."""
    state = tempfile.TemporaryDirectory()
    with state as folder, LocalWorker(0, Path(folder) / "state", os.urandom(16).hex()) as worker:
        parts = Parts(worker, stage.set_up(worker, Path(folder)))
        for name in chosen or ("statement", "cpu", "bulk"):
            getattr(parts, name)()
        parts.bare.close()
    text = [table(parts.figures), "", *(f"- {note}" for note in parts.notes)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    text += ["", f"{os.cpu_count()} cores; load averages at the end: {load}."]
    sys.stdout.write("\n".join(text) + "\n")
    if not chosen:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "speed.md").write_text("\n".join(text) + "\n")
        (RESULTS / "speed.svg").write_text(plot(parts.figures))


if __name__ == "__main__":
    main(sys.argv[1:])
