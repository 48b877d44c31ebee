"""Read the bookmarks of tenants' objects, and keep them in D1.

A bookmark is a moment of an object's history, of which the platform keeps 30 days. D1 keeps the bookmarks in
the table of `TenantBookmark`.
"""

import json
import logging
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError, Error, connections
from django.db.models import F, Max, OuterRef, Q, Subquery
from django.utils.timezone import now

from do_bridge import driver
from do_bridge.driver.limits import chunks
from do_bridge.driver.transport import Deadline
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.emptying import connected, object_of
from do_bridge.tenancy.lifecycle.states import Operation, State
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.slugs import tenant_alias

logger = logging.getLogger("do_bridge.migrations")

MIGRATION, RESTORE, REQUEST = "migration", "restore", "request"
#: The history that the platform keeps:
#: https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#pitr-point-in-time-recovery-api
KEPT = timedelta(days=30)
#: Bookmarks that are read in one round trip.
PIECE = 64
_NOW = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"

_warned = set()


def bookmark_of(row, at=None):
    """Return the bookmark of a tenant's present state, or of that at a moment.

    `row` is the tenant's in the ledger, which names the place of its object. `at` is a datetime. One round
    trip. Raises Django's database errors.
    """
    moment = None if at is None else int(at.timestamp() * 1000)
    with connected(tenant_alias(row.slug), row.jurisdiction) as connection:
        return connection.bookmark(moment)


def bookmarks_of(rows):
    """Return {slug: bookmark or the driver's error} of tenants' present states.

    `rows` are the tenants' in the ledger. One round trip for each PIECE of them. Raises Django's database
    errors.
    """
    found = {}
    for chunk in chunks(list(rows), PIECE):
        names = [object_of(tenant_alias(row.slug), row.jurisdiction) for row in chunk]
        with connected(tenant_alias(chunk[0].slug), chunk[0].jurisdiction) as connection:
            answers = connection.transport.bookmarks(names, Deadline(connection.timeout))
        found.update(zip([row.slug for row in chunk], answers, strict=True))
    return found


def before_migration(rows, owner):
    """Return the statements that keep a bookmark of each tenant before its migration.

    They belong into the batch that takes the leases of the ledger's `rows` for this `owner`, so that the
    bookmarks are kept even if this process dies. Tenants without a schema get none. If the relay returns no
    bookmarks, a warning is logged once, and the migration continues. See `leases.take_many`.
    """
    at_rest = [
        row
        for row in rows
        if row.state == State.READY and row.fingerprint and row.operation in ("", Operation.MIGRATE)
    ]
    if not at_rest or not conf("BOOKMARKS"):
        return []
    try:
        found = bookmarks_of(at_rest)
    except Error as error:
        _warn(error)
        return []
    kept = []
    for row in at_rest:
        if isinstance(bookmark := found[row.slug], driver.Error):
            _warn(bookmark)
        else:
            kept.append((row, bookmark))
    return [_keep(kept, MIGRATION, owner), _prune()] if kept else []


def before_rewind(rows, owner):
    """Return the statements that keep the bookmark that undoes a rewind.

    `rows` is the tenant's row alone. If an interrupted rewind has kept a bookmark, that one stays, because
    the object may be rewound already. Raises Django's database errors. See `leases.take_many`.
    """
    (row,) = rows
    sql = (
        f"UPDATE {_table()} SET fence = s.fence FROM {_states()} AS s "  # noqa: S608
        f"WHERE s.slug = %s AND s.owner = %s AND {_table()}.slug = s.slug "
        f"AND {_table()}.fence = %s AND reason = '{RESTORE}'"
    )
    again = [(sql, [row.slug, owner, row.fence])] if row.operation == Operation.REWIND else []
    return [*again, _keep([(row, bookmark_of(row))], RESTORE, owner), _prune()]


def record(row, bookmark, taken=None):
    """Keep a bookmark that a user has asked for; one round trip.

    `row` is the tenant's in the ledger, with which the bookmark was read.
    """
    values = [row.slug, row.jurisdiction, bookmark, _moment(taken), REQUEST, row.slug]
    sql = (
        f"INSERT INTO {_table()} (slug, jurisdiction, bookmark, taken, reason, fingerprint, fence) "  # noqa: S608
        f"SELECT %s, %s, %s, coalesce(%s, {_NOW}), %s, coalesce(s.fingerprint, ''), coalesce(s.fence, 0) "
        f"FROM (SELECT 1) LEFT JOIN {_states()} AS s ON s.slug = %s"
    )
    with ledger.clear_errors():
        run_batch(_directory(), [(sql, values), _prune()])


def undo_of(lease):
    """Return the bookmark that `before_rewind` has kept for a lease."""
    kept = all_bookmarks().filter(slug=lease.slug, fence=lease.fence, reason=RESTORE)
    return kept.values_list("bookmark", flat=True).first()


def drop_undo(lease):
    """Delete the bookmark that `before_rewind` has kept for a lease.

    For a lease under which nothing was rewound.
    """
    all_bookmarks().filter(slug=lease.slug, fence=lease.fence, reason=RESTORE).delete()


def follow(lease):
    """Return the statement that gives a kept bookmark its lease's next token."""
    sql = f"UPDATE {_table()} SET fence = fence + 1 WHERE slug = %s AND fence = %s AND reason = '{RESTORE}'"  # noqa: S608
    return [(sql, [lease.slug, lease.fence])]


