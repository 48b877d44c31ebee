"""Line charts side by side, as one SVG."""

from __future__ import annotations

from html import escape

COLOURS = ("#2f7d4f", "#c2671b", "#8a4fa3", "#1f5fa8", "#7a7a7a")
WIDTH, HEIGHT, COLUMNS = 300, 210, 3
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 28, 34

#: By line, its points.
Lines = dict[str, list[tuple[float, float]]]


def panels(charts: dict[str, Lines], below: str) -> str:
    """Return a panel for each chart, three to a row, and one legend; `below` names the x axis. y is in ms."""
    names = list(next(iter(charts.values())))
    rows = -(-len(charts) // COLUMNS)
    width, height = WIDTH * COLUMNS, HEIGHT * rows + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, (title, lines) in enumerate(charts.items()):
        left, top = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        parts += [f'<g transform="translate({left} {top})">', *_panel(title, lines, below), "</g>"]
    for number, name in enumerate(names):
        left, top = 14 + number * 178, height - 12
        parts.append(
            f'<line x1="{left}" x2="{left + 18}" y1="{top - 4}" y2="{top - 4}" stroke="{COLOURS[number]}" '
            f'stroke-width="2.5"/><text x="{left + 23}" y="{top}" fill="#111">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, lines: Lines, below: str) -> list[str]:
    points = [point for line in lines.values() for point in line]
    most_x = max(x for x, _ in points)
    most_y = _round_up(max(y for _, y in points))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / most_x * wide:.1f},{TOP + high - y / most_y * high:.1f}"

    parts = [f'<text x="{LEFT}" y="16" fill="#111" font-weight="bold">{escape(title)}</text>']
    for step in range(5):
        value, y = most_y * step / 4, TOP + high - high * step / 4
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:g}</text>'
        )
    for x in sorted({x for x, _ in points}):
        at = place(x, 0).split(",")[0]
        parts.append(f'<text x="{at}" y="{TOP + high + 14}" text-anchor="middle" fill="#555">{x:g}</text>')
    parts.append(
        f'<text x="{LEFT + wide / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle" fill="#555">{escape(below)}'
        f'</text><text x="8" y="{TOP - 10}" fill="#555">ms</text>'
    )
    for colour, line in zip(COLOURS, lines.values(), strict=False):
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    return parts


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5 and 8 times a power of ten."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value)
