"""The command create_tenants: create the tenants that a CSV file lists."""

import csv
import sys
from pathlib import Path

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.db import DatabaseError
from tqdm import tqdm

from do_bridge.backends.remote_sqlite.refusals import is_missing_table
from do_bridge.management.base import TenantsCommand
from do_bridge.management.placing import add_place_arguments, named_place
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.creation import (
    NO_FIRST_MEMBERS,
    NewTenant,
    Unsettled,
    fill,
    first_members,
    first_members_function,
    undo,
    users_by_name,
    write_row,
    write_rows,
)
from do_bridge.tenancy.lifecycle.provision import template_dump
from do_bridge.tenancy.lifecycle.tenant_rows import (
    FieldsMissing,
    WrongField,
    add_set_argument,
    parse_fields,
    refuse_missing,
)
from do_bridge.tenancy.migrate.fleet import JOBS, Fleet, Outcome
from do_bridge.tenancy.places import WrongPlace
from do_bridge.tenancy.slugs import InvalidSlug, validate_new_slug

SHOWN = 20


class Command(TenantsCommand):
    """Create several tenants at once, with one round trip for each Durable Object.

    The rows in D1 are written for many tenants in one batch.
    """

    help = (
        "Creates the tenants that a CSV file lists. Its columns are the slug, the displayed name (optional) "
        "and the user names of the members (optional, separated by spaces). "
        "Run it again after a failure or Ctrl-C: it keeps what exists."
    )

    def add_arguments(self, parser):
        parser.add_argument("file", metavar="FILE", help="The CSV file, or - for standard input.")
        add_set_argument(parser)
        add_place_arguments(parser)
        parser.add_argument(
            "--jobs",
            type=int,
            default=JOBS,
            metavar="N",
            help="Number of tenants at once. Default: %(default)s.",
        )

    def handle(self, *, file, jobs, verbosity, fields=(), **options):
        wanted = self._read(file)
        try:
            given = parse_fields(fields)
            place = named_place(options)
            for new in wanted.values():
                new.fields, new.place = given, place
                new.may_insert = refuse_missing(new.slug, given)
        except (FieldsMissing, WrongField, WrongPlace) as error:
            raise CommandError(f"{error} Nothing was created.") from error
        self._find_members(wanted)
        try:
            template_dump()
        except DatabaseError as error:
            advice = f"Run `manage.py migrate --database {conf('DIRECTORY_ALIAS')}` first."
            raise CommandError(
                f"{error}. {advice if is_missing_table(error) else 'Nothing was created. Run it again.'}"
            ) from error
        fleet = self._fleet(wanted, jobs)
        quiet = verbosity < 1 or not self.stderr.isatty()
        with tqdm(total=len(wanted), unit="tenant", file=self.stderr._out, disable=quiet) as bar:
            fleet.run(wanted, bar)
        self._report(fleet, len(wanted), verbosity)

    @staticmethod
    def _fleet(wanted, jobs):
        """Return the Fleet that creates tenants.

        It writes the rows of each chunk to D1 in one batch, and then fills each Durable Object.
        """
        made = {}

        def register(slugs):
            firsts = {slug: first_members(wanted[slug].members) for slug in slugs}
            made.clear()
            made.update((slug, [None, firsts[slug]]) for slug in slugs)
            try:
                for one in write_rows([(wanted[slug], firsts[slug]) for slug in slugs]):
                    made[one.row.slug][0] = one
            except (Unsettled, WrongPlace):
                # `work` writes the rows of this chunk one by one instead.
                return

        def work(slug):
            one, first = made[slug]
            if one is None:
                made[slug][0] = one = write_row(wanted[slug], first)
            return Outcome(slug, fill(one, first))

        def take_back(done, untouched):
            for slug in untouched:
                if made[slug][0] is not None:
                    undo(made[slug][0])

        return Fleet(work, before=register, after=take_back, jobs=jobs)

    def _read(self, file):
        """Return {slug: NewTenant} for the file; raise CommandError if a line is wrong."""
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} can't be read: {error}. Nothing was created.") from error
        # Strict, because an unclosed quotation mark would join all following lines into one name.
        rows = csv.reader(text.splitlines(), strict=True)
        try:
            return self._parse(rows)
        except csv.Error as error:
            raise CommandError(f"Line {rows.line_num}: {error}. Nothing was created.") from error

    @staticmethod
    def _parse(rows):
        wanted = {}
        for cells in rows:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (rows.line_num == 1 and cells[0] == "slug"):
                continue
            slug, name, members, *more = [*cells, "", ""]
            try:
                validate_new_slug(slug)
            except InvalidSlug as error:
                raise CommandError(f"Line {rows.line_num}: {error} Nothing was created.") from error
            if slug in wanted or len(more) > 2:
                what = "has more than three columns" if len(more) > 2 else f"repeats the slug {slug!r}"
                raise CommandError(f"Line {rows.line_num} {what}. Nothing was created.")
            wanted[slug] = NewTenant(slug, name, members.split())
        return wanted

    def _find_members(self, wanted):
        names = {name for new in wanted.values() for name in new.members}
        if names and first_members_function() is None:
            raise CommandError(NO_FIRST_MEMBERS)
        try:
            users = users_by_name(names)
        except ObjectDoesNotExist as error:
            raise CommandError(f"{error} Nothing was created.") from error
        for new in wanted.values():
            new.members = [users[name] for name in new.members]

    def _report(self, fleet, total, verbosity):
        failures = [one for one in fleet.outcomes if one.failed]
        if verbosity >= 1:
            for one in failures:
                self.stdout.write(f"  {one.slug}  " + self.style.ERROR(one.error))
            made = sum(one.text == "provisioned" for one in fleet.outcomes if not one.failed)
            there = len(fleet.outcomes) - len(failures) - made
            self.stdout.write(
                f"{total} tenants, {len(failures)} failed: {made} created, {there} already existed."
            )
        if fleet.interrupted:
            left = total - len(fleet.outcomes)
            raise CommandError(
                f"Interrupted with {left} of {total} tenants not done. Run the command again to continue.",
                returncode=130,
            )
        if failures:
            names = ", ".join(one.slug for one in failures[:SHOWN])
            raise CommandError(
                f"{len(failures)} of {total} tenants failed: {names}. Run the command again for them."
            )
