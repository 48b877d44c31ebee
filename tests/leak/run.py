"""The leak test: threads, tasks and browsers over many tenants; `make leak OPERATIONS=… SEED=…`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from do_bridge.relay import LocalRelay
from do_bridge.relay.terminal import say
from tests.driver.proxy import Proxy
from tests.forking import Program
from tests.leak.actor import LIVES, Cast
from tests.leak.marks import Tally
from tests.leak.role import Progress, beside
from tests.leak.stage import make_tenants, set_up, site
from tests.production import HistoryWorker, place_for_data
from tests.soak.watch import look

# Each role's part of the operations; a page costs as much as two dozen others. The first one does what the
# others leave.
SHARES = {"threads": 0.66, "tasks": 0.17, "faults": 0.07, "pages": 0.04, "lives": 0.03, "keepers": 0.03}

# Few processes, so that requests of several tenants meet in one. A new process now and then, whose first
# request is any tenant's.
SITE_PROCESSES = 2
SITE_OPTIONS = ("--max-requests", "300", "--max-requests-jitter", "200")


def main() -> int:
    """Run what the arguments ask for; 0 where nothing was mixed up and no error is unexplained."""
    options = arguments()
    say(f"{options.operations} operations over {options.tenants} tenants, seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="leak-", dir=place_for_data()) as name:
        folder = Path(name)
        # Stand-ins for what the local runtime lacks: jurisdictions, a history of some objects, and a replica.
        stand_ins = {"HISTORY_OF": f"tenant/{LIVES}", "LAGGING": "1"}
        with HistoryWorker(folder / "state", token=secrets.token_hex(16), variables=stand_ins) as worker:
            set_up(worker, "tests.leak.settings")
            cast = make_tenants(options.tenants)
            seed_shop(cast)
            code = run(options, cast, worker, folder)
            return code if code or options.self_test is None else self_test(options, cast, worker, folder)


def seed_shop(cast: Cast) -> None:
    """Give each tenant a shop's rows."""
    from tests.leak.shopping.seeds import seed

    seed(cast)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=7200, help="stop after so long")
    parser.add_argument("--seed", default="")
    parser.add_argument("--roles", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument(
        "--self-test",
        nargs="*",
        metavar="NAME",
        help="then find the leaks of plants.py, each in its operations; those that take seconds, or these",
    )
    options = parser.parse_args()
    options.seed = options.seed or secrets.token_hex(4)
    return options


def run(options: argparse.Namespace, cast: Cast, worker: LocalRelay, folder: Path) -> int:
    """Play the roles side by side, look at every row, print the report."""
    from tests.leak.audit import audit, audit_lives

    started = time.monotonic()
    tally = play(options, cast, worker, folder)
    seconds = time.monotonic() - started
    memory = sum(look(pid).memory for pid in worker.workerd_pids())
    rows, wrong = audit(cast)
    if "lives" in options.roles:
        looks, mixed = audit_lives(folder / "journals")
        wrong += mixed
        say(f"{looks} looks into tenants with several lives were compared with what became of them.")
    say(report(options, tally, seconds, rows, wrong))
    say(f"\nMemory of workerd at the end of the operations: {memory:.0f} MB.")
    is_right = not (tally.mixed_up or tally.unexpected or wrong)
    if not is_right and "lives" in options.roles:
        kept = Path(tempfile.mkdtemp(prefix="leak-journals-"))
        shutil.copytree(folder / "journals", kept, dirs_exist_ok=True)
        say(f"Journals of the tenants with several lives: {kept}")
    return 0 if is_right else 1


def self_test(options: argparse.Namespace, cast: Cast, worker: LocalRelay, folder: Path) -> int:
    """Make leaks, each among tenants of its own; 1 where one of them is not found."""
    from tests.leak.audit import audit, audit_lives
    from tests.leak.plants import PLANTS, SLOW_PLANTS, stray_row

    missed, names = 0, options.self_test or list(PLANTS)
    for number, plant in enumerate(names):
        started = time.monotonic()
        os.environ["LEAK_PLANT"] = plant
        options.roles, options.operations = (PLANTS | SLOW_PLANTS)[plant]
        # A leak may make tenants unusable, so that the operations come to no end.
        options.seconds = min(options.seconds, 240)
        tally = play(options, cast.part(number, len(names) + 1), worker, folder)
        found = tally.mixed_up
        if plant in SLOW_PLANTS:
            found += len(tally.unexpected) + len(audit_lives(folder / "journals")[1])
        missed += not found
        say(
            f"{plant}: {found} mix-ups found among {sum(tally.operations.values())} operations "
            f"in {time.monotonic() - started:.0f} s"
        )
    last = cast.part(len(names), len(names) + 1)
    before = audit(last)[1]
    stray_row(last)
    found = audit(last)[1]
    say(f"a stray row: {len(found)} wrong databases found, {len(before)} before it")
    return 1 if missed or before or len(found) != 1 else 0


def play(options: argparse.Namespace, cast: Cast, worker: LocalRelay, folder: Path) -> Tally:
    """Let each role do its part of the operations, in processes of their own."""
    (folder / "cast.json").write_text(cast.to_json())
    Progress.begin(folder / "progress", len(options.roles))
    os.environ["LEAK_RELAY"] = worker.url
    os.environ["LEAK_FRESH"], os.environ["LEAK_JOURNALS"] = str(folder / "fresh"), str(folder / "journals")
    (folder / "fresh").mkdir(exist_ok=True)
    shutil.rmtree(folder / "journals", ignore_errors=True)
    (folder / "journals").mkdir()
    tally = Tally()
    with contextlib.ExitStack() as stack:
        if "pages" in options.roles:
            proxy = stack.enter_context(Proxy(worker.port))
            served = site(folder / "gunicorn.log", proxy.url, SITE_PROCESSES, SITE_OPTIONS)
            os.environ["LEAK_SITE"], _ = stack.enter_context(served)
            stack.enter_context(_disturbed(proxy, options.seed))
        for role, process in [(role, _start(role, options, folder)) for role in options.roles]:
            tally.add(_result(role, process))
    return tally


def _disturbed(proxy: Proxy, seed: str) -> contextlib.AbstractContextManager[None]:
    """Cut the site's connections now and then, as in `play_with_faults` but rarely."""
    from tests.leak.role_threads import disturb

    chance = random.Random(seed)  # noqa: S311
    return beside(lambda over: disturb(proxy, chance, over, 0.5, 8.0))


def _start(role: str, options: argparse.Namespace, folder: Path) -> Program:
    shares = sum(SHARES[name] for name in options.roles)
    part = round(options.operations * SHARES[role] / shares)
    command = ["-m", "tests.leak.process", role, "--seed", options.seed]
    command += ["--operations", str(options.operations), "--part", str(part)]
    command += ["--seconds", str(options.seconds), "--cast", str(folder / "cast.json")]
    command += ["--progress", str(folder / "progress"), "--place", str(options.roles.index(role))]
    if role == next(iter(SHARES)):
        command.append("--fills")
    return Program(command)


def _result(role: str, process: Program) -> dict:
    if process.wait(timeout=None):
        raise RuntimeError(f"The role {role} ended with {process.returncode}:\n{process.stderr[-3000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def report(options: argparse.Namespace, tally: Tally, seconds: float, rows: int, wrong: list[str]) -> str:
    """Return the report in Markdown."""
    total = sum(tally.operations.values())
    lines = [
        "# No leak between tenants" if not tally.mixed_up + len(wrong) else "# LEAKS",
        "",
        f"- {total} operations in {seconds:.0f} s ({total / seconds:.0f} a second) over "
        f"{options.tenants} tenants, seed {options.seed}",
        f"- mix-ups: **{tally.mixed_up}**",
        f"- rows looked at in the end, in all objects and D1: {rows}, of which wrong: **{len(wrong)}**",
        f"- errors without a cause among the faults: {len(tally.unexpected)}",
        "",
        "| role | operations | round trips of its own | seconds |",
        "|---|---|---|---|",
        *(f"| {name} | {done} | {trips or ''} | {took:.0f} |" for name, done, trips, took in tally.roles),
        "",
        "| operation | times |",
        "|---|---|",
        *(f"| {kind} | {count} |" for kind, count in sorted(tally.operations.items())),
        "",
        "| error | times |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(tally.errors.items())),
    ]
    if tally.wrong:
        lines += [
            "",
            "| what went wrong | times | operations of its role before the first |",
            "|---|---|---|",
        ]
        lines += [
            f"| {kind} | {count} | {tally.first_wrong[kind]} |" for kind, count in tally.wrong.most_common()
        ]
    for title, texts in (
        ("Mix-ups", tally.mix_ups),
        ("Wrong rows", wrong[:20]),
        ("Unexpected errors", tally.unexpected),
    ):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
