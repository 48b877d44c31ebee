"""Plots of a database's usage, as SVG in the colours of the admin."""

from dataclasses import dataclass

WIDTH, HEIGHT, HEAD, FOOT = 640, 170, 22, 20


@dataclass(frozen=True)
class Rect:
    """A bar of a plot, in the units of its viewBox.

    `label` is the text for a pointer or a screen reader.
    """

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Plot:
    """One plot: its bars, the top of its scale, and the marks below the bars.

    `total` is the sum of the values as text.
    """

    title: str
    bars: list
    top: str
    marks: list
    total: str
    width: int = WIDTH
    height: int = HEIGHT
    head: int = HEAD
    base: int = HEIGHT - FOOT


def plot(title, bars, name, form, every):
    """Return the Plot of one figure of the given Bars.

    `name` is the figure's attribute. `form` is the strftime format of the bars' times. Every `every`-th bar
    has a mark.
    """
    values = [getattr(bar, name) for bar in bars]
    top = _ceiling(max(values, default=0))
    step, full = WIDTH / max(len(bars), 1), HEIGHT - FOOT - HEAD
    rects, marks = [], []
    for place, (bar, value) in enumerate(zip(bars, values, strict=True)):
        height = round(full * value / top, 1)
        if value:
            height = max(height, 1.5)
        when = bar.start.strftime(form)
        rects.append(
            Rect(
                round(place * step + step * 0.12, 1),
                round(HEIGHT - FOOT - height, 1),
                round(step * 0.76, 1),
                height,
                f"{when}: {value:,}",
            )
        )
        if place % every == 0:
            marks.append((round(place * step + step * 0.12, 1), when))
    return Plot(title, rects, f"{top:,}", marks, f"{sum(values):,}")


def _ceiling(value):
    """Return the round number above `value` at which the plot ends."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if value <= factor * size:
                return factor * size
        size *= 10


def plots(series):
    """Return [(heading, Plots)] of a `reading.Series`."""
    kinds = (("calls", "Requests"), ("rows_read", "Rows read"), ("rows_written", "Rows written"))
    return [
        ("The last 24 hours", [plot(title, series.hours, name, "%H:00", 6) for name, title in kinds]),
        ("The last 31 days", [plot(title, series.days, name, "%d %b", 7) for name, title in kinds]),
    ]
