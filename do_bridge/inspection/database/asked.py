"""What the URL of a table's rows asks for: filters, order and page."""

from itertools import zip_longest
from urllib.parse import urlencode

from ..reading.rows import OPERATORS

LAST_PAGE = 100_000
OPERATOR_LABELS = {
    "is": "is",
    "not": "is not",
    "has": "contains",
    "starts": "starts with",
    "lt": "is below",
    "le": "is at most",
    "gt": "is above",
    "ge": "is at least",
    "null": "is empty",
    "filled": "is not empty",
}


class Asked:
    """The request in a table's URL: filters, order, page.

    `impossible` names what the table does not have.
    """

    def __init__(self, given, table, secret):
        self.columns = [column.name for column in table.columns if column.name not in secret]
        self.impossible, self.filters = [], []
        parts = (given.getlist("c"), given.getlist("o"), given.getlist("v"))
        for column, operator, value in zip_longest(*parts, fillvalue=""):
            if column in self.columns and operator in OPERATORS:
                self.filters.append((column, operator, value.replace("\0", "")))
            else:
                words = OPERATOR_LABELS.get(operator, operator)
                self.impossible.append(f"the filter “{f'{column} {words} {value}'.strip()}”")
        order = given.get("sort", "")
        self.descending = order.startswith("-") and order not in self.columns
        self.order = order.removeprefix("-") if self.descending else order
        if self.order not in self.columns:
            self.impossible += [f"the order by “{self.order}”"] if self.order else []
            self.order, self.descending = None, False
        page = given.get("p", "")
        self.number = min(max(int(page), 1), LAST_PAGE) if page.isascii() and page.isdigit() else 1

    def url(self, *, filters=None, order=None, number=None):
        """Return the query string for the same page with something changed."""
        pairs = []
        for column, operator, value in self.filters if filters is None else filters:
            pairs += [("c", column), ("o", operator), ("v", value)]
        sort = ("-" if self.descending else "") + (self.order or "") if order is None else order
        pairs += [("sort", sort)] if sort else []
        pairs += [("p", number)] if number and number > 1 else []
        return "?" + urlencode(pairs)

    @property
    def previous(self):
        return self.url(number=self.number - 1)

    @property
    def next(self):
        return self.url(number=self.number + 1)

    @property
    def chips(self):
        """Return (column, operator, value, URL without this filter) of each filter.

        The operator is in words.
        """
        return [
            (
                column,
                OPERATOR_LABELS[operator],
                value if "{value}" in OPERATORS[operator] else "",
                self.url(filters=[*self.filters[:at], *self.filters[at + 1 :]]),
            )
            for at, (column, operator, value) in enumerate(self.filters)
        ]

    @property
    def headings(self):
        """Return (column, URL that sorts by it, direction) of each column.

        The direction is "ascending", "descending" or empty.
        """
        found = []
        for column in self.columns:
            sorted_by = column == self.order
            turned = sorted_by and not self.descending
            state = ("descending" if self.descending else "ascending") if sorted_by else ""
            found.append((column, self.url(order=f"-{column}" if turned else column), state))
        return found

    @property
    def export_query(self):
        """Return the query string for an export with the same filters."""
        return self.url(order="")
