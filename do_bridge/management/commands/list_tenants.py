"""The command list_tenants: the tenants with their states, schemas and sizes."""

import json

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.template.defaultfilters import filesizeformat
from django.utils.timezone import localtime
from tqdm import tqdm

from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.states import again
from do_bridge.tenancy.lifecycle.tenant_rows import has_name
from do_bridge.tenancy.migrate.fleet import JOBS, Fleet, Outcome
from do_bridge.tenancy.migrate.targets import is_there
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, code_migrations
from do_bridge.tenancy.slugs import tenant_alias
from do_bridge.tenancy.tenants import CHUNK, no_such_tenant, registered_slugs, tenant_model

COLUMNS = ("slug", "state", "schema", "place", "since", "size", "name")


class Command(TenantsCommand):
    """Read the ledger in D1, and the tenants' objects only for their sizes."""

    help = (
        "Lists the tenants: state, whether the schema is up to date, and since when the tenant has been in "
        "this state (in settings.TIME_ZONE). The reason for a failure follows below its row. Reads the "
        "shared database alone; with --sizes it also reads the size of each tenant's database."
    )

    def add_arguments(self, parser):
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="Only these tenants. Default: all.")
        parser.add_argument(
            "--sizes", action="store_true", help="Also read the bytes on disk, one request a tenant."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object a line.")
        parser.add_argument(
            "--jobs", type=int, default=JOBS, help="With --sizes: tenants at once. Default: %(default)s."
        )

    def handle(self, *, slugs, sizes, jobs, verbosity, **options):
        if jobs < 1:
            raise CommandError("--jobs must be 1 or more.")
        try:
            rows = read_rows(slugs)
        except DatabaseError as error:
            raise CommandError(f"The list of tenants can't be read: {error}") from error
        if unknown := sorted(set(slugs) - {row["slug"] for row in rows}):
            raise CommandError(no_such_tenant(*unknown))
        failed = self._add_sizes(rows, jobs, verbosity) if sizes else []
        if options["json"]:
            for row in rows:
                self.stdout.write(json.dumps({**row, "since": row["since"] and row["since"].isoformat()}))
        else:
            left_out = set() if sizes else {"size"}
            if conf("JURISDICTION_FIELD") is None:
                left_out.add("place")
            self._write_table(rows, [name for name in COLUMNS if name not in left_out])
        if failed:
            shown = ", ".join(failed[:20]) + (", …" if len(failed) > 20 else "")
            raise CommandError(
                f"The sizes of {len(failed)} of {len(rows)} tenants could not be read: {shown}. "
                "`manage.py relay doctor` examines the relay."
            )

    def _add_sizes(self, rows, jobs, verbosity):
        """Set each row's size; return the slugs of tenants whose size could not be read."""
        for row in rows:
            row["size"] = None
        # An object that was never used would be made by being read.
        used = {row["slug"]: row for row in rows if row["schema"]}

        def work(slug):
            with connected(tenant_alias(slug)) as connection:
                used[slug]["size"] = connection.size()
            return Outcome(slug)

        fleet = Fleet(work, jobs=jobs)
        # The raw stream, because Django's wrapper adds a newline after each step of the bar.
        hidden = verbosity < 1 or not self.stderr.isatty()
        with tqdm(total=len(used), unit="tenant", file=self.stderr._out, disable=hidden) as bar:
            fleet.run(used, bar)
        if fleet.interrupted:
            raise CommandError("Interrupted. Nothing was changed.", returncode=130)
        return sorted(outcome.slug for outcome in fleet.outcomes if outcome.failed)

    def _write_table(self, rows, columns):
        cells = [[name.upper() for name in columns]]
        cells += [[_cell(row, name) for name in columns] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line, reason in zip(cells, ["", *map(_reason, rows)], strict=True):
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())
            if reason:
                self.stdout.write(self.style.ERROR(f"    {reason}"))
        self.stdout.write(f"{len(rows)} tenants.")


def read_rows(slugs=()):
    """Return a dictionary for each tenant, in the order of their slugs.

    Takes a few round trips to D1, and none to objects. The keys are slug, name, state, operation, error,
    schema, since, jurisdiction, location and left_behind. `schema` is "up to date", "behind" or, for an
    object without tables, empty.
    """
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
    if slugs:
        tenants = tenants.filter(slug__in=slugs)
    wanted = registered_slugs(tenants)
    names = _names(tenants) if has_name(tenant_model()) else {}
    states = ledger.states(wanted)
    current = _current({state.fingerprint for state in states.values()})
    return [_row(slug, names.get(slug, ""), states.get(slug), current) for slug in wanted]


def _names(tenants):
    found, last = {}, ""
    rows = tenants.order_by("slug").values_list("slug", "name")
    while chunk := list(rows.filter(slug__gt=last)[:CHUNK]):
        found.update(chunk)
        last = chunk[-1][0]
    return found


def _current(fingerprints):
    """Return those fingerprints of schemas that have all migrations of this code."""
    others = fingerprints - {"", code_fingerprint()}
    noted = ledger.schemas(others) if others else {}
    for fingerprint in others - set(noted):
        if (applied := known.migrations_of(fingerprint)) is not None:
            noted[fingerprint] = applied
    needed = code_migrations()
    return {code_fingerprint(), *(mark for mark, applied in noted.items() if is_there(applied, needed))}


def _row(slug, name, state, current):
    row = {"slug": slug, "name": name, "state": "unused", "operation": "", "error": ""}
    row |= {"schema": "", "since": None, "jurisdiction": "", "location": "", "left_behind": None}
    if state is not None:
        row |= {"state": state.state, "error": state.error, "since": state.since}
        row |= {name: getattr(state, name) for name in ("jurisdiction", "location", "left_behind")}
        # A finished creation leaves its lease behind.
        if state.operation and (state.operation != "create" or state.error):
            row["operation"] = state.operation
        if state.fingerprint and state.state == ledger.READY:
            row["schema"] = "up to date" if state.fingerprint in current else "behind"
    return row


def _reason(row):
    """Return, on one line, why the tenant's operation failed and what finishes it."""
    if not (row["operation"] and row["error"]):
        return ""
    text = " ".join(row["error"].split()).rstrip(".")
    return f"{text}. To finish it, {again(row['operation'], row['slug'])}."


def _cell(row, name):
    if name == "place":
        left = row["left_behind"]
        return (row["jurisdiction"] or "none") + ("" if left is None else f" ({left or 'none'} not erased)")
    value = row[name]
    if name == "state" and row["operation"]:
        return f"{row['operation']} {'failed' if row['error'] else 'not finished'}"
    if name == "size":
        return "-" if value is None else filesizeformat(value).replace("\xa0", " ")
    if name == "since":
        return f"{localtime(value):%Y-%m-%d %H:%M}" if value else "-"
    return str(value) or "-"
