"""The tenants of the list, with their states and sizes from D1.

Reading them takes a fixed number of round trips.
"""

from dataclasses import dataclass

from django.core.paginator import Paginator
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Concat

from do_bridge.admin.switcher import matching
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import migrations_in
from do_bridge.tenancy.tenants import registered_slugs, row_annotations, with_valid_slugs

from ..usage.models import Look

PAGE_SIZE = 50
#: The tiles: (name in URLs, label, the filter's description).
STATES = (
    ("head", "Up to date", "up to date"),
    ("behind", "Behind", "behind"),
    ("failed", "Failed", "failed"),
    ("silent", "Silent", "silent"),
)
SILENT = ("dead", "slow")
ORDERS = ("slug", "size", "rows", "activity")


@dataclass(frozen=True)
class Asked:
    """The search, filter and order that a URL asks for.

    `query` is a part of a slug or name. `state` is empty for all states. `order` is one of ORDERS.
    """

    query: str = ""
    state: str = ""
    order: str = "slug"
    descending: bool = False

    @classmethod
    def of(cls, values):
        """Return what a QueryDict asks for; unknown states and orders are left out."""
        state, order = values.get("state", ""), values.get("o", "slug")
        known_state = state if state in {name for name, *_ in STATES} else ""
        name = order.removeprefix("-")
        is_known = name in ORDERS
        return cls(
            values.get("q", "").strip()[:63],
            known_state,
            name if is_known else "slug",
            is_known and order.startswith("-"),
        )


@dataclass(frozen=True)
class Tiles:
    """The numbers of matching tenants in each state, and their size in bytes.

    The size is None if it is not known.
    """

    total: int
    head: int
    failed: int
    silent: int
    size: int | None
    measured: int

    @property
    def behind(self):
        """The tenants that are neither up to date nor failed."""
        return self.total - self.head - self.failed

    def of(self, state):
        """Return the number of tenants in a state, or of all for ""."""
        return getattr(self, state) if state else self.total


def tenants(asked):
    """Return the query for the tenants that match the search.

    Each has `kind`, `is_silent` and `look_*`.
    """
    found = with_valid_slugs()
    if asked.query:
        found = found.filter(matching(asked.query))
    rows = ledger.all_states().filter(slug=OuterRef("slug"))
    settled = rows.filter(state=ledger.READY, operation__in=["", Operation.CREATE], error="")
    looks = Look._base_manager.using(conf("DIRECTORY_ALIAS")).filter(
        database=Concat(Value("tenant/"), OuterRef("slug"))
    )
    return found.annotate(
        kind=Case(
            When(Exists(rows.exclude(error="")), then=Value("failed")),
            When(Exists(settled.filter(fingerprint__in=usable())), then=Value("head")),
            default=Value("behind"),
        ),
        **{f"look_{name}": Subquery(looks.values(name)[:1]) for name in _LOOK},
    ).annotate(is_silent=Case(When(look_state__in=SILENT, then=Value(True)), default=Value(False)))


_LOOK = ("state", "size", "rows", "is_more", "activity", "seen")


def usable():
    """Return the ledger's schema fingerprints on which this code runs; one round trip."""
    schemas = ledger.all_schemas().filter(fingerprint=OuterRef("fingerprint"))
    # Only those that this process does not know yet: each is some kilobytes.
    schemas = schemas.exclude(fingerprint__in=known.fingerprints())
    marks = ledger.all_states().filter(state=ledger.READY).order_by()
    with ledger.clear_errors():
        found = list(marks.values_list("fingerprint", Subquery(schemas.values("migrations")[:1])).distinct())
    for _, migrations in found:
        if migrations:
            known.learn(migrations_in(migrations))
    return sorted(mark for mark, _ in found if known.is_known_usable(mark))


def tiles(found):
    """Return the Tiles of the query of `tenants`; one round trip."""
    figures = found.aggregate(
        total=Count("pk"),
        head=Count("pk", filter=Q(kind="head")),
        failed=Count("pk", filter=Q(kind="failed")),
        silent=Count("pk", filter=Q(is_silent=True)),
        size=Sum("look_size"),
        measured=Count("look_size"),
    )
    return Tiles(**figures)


def in_state(found, state):
    """Return those of the query that are in a state, or all for ""."""
    if not state:
        return found
    return found.filter(is_silent=True) if state == "silent" else found.filter(kind=state)


def page_of(found, asked, counted, number):
    """Return a page of the tenants that were asked for; one round trip."""
    order = "slug" if asked.order == "slug" else f"look_{asked.order}"
    by = F(order).desc(nulls_last=True) if asked.descending else F(order).asc(nulls_last=True)
    rows = in_state(found, asked.state).annotate(**row_annotations()).order_by(by, "slug")
    return Counted(rows, PAGE_SIZE, counted.of(asked.state)).get_page(number)


def slugs_of(asked):
    """Return the slugs of all tenants that a URL asks for, in order."""
    return registered_slugs(in_state(tenants(asked), asked.state))


class Counted(Paginator):
    """A paginator whose number of rows is known."""

    def __init__(self, rows, size, number):
        super().__init__(rows, size)
        self._number = number

    @property
    def count(self):
        """The number of rows."""
        return self._number
