"""Fuzzes a relay of its own for as many messages as are asked for: `make fuzz MESSAGES=200000`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.relay.terminal import say
from tests.production import ProductionWorker

from .http_fuzz import HttpFuzzer
from .ledger import MARK_TABLE, Ledger, read_marks
from .socket_fuzz import Report, SocketFuzzer

D1 = "d1:d0b41d9e-0000-4000-8000-00000000000{}"
# Some names three times: each jurisdiction has another object of the name, on a stand-in.
TARGETS = [
    *(f"do:test/fuzz/t{number}" for number in range(12)),
    *(f"do:test/fuzz/t{place}" for place in ("0@eu", "0@us", "1@eu", "2@fedramp-high")),
    D1.format(3),
]
# No frame names these: what is in them must stay as it is.
CANARIES = ["do:test/fuzz-canary/a", "do:test/fuzz-canary/a@eu", "do:test/fuzz/t3@eu", D1.format(4)]
OWN = "CREATE TABLE IF NOT EXISTS own (id INTEGER PRIMARY KEY, v)"
TOKENS = {
    "all": "token-for-all-databases-while-it-is-fuzzed",
    "do": "token-for-tenants-alone-while-it-is-fuzzed",
    "d1": "token-for-directory-alone-while-it-is-fuzzed",
}
# Of so many messages one goes over HTTP instead of a session.
HTTP_SHARE = 20


class Fuzzing:
    """One run against one Worker: its databases, its canaries, and its report."""

    def __init__(self, worker: Any, seed: int) -> None:
        self.worker = worker
        self.seed = seed
        self.ledger = Ledger(seed)
        self.transport = RelayTransport(worker.url, TOKENS["all"])
        self.processes = worker.workerd_pids()

    def prepare(self) -> None:
        """Make the tables and the canaries' rows."""
        for database in TARGETS + CANARIES:
            with driver.connect(self.transport, database) as connection:
                connection.execute_batch(
                    [(MARK_TABLE, None), (OWN, None), ("INSERT INTO own VALUES (1, 'a')", None)]
                )

    def run(self, messages: int) -> Report:
        """Send the messages, and look at the databases afterwards."""
        sockets = SocketFuzzer(self.worker.url, TOKENS, TARGETS, self.ledger)
        report = asyncio.run(sockets.run(messages - messages // HTTP_SHARE, self.seed))
        HttpFuzzer(self.worker.url, TOKENS, self.ledger, report).run(messages // HTTP_SHARE, self.seed)
        self.look(report)
        return report

    def look(self, report: Report) -> None:
        """What must be true when all is over."""
        report.check(self.worker.workerd_pids() == self.processes, "the runtime was restarted")
        report.violations += self.ledger.violations(read_marks(self.transport, TARGETS + CANARIES))
        for database in CANARIES:
            with driver.connect(self.transport, database) as connection:
                rows = connection.execute("SELECT id, v FROM own").fetchall()
                tables = connection.execute(
                    "SELECT count(*) FROM sqlite_master WHERE name = 'child'"
                ).fetchone()
            report.check(rows == [(1, "a")] and tables == (0,), f"{database} was written to: {rows[:3]}")
        for database in TARGETS:
            with driver.connect(self.transport, database) as connection:
                check = connection.execute("PRAGMA quick_check").fetchone()
            report.check(check == ("ok",), f"{database} is damaged: {check}")
        report.violations += secrets_in(self.worker.log)


def secrets_in(log: Path) -> list[str]:
    """The tokens that stand in the runtime's log."""
    text = log.read_text(errors="replace")
    return [f"the log holds the token for {scope}" for scope, token in TOKENS.items() if token in text]


def fuzz(worker: Any, messages: int, seed: int) -> Report:
    """Fuzz a Worker that runs with TOKENS."""
    run = Fuzzing(worker, seed)
    run.prepare()
    try:
        return run.run(messages)
    finally:
        run.transport.close()


def worker_options() -> dict[str, Any]:
    """How the Worker to be fuzzed is made."""
    scoped = {"RELAY_TOKEN_TENANTS": TOKENS["do"], "RELAY_TOKEN_DIRECTORY": TOKENS["d1"]}
    return {"token": TOKENS["all"], "tokens": scoped}


def main(arguments: list[str]) -> int:
    """0 when nothing was wrong; the report goes to the terminal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    options = parser.parse_args(arguments)
    say(f"Seed {options.seed}; again: make fuzz MESSAGES={options.messages} SEED={options.seed}")
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    with folder as state, ProductionWorker(Path(state), **worker_options()) as worker:
        started = time.monotonic()
        report = fuzz(worker, options.messages, options.seed)
        seconds = time.monotonic() - started
    say(f"{report.messages} messages in {seconds:.0f} s; answers: {dict(report.answers.most_common())}")
    for violation in report.violations:
        say(f"VIOLATION {violation}")
    say(f"{len(report.violations)} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
