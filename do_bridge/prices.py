"""What Cloudflare charges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """One line of the bill, with its prices in dollars.

    `included` is what a month includes. Each `unit` beyond it costs `each`.
    """

    name: str
    included: float
    unit: float
    each: float

    def of(self, amount: float) -> float:
        """Dollars for the amount of a month."""
        return max(0.0, amount - self.included) / self.unit * self.each


#: The paid plan, a month. Read in November 2026: developers.cloudflare.com/workers/platform/pricing,
#: /durable-objects/platform/pricing and /d1/platform/pricing.
PLAN = 5.0
PRICES = {
    "requests": Price("requests to the Worker: a session is one", 10e6, 1e6, 0.30),
    "cpu": Price("CPU of the Worker, ms", 30e6, 1e6, 0.02),
    "calls": Price("requests to objects: a call, or those that share one", 1e6, 1e6, 0.15),
    "duration": Price("time of objects awake, GB-s", 400e3, 1e6, 12.50),
    "object_read": Price("rows read in objects", 25e9, 1e6, 0.001),
    "object_written": Price("rows written in objects", 50e6, 1e6, 1.00),
    "object_storage": Price("storage of objects, GB", 5, 1, 0.20),
    "d1_read": Price("rows read in D1", 25e9, 1e6, 0.001),
    "d1_written": Price("rows written in D1", 50e6, 1e6, 1.00),
    "d1_storage": Price("storage of D1, GB", 5, 1, 0.75),
}

#: An object is billed for 128 MB, whatever it uses.
GIGABYTES = 0.125
#: Seconds that a call is held open for the next batch (worker/src/held-calls.ts).
HELD = 0.05
#: Rows that an object reads and writes for the idempotency key of a write (OPTIONS["write_keys"]).
KEY = 1
#: Assumed: seconds that an object works for a statement, and milliseconds of the Worker's CPU for a trip.
WORK = 0.005
CPU = 1.0


def beyond(used: Mapping[str, float]) -> float:
    """Dollars for these amounts where the month's included ones are used up."""
    return sum(amount / PRICES[name].unit * PRICES[name].each for name, amount in used.items())


def dollars_text(dollars: float) -> str:
    """Return an amount for people; a small one is not shown as nothing."""
    return "< 0.01 $" if 0 < dollars < 0.01 else f"{dollars:,.2f} $"


def object_dollars(calls: float, writes: float, rows_read: float, rows_written: float, size: float) -> float:
    """Estimate what a Durable Object costs in a month, in dollars.

    The included amounts count as used up. `writes` are those of the calls that wrote, each with an
    idempotency key. `size` is in bytes.
    """
    used = {
        "calls": calls,
        "duration": calls * (WORK + HELD) * GIGABYTES,
        "cpu": calls * CPU,
        "object_read": rows_read + writes * KEY,
        "object_written": rows_written + writes * KEY,
        "object_storage": size / 1e9,
    }
    return beyond(used)


def d1_dollars(calls: float, rows_read: float, rows_written: float, size: float) -> float:
    """Estimate what D1 costs in a month, in dollars.

    The included amounts count as used up. `size` is in bytes.
    """
    return beyond(
        {"cpu": calls * CPU, "d1_read": rows_read, "d1_written": rows_written, "d1_storage": size / 1e9}
    )
