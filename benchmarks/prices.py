"""The arithmetic that makes bills of what Cloudflare charges."""

from __future__ import annotations

from dataclasses import dataclass

from do_bridge.prices import CPU, GIGABYTES, HELD, KEY, PLAN, PRICES, WORK, Price, beyond


def on_object(trips: int, read: int, written: int) -> float:
    """Dollars for a million operations on an object, each on a call of its own that nobody else uses."""
    duration = (trips * WORK + HELD) * GIGABYTES
    one = {"calls": 1, "duration": duration, "cpu": trips * CPU}
    key = KEY if written else 0
    return beyond({**one, "object_read": read + key, "object_written": written + key}) * 1e6


def on_d1(trips: int, read: int, written: int) -> float:
    """Dollars for a million operations on D1, through the relay."""
    return beyond({"cpu": trips * CPU, "d1_read": read, "d1_written": written}) * 1e6


@dataclass(frozen=True)
class Site:
    """A month of the example site; one view in three is a member's, one in a hundred writes a post.

    The rows are those that `round_trips.py` counts for a page of posts: 22 in the object, for a member
    three statements and four rows in D1 besides.
    """

    tenants: int
    views: int
    gigabytes_each: float = 0.001

    def used(self) -> dict[str, float]:
        """The amounts of a month, by the names of `PRICES`."""
        members = self.views / 3
        writes = self.views / 100
        trips = self.views + 3 * members + writes
        d1_statements = 3 * members
        return {
            # A session takes 900 statements of D1, and is opened anew.
            "requests": d1_statements / 900,
            "cpu": trips * CPU,
            "calls": self.views + writes,
            "duration": (self.views + writes) * (WORK + HELD) * GIGABYTES,
            "object_read": self.views * 22 + writes * (8 + KEY),
            "object_written": writes * (4 + KEY),
            "object_storage": self.tenants * self.gigabytes_each,
            "d1_read": members * 4,
            "d1_written": 0,
            "d1_storage": self.tenants * 5e-6,
        }


SITES = (Site(1_000, 1_000_000), Site(1_000_000, 1_000_000_000))


def prices_table() -> str:
    """The lines of the bill as Markdown."""
    lines = ["| what | a month includes | beyond |", "|---|---|---|"]
    for price in PRICES.values():
        unit = "each" if price.unit == 1 else f"a{short(price.unit).removeprefix('1')}"
        lines.append(f"| {price.name} | {short(price.included)} | {price.each:g} $ {unit} |")
    return "\n".join(lines)


def sites_table() -> str:
    """The two sites as Markdown: amounts and dollars by line, and the sum."""
    names = [f"{short(site.tenants)} tenants, {short(site.views)} views" for site in SITES]
    lines = ["| a month | " + " | ".join(names) + " |", "|---|---|---|"]
    used = [site.used() for site in SITES]
    for key, price in PRICES.items():
        cells = [cell(price, amounts[key]) for amounts in used]
        lines.append(f"| {price.name} | " + " | ".join(cells) + " |")
    lines.append("| the plan |" + f" {PLAN:.2f} $ |" * len(SITES))
    totals = [PLAN + sum(PRICES[key].of(amount) for key, amount in amounts.items()) for amounts in used]
    lines.append("| **together** | " + " | ".join(f"**{total:,.2f} $**" for total in totals) + " |")
    return "\n".join(lines)


def cell(price: Price, amount: float) -> str:
    """An amount, and what it costs."""
    dollars = price.of(amount)
    return f"{short(amount)}: {dollars:,.2f} $" if dollars else f"{short(amount)}, included"


def short(number: float) -> str:
    """A number as people write it: 1.25 million."""
    for size, word in ((1e9, " thousand million"), (1e6, " million")):
        if number >= size:
            return f"{number / size:,.4g}{word}"
    return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.2g}"