def note_used(lease, target, undo):
    """Record that a tenant was taken back to a bookmark.

    `undo` is the bookmark that undoes this exactly, or None if the answer with it was lost. One round trip.
    """
    table, own = _table(), f"(fence = %s AND reason = '{RESTORE}')"
    statements = [
        (
            f"UPDATE {table} SET used = {_NOW} WHERE slug = %s AND (bookmark = %s OR {own})",  # noqa: S608
            [lease.slug, target, lease.fence],
        )
    ]
    if undo is not None:
        statements.append(
            (
                f"UPDATE {table} SET bookmark = %s WHERE slug = %s AND {own}",  # noqa: S608
                [undo, lease.slug, lease.fence],
            )
        )
    run_batch(_directory(), statements)


def before_last_migration(slug):
    """Return the TenantBookmark from before a tenant's last migration, or None.

    Its `restored` is when the tenant was last restored, or None.
    """
    return _of_life(MIGRATION).filter(slug=slug).first()


def before_migrations_since(moment):
    """Return {slug: TenantBookmark} from before the first migration since a moment.

    Tenants that were restored after their migrations are left out.
    """
    found = _of_life(MIGRATION).filter(Q(restored=None) | Q(taken__gt=F("restored")), taken__gte=moment)
    # The earliest of a tenant comes last.
    return {one.slug: one for one in found.iterator(ledger.PIECE)}


def were_migrations_since(moment):
    """Return whether a migration since a moment has kept a bookmark.

    Tenants that were restored afterwards count. One round trip.
    """
    return _of_life(MIGRATION).filter(taken__gte=moment).exists()


def listed(slug):
    """Return a tenant's TenantBookmarks, the latest first."""
    return _of_life().filter(slug=slug)


def _of_life(*reasons):
    """Return the bookmarks that the platform still has, of tenants' present objects.

    Those of former tenants, and those of the objects that a move has left, are not among them.
    """
    state = ledger.all_states().filter(slug=OuterRef("slug"))
    emptied, place = state.values("emptied")[:1], state.values("jurisdiction")[:1]
    used = all_bookmarks().filter(slug=OuterRef("slug")).order_by().values("slug")
    restored = used.annotate(last=Max("used")).values("last")
    found = all_bookmarks().filter(taken__gte=now() - KEPT)
    found = found.annotate(emptied=Subquery(emptied), place=Subquery(place), restored=Subquery(restored))
    found = found.filter(fence__gte=F("emptied"), jurisdiction=F("place")).order_by("-taken", "-pk")
    return found.filter(reason__in=reasons) if reasons else found


def place_of(slug, bookmark):
    """Return the jurisdiction of the object that a bookmark belongs to.

    Return None if D1 does not keep the bookmark.
    """
    kept = all_bookmarks().filter(slug=slug, bookmark=bookmark)
    return kept.values_list("jurisdiction", flat=True).first()


def is_of_former_life(row, bookmark):
    """Return whether a bookmark is from before the last deletion of a tenant's slug.

    `row` is the tenant's in the ledger. One round trip if the slug was ever deleted. If the history does not
    go back so far, False. Bookmarks of one object are ordered as texts:
    https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#pitr-point-in-time-recovery-api
    """
    if not row.emptied:
        return False
    # A fencing token is D1's time in milliseconds, and no earlier than the deletion's.
    deleted = datetime.fromtimestamp(row.emptied / 1000, UTC)
    try:
        return bookmark <= bookmark_of(row, deleted)
    except DatabaseError:
        return False


def all_bookmarks():
    """Return the query for all bookmarks that D1 keeps."""
    return _model()._base_manager.using(conf("DIRECTORY_ALIAS"))


def _keep(kept, reason, owner):
    """Return the statement that inserts bookmarks, for (ledger row, bookmark).

    It inserts them if `owner` has the lease. A lease keeps one bookmark.
    """
    values = json.dumps([[row.slug, bookmark, row.fingerprint, row.jurisdiction] for row, bookmark in kept])
    return (
        f"INSERT INTO {_table()} (slug, jurisdiction, bookmark, taken, reason, fingerprint, fence) "  # noqa: S608
        f"SELECT s.slug, value->>3, value->>1, {_NOW}, %s, value->>2, s.fence "
        f"FROM json_each(%s) JOIN {_states()} AS s ON s.slug = value->>0 WHERE s.owner = %s "
        f"AND NOT EXISTS (SELECT 1 FROM {_table()} AS b WHERE b.slug = s.slug AND b.fence = s.fence)",
        [reason, values, owner],
    )


def _prune():
    """Return the statement that deletes the bookmarks that the platform no longer has."""
    return f"DELETE FROM {_table()} WHERE taken < %s", [_moment(now() - KEPT)]  # noqa: S608


def _moment(at):
    return None if at is None else _directory().ops.adapt_datetimefield_value(at)


def _warn(error):
    """Log, once for each reason, that migrations keep no bookmarks."""
    kind = getattr(error, "kind", None) or getattr(error.__cause__, "kind", None)
    if kind in _warned:
        return
    _warned.add(kind)
    logger.warning(
        "No bookmark is kept before a tenant's migration: %s. The migration continues, and it can be taken "
        "back only by `manage.py tenant_restore SLUG --to TIME`. Bookmarks need a relay of this version "
        "(`manage.py relay deploy`) and RELAY_TOKEN, not RELAY_TOKEN_TENANTS. To do without them, set "
        "DO_BRIDGE['BOOKMARKS'] = False.",
        str(error).rstrip("."),
    )


def _directory():
    return connections[conf("DIRECTORY_ALIAS")]


def _model():
    from do_bridge.models import TenantBookmark

    return TenantBookmark


def _table():
    return _directory().ops.quote_name(_model()._meta.db_table)


def _states():
    from do_bridge.models import TenantState

    return _directory().ops.quote_name(TenantState._meta.db_table)
