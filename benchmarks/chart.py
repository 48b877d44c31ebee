"""Line charts side by side, as one SVG."""

from __future__ import annotations

from html import escape

COLOURS = ("#2f7d4f", "#c2671b", "#8a4fa3", "#1f5fa8", "#7a7a7a")
# Dashed, so that a line of equal figures shows through.
DASHES = ("", "", "", "7 6", "7 6")
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
    left, top = 14, height - 12
    for name, colour, dash in zip(names, COLOURS, DASHES, strict=False):
        parts.append(
            f'<line x1="{left}" x2="{left + 24}" y1="{top - 4}" y2="{top - 4}" stroke="{colour}" '
            f'stroke-width="2.5" stroke-dasharray="{dash}"/>'
            f'<text x="{left + 30}" y="{top}" fill="#111">{escape(name)}</text>'
        )
        left += 58 + 7 * len(name)
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
    for colour, dash, line in zip(COLOURS, DASHES, lines.values(), strict=False):
        path = " ".join(place(x, y) for x, y in line)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dash}"/>'
        )
    return parts


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5 and 8 times a power of ten."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value)
