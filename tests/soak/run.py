"""The soak: the site on gunicorn and a local Worker under load and faults; `make soak SECONDS=600`."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from do_bridge.relay.ports import HOST
from do_bridge.relay.terminal import say
from tests.driver.proxy import Proxy
from tests.leak.actor import Cast
from tests.leak.stage import ROOT, make_tenants, set_up, site
from tests.production import ProductionWorker
from tests.soak import faults, load
from tests.soak.book import Book
from tests.soak.report import failures, report
from tests.soak.watch import Watch, evidence, watchdog

GUNICORN_PROCESSES = 2  # as in the image


def main() -> int:
    """Run as long as the arguments say; 0 where nothing failed that no fault explains."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        worker = stack.enter_context(
            ProductionWorker(folder / "state", token=secrets.token_hex(16), wrangler=True)
        )
        set_up(worker, "tests.soak.settings")
        cast = make_tenants(options.tenants)
        proxy = stack.enter_context(Proxy(worker.port))
        address, gunicorn = stack.enter_context(site(folder / "gunicorn.log", proxy.url, GUNICORN_PROCESSES))
        stage = faults.Stage(
            worker, proxy, address, gunicorn.pid, cast, options.patience, min(5.0, options.seconds / 8)
        )
        return soak(options, stage)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--browsers", type=int, default=6)
    parser.add_argument("--pause", type=float, default=12, help="seconds between two faults")
    parser.add_argument("--calm", type=float, default=10, help="seconds without a fault in the end")
    parser.add_argument("--reading", type=float, default=0.025, help="seconds between two pages")
    parser.add_argument("--patience", type=float, default=15, help="seconds for a recovery, and for a stall")
    parser.add_argument("--without-kills", type=float, default=0.6, help="part of the time")
    parser.add_argument("--seed", default="")
    parser.add_argument("--report", type=Path, default=ROOT / "state" / "soak.md")
    options = parser.parse_args()
    options.seed = options.seed or secrets.token_hex(4)
    return options


def soak(options: argparse.Namespace, stage: faults.Stage) -> int:
    """Put the site under load and faults, then write the report."""
    say(f"{options.seconds:g} s, {options.browsers} browsers, {options.tenants} tenants, seed {options.seed}")
    book = Book()
    watch = Watch(lambda: processes(stage), max(options.seconds / 200, 0.5))
    before = bookkeeping(stage.cast)
    work(options, stage, book, watch)
    after = bookkeeping(stage.cast)
    tables = {name: (before.get(name, 0), after.get(name, 0)) for name in before | after}
    series = [one for one in watch.series.values() if one.samples]
    # Caches fill in the first minute: growth before that tells nothing.
    warm_up = max(60.0, options.seconds / 5)
    title = (
        f"{options.seconds:g} seconds, {options.browsers} browsers, {options.tenants} tenants, "
        f"{GUNICORN_PROCESSES} gunicorn processes, seed {options.seed}; load at the end: {os.getloadavg()}"
    )
    text = report(title, book, series, tables, warm_up)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(text)
    say(text)
    return 1 if failures(book, series, warm_up) else 0


def work(options: argparse.Namespace, stage: faults.Stage, book: Book, watch: Watch) -> None:
    """Run load, faults and watchers side by side for the time; the faults end first."""
    calm, over = threading.Event(), threading.Event()
    urls = {"the Worker": f"{stage.worker.url}/healthz", "the site": f"{stage.site}/healthz/live"}
    schedule = faults.Schedule(options.seed, options.pause, options.seconds * options.without_kills)
    jobs: list[Callable[[], None]] = [
        lambda: faults.disturb(stage, schedule, book, calm),
        lambda: load.maintain(options.seed, max(options.pause, 4), book, over),
        lambda: watch.run(over),
        lambda: watchdog(
            urls, lambda: evidence(processes(stage), stage.worker.log_tail), book, over, options.patience
        ),
    ]
    for number in range(options.browsers):
        jobs.append(
            lambda number=number: load.browse(
                stage.site, stage.cast, options.seed, number, options.reading, book, over
            )
        )
    threads = [threading.Thread(target=book.work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    time.sleep(max(options.seconds - options.calm, 0))
    calm.set()
    threads[0].join()
    time.sleep(options.calm)
    over.set()
    for thread in threads:
        thread.join()


def processes(stage: faults.Stage) -> dict[int, str]:
    """Return what is watched: {pid: name}."""
    # A runtime of its own is wrangler's proxy, at the Worker's port.
    proxy = f"entry={HOST}:{stage.worker.port}"
    named = dict.fromkeys(stage.worker.pids(), "wrangler")
    for pid in stage.worker.workerd_pids():
        with contextlib.suppress(OSError):
            is_proxy = proxy in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
            named[pid] = "wrangler's proxy" if is_proxy else "workerd"
    named |= dict.fromkeys(faults.gunicorn_workers(stage.gunicorn), "gunicorn")
    return named


def bookkeeping(cast: Cast) -> dict[str, int]:
    """Return how many rows the tables have that nobody reads on a page, of D1 and of one object."""
    from django.db import connections

    rows = {}
    for alias in ("default", f"tenant/{cast.slugs[0]}"):
        connection = connections[alias]
        names = [name for name in _tables(connection) if _is_bookkeeping(name)]
        with connection.cursor() as cursor:
            for name in names:
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(name)}")
                rows[f"{'D1' if alias == 'default' else 'an object'}: {name}"] = cursor.fetchone()[0]
        connection.close()
    return rows


def _tables(connection) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def _is_bookkeeping(name: str) -> bool:
    return name.startswith(("_do_bridge", "do_bridge", "django_")) or name.endswith("dirtyflag")


if __name__ == "__main__":
    sys.exit(main())
