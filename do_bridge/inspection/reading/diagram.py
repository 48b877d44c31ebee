"""The layout of a diagram of tables and their foreign keys, in pixels, for an SVG."""

from dataclasses import dataclass, field

LINE = 18  # height of a column's line
HEAD = 26
SHOWN = 8  # columns of a table that are drawn
GAP_X, GAP_Y, MARGIN = 70, 26, 12
LETTER, BOLD_LETTER = 6.7, 7.8
NARROWEST = 130
LONGEST_NAME = 30
WIDTH = 1100  # of the rows of tables without a foreign key


@dataclass
class Box:
    """A table in the diagram: its position, its size and its lines.

    Each line is (name, mark). The mark is "PK", "FK" or empty.
    """

    name: str
    lines: list
    more: int
    rank: int = 0
    x: float = 0
    y: float = 0
    width: float = 0

    @property
    def height(self):
        return HEAD + LINE * (len(self.lines) + bool(self.more)) + 6

    @property
    def label(self):
        return _short(self.name)

    @property
    def drawn(self):
        """The lines as (text, mark, y, x of the mark)."""
        texts = [(_short(name), mark) for name, mark in self.lines]
        if self.more:
            texts.append((f"{self.more} more", ""))
        return [
            (text, mark, self.y + HEAD + LINE * at + 13, self.x + self.width - 10)
            for at, (text, mark) in enumerate(texts)
        ]

    @property
    def line_y(self):
        return self.y + HEAD

    @property
    def text_x(self):
        return self.x + 10

    @property
    def text_y(self):
        return self.y + 17

    def port(self, column):
        """Return the height of a column's line, or of the table's name."""
        names = [name for name, _ in self.lines]
        if column not in names:
            return self.y + HEAD / 2
        return self.y + HEAD + LINE * names.index(column) + 9


@dataclass
class Diagram:
    """Boxes, and edges as (path, child's name, column, parent's name)."""

    boxes: list = field(default_factory=list)
    edges: list = field(default_factory=list)
    width: int = 0
    height: int = 0


def draw(tables):
    """Return the Diagram of Tables, whose foreign keys to other tables are left out."""
    boxes = {table.name: _box(table) for table in tables if not table.is_view}
    keys = [
        (table.name, key.column, key.table, key.to)
        for table in tables
        for key in table.keys
        if key.table in boxes and table.name in boxes
    ]
    linked = {name for child, _, parent, _ in keys if child != parent for name in (child, parent)}
    _rank(boxes, keys)
    bottom = _columns([box for box in boxes.values() if box.name in linked], keys)
    _rows([box for box in boxes.values() if box.name not in linked], bottom)
    edges = [_edge(boxes[child], column, boxes[parent], to) for child, column, parent, to in keys]
    right = max((box.x + box.width for box in boxes.values()), default=0)
    below = max((box.y + box.height for box in boxes.values()), default=0)
    return Diagram(list(boxes.values()), edges, round(right + MARGIN + 20), round(below + MARGIN))


def _short(name):
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _box(table):
    references = {key.column for key in table.keys}
    first = [column for column in table.columns if column.key or column.name in references]
    others = [column for column in table.columns if column not in first]
    shown = [*first, *others][: max(SHOWN, len(first))]
    lines = [
        (column.name, "PK" if column.key else "FK" if column.name in references else "") for column in shown
    ]
    widest = max([len(_short(name)) + 4 for name, _ in lines], default=0) * LETTER
    width = max(widest, len(_short(table.name)) * BOLD_LETTER, NARROWEST - 22) + 22
    return Box(table.name, lines, len(table.columns) - len(shown), width=width)


def _rank(boxes, keys):
    """Put each table to the right of those that it points to.

    A cycle of keys is cut where it is entered.
    """
    parents = {name: [] for name in boxes}
    for child, _, parent, _ in keys:
        if child != parent:
            parents[child].append(parent)
    done, open_ = {}, set()

    def rank(name):
        if name in done:
            return done[name]
        open_.add(name)
        above = [rank(parent) for parent in parents[name] if parent not in open_]
        open_.discard(name)
        done[name] = max(above, default=-1) + 1
        return done[name]

    for name, box in boxes.items():
        box.rank = rank(name)


def _columns(boxes, keys):
    """Place linked tables in columns by rank, and return the lowest edge.

    Each table is placed near those that it is linked to.
    """
    columns = {}
    for box in boxes:
        columns.setdefault(box.rank, []).append(box)
    neighbours = {}
    for child, _, parent, _ in keys:
        neighbours.setdefault(child, []).append(parent)
        neighbours.setdefault(parent, []).append(child)
    by_name = {box.name: box for box in boxes}
    x, lowest = MARGIN, 0
    for rank in sorted(columns):
        column = columns[rank]

        def middle(box):
            placed = [by_name[n] for n in neighbours[box.name] if n in by_name and by_name[n].x]
            return sum(other.y for other in placed) / len(placed) if placed else 0

        column.sort(key=lambda box: (middle(box), box.name))
        y = MARGIN
        for box in column:
            box.x, box.y = x, y
            y += box.height + GAP_Y
        lowest = max(lowest, y)
        x += max(box.width for box in column) + GAP_X
    return lowest


def _rows(boxes, top):
    """Place tables without links in rows below the others."""
    x, y, tallest = MARGIN, max(top, MARGIN), 0
    for box in boxes:
        if x > MARGIN and x + box.width > WIDTH:
            x, y, tallest = MARGIN, y + tallest + GAP_Y, 0
        box.x, box.y = x, y
        x += box.width + GAP_Y
        tallest = max(tallest, box.height)


def _edge(child, column, parent, to):
    primary = next((name for name, mark in parent.lines if mark == "PK"), "")
    start_y, end_y = child.port(column), parent.port(to or primary)
    if child is parent:
        x = child.x + child.width
        path = f"M{x:.0f},{start_y:.0f} c26,0 26,{end_y - start_y:.0f} 0,{end_y - start_y:.0f}"
    else:
        start_x, end_x = child.x, parent.x + parent.width
        if child.x <= parent.x:  # an edge against the ranks
            start_x, end_x = child.x + child.width, parent.x
        bend = max(abs(start_x - end_x) / 2, 30)
        sign = -1 if start_x == child.x else 1
        path = (
            f"M{start_x:.0f},{start_y:.0f} C{start_x + sign * bend:.0f},{start_y:.0f} "
            f"{end_x - sign * bend:.0f},{end_y:.0f} {end_x:.0f},{end_y:.0f}"
        )
    return path, child.name, column, parent.name
