"""One of several processes whose threads fight for the same rows of D1; prints what it did as JSON.

Its argument is JSON: `database` (Django's settings of the alias), `threads`, `rounds`, `name`.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from typing import Any

import django
from django.conf import settings

TASKS = json.loads(sys.argv[1]) if __name__ == "__main__" else {}
if TASKS:
    settings.configure(DATABASES={"default": TASKS["database"]}, INSTALLED_APPS=[], USE_TZ=True)
    django.setup()

from django.db import connection, transaction  # noqa: E402

from do_bridge import retry_on_conflict  # noqa: E402

ACCOUNTS, COUNTERS = 12, 8
# A conflict is somebody else's success, so each gets through in the end.
TIMES = 10_000


class Worker:
    """What one thread does: blocks that read, decide in Python, and write."""

    def __init__(self, name: str, counter: int) -> None:
        self.name = name
        self.counter = counter
        self.attempts = 0
        self.done = 0

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if sql.startswith("SELECT") else []

    @retry_on_conflict(times=TIMES)
    def increment(self) -> None:
        """Add one to the thread's counter, which it shares with one thread of each process."""
        self.attempts += 1
        with transaction.atomic():
            ((value,),) = self._rows("SELECT value FROM contended_counter WHERE id = %s", self.counter)
            self._rows("UPDATE contended_counter SET value = %s WHERE id = %s", value + 1, self.counter)

    @retry_on_conflict(times=TIMES)
    def move(self) -> None:
        """Move money, never below zero, and write it into the book."""
        self.attempts += 1
        one, other = random.sample(range(1, ACCOUNTS + 1), 2)
        amount = random.randint(1, 60)  # noqa: S311 - it is a test's.
        with transaction.atomic():
            ((balance,),) = self._rows("SELECT balance FROM contended_account WHERE id = %s", one)
            if balance < amount:
                return
            self._rows("UPDATE contended_account SET balance = %s WHERE id = %s", balance - amount, one)
            self._rows("UPDATE contended_account SET balance = balance + %s WHERE id = %s", amount, other)
            self._rows("INSERT INTO contended_book (a, b, amount) VALUES (%s, %s, %s)", one, other, amount)

    @retry_on_conflict(times=TIMES)
    def take(self) -> bool:
        """Take one task from the queue; return whether there was one."""
        self.attempts += 1
        with transaction.atomic():
            rows = self._rows("SELECT id FROM contended_task WHERE taken_by IS NULL ORDER BY id LIMIT 1")
            for (task,) in rows:
                self._rows("UPDATE contended_task SET taken_by = %s WHERE id = %s", self.name, task)
                self._rows("INSERT INTO contended_run (task, by) VALUES (%s, %s)", task, self.name)
        return bool(rows)

    def work(self, rounds: int) -> None:
        """Do everything so many times, and empty the queue."""
        try:
            for _ in range(rounds):
                self.increment()
                self.move()
                self.done += 2
            while self.take():
                self.done += 1
        finally:
            connection.close()


def main() -> None:
    """Run the threads and report."""
    workers = [
        Worker(f"{TASKS['name']}-{number}", number % COUNTERS + 1) for number in range(TASKS["threads"])
    ]
    threads = [threading.Thread(target=worker.work, args=[TASKS["rounds"]]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done, attempts = sum(worker.done for worker in workers), sum(worker.attempts for worker in workers)
    sys.stdout.write(json.dumps({"done": done, "attempts": attempts}))


if __name__ == "__main__":
    main()
