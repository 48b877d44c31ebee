"""Interleaved measurements, their medians, and how they are shown: a Markdown table and an SVG plot."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"

Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """One comparison: `ratio` is ours divided by theirs (or theirs by ours where `faster`)."""

    name: str
    against: str
    ours: float
    theirs: float
    target: float | None
    faster: bool = False

    @property
    def ratio(self) -> float:
        """How many times theirs ours takes, or how many times faster ours is."""
        return self.theirs / self.ours if self.faster else self.ours / self.theirs

    @property
    def reached(self) -> bool | None:
        """Whether the target is kept; None where there is none."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.faster else self.ratio <= self.target


def medians(
    cases: Mapping[str, Work], rounds: int, repeat: int = 1, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Run every case in each round, in turn, and return the median seconds of one call of each.

    repeat: calls between two looks at the clock. A first round warms up and is not counted. The order turns
    by one place a round, so that no case always follows the same other one.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for number in range(rounds + 1):
        gc.collect()
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            work = cases[name]
            start = clock()
            for _ in range(repeat):
                work()
            spent = (clock() - start) / repeat
            if number:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


def write_result(name: str, text: str) -> None:
    """Write a file of `results/`, for whoever has no machine to measure on."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(text.rstrip() + "\n")


def machine() -> str:
    """A sentence on the machine that measured: a busy one measures itself."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, shared with the runtime; load averages at the end: {load}."


def shown(seconds: float) -> str:
    """Seconds as milliseconds, with three significant digits."""
    return f"{seconds * 1000:.3g} ms"


def table(figures: list[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| what | compared with | ours | theirs | ratio | target | |", "|---|---|---|---|---|---|---|"]
    for figure in figures:
        sign = {True: "reached", False: "**missed**", None: ""}[figure.reached]
        limit = ""
        if figure.target is not None:
            limit = f"{'≥' if figure.faster else '≤'} {figure.target:g} ×"
        word = " faster" if figure.faster else ""
        lines.append(
            f"| {figure.name} | {figure.against} | {shown(figure.ours)} | {shown(figure.theirs)} "
            f"| {figure.ratio:.2f} ×{word} | {limit} | {sign} |"
        )
    return "\n".join(lines)


def plot(figures: list[Figure]) -> str:
    """Every ratio with a target as a bar, in parts of what the target allows; SVG."""
    rows = [figure for figure in figures if figure.target is not None]
    left, scale, height = 430, 260, 24
    width, total = left + 2 * scale + 90, 46 + height * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" '
        f'viewBox="0 0 {width} {total}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{total}" fill="#fff"/>',
        f'<text x="{left + scale}" y="18" text-anchor="middle" fill="#333">target</text>',
    ]
    for number, figure in enumerate(rows):
        top = 28 + number * height
        target = figure.target or 1.0
        part = target / figure.ratio if figure.faster else figure.ratio / target
        colour = "#2f7d4f" if figure.reached else "#b4472e"
        parts.append(
            f'<text x="{left - 8}" y="{top + 13}" text-anchor="end" fill="#111">{escape(figure.name)}</text>'
            f'<rect x="{left}" y="{top}" width="{min(part, 2) * scale:.0f}" height="{height - 7}" '
            f'fill="{colour}"/>'
            f'<text x="{left + min(part, 2) * scale + 6:.0f}" y="{top + 13}" fill="#111">'
            f"{figure.ratio:.2f} ×</text>"
        )
    parts.append(
        f'<line x1="{left + scale}" x2="{left + scale}" y1="22" y2="{total - 10}" stroke="#333" '
        'stroke-dasharray="4 3"/></svg>'
    )
    return "\n".join(parts) + "\n"
