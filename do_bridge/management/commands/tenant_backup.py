"""The command tenant_backup: write dumps of all databases into a Django storage."""

import threading

from django.core.management.base import CommandError
from django.db import DatabaseError, connections
from tqdm import tqdm

from do_bridge.driver.limits import LONGEST_LEASE
from do_bridge.management.backups import SHARED, Backup, Damaged, list_backups, open_storage, prune
from do_bridge.management.base import TenantsCommand
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.migrate.fleet import JOBS, Fleet, Outcome
from do_bridge.tenancy.slugs import ALIAS_PREFIX, alias_slug
from do_bridge.tenancy.tenants import no_such_tenant, registered_slugs, tenant_model

SHOWN = 20


class Command(TenantsCommand):
    """The command that dumps D1 and the tenants into a folder of the storage.

    The manifest is written last.
    """

    help = (
        "Writes dumps of the shared database and of all tenants, or of those named, into a folder of the "
        'storage STORAGES["backups"]. With --resume it continues a run that was interrupted.'
    )

    def add_arguments(self, parser):
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="Only these tenants. Default: all.")
        parser.add_argument("--storage", default="backups", help="The storage. Default: %(default)s.")
        parser.add_argument("--no-shared", action="store_true", help="Leave the shared database out.")
        parser.add_argument(
            "--resume", action="store_true", help="Continue the latest run if it has not finished."
        )
        parser.add_argument(
            "--keep", type=int, metavar="N", help="Afterwards delete all but the latest N complete backups."
        )
        parser.add_argument(
            "--keep-days", type=int, metavar="DAYS", help="Delete none that is younger than this."
        )
        parser.add_argument("--jobs", type=int, default=JOBS, help="Databases at once. Default: %(default)s.")
        parser.add_argument(
            "--lease",
            type=float,
            default=LONGEST_LEASE,
            help="Longest time in seconds (0.1 to 25) for which a tenant's writers may wait. "
            "Default: %(default)s.",
        )
        parser.add_argument("--list", action="store_true", help="List the backups, and write none.")

    def handle(self, *, storage, keep, keep_days, verbosity, **options):
        if (keep is not None and keep < 1) or options["jobs"] < 1:
            raise CommandError("--keep and --jobs must be 1 or more.")
        storage = open_storage(storage)
        try:
            if options["list"]:
                return self._list(storage)
            backup, failed, found = self._run(storage, verbosity, **options)
            gone = [] if failed or (keep is None and keep_days is None) else prune(storage, keep, keep_days)
        except KeyboardInterrupt as error:
            raise _interrupted() from error
        except (DatabaseError, Damaged, OSError) as error:
            raise CommandError(f"The backup was not finished: {error}") from error
        if verbosity >= 1:
            self._report(backup, found, gone)
        if failed:
            names = ", ".join(sorted(failed)[:SHOWN]) + (", …" if len(failed) > SHOWN else "")
            first = failed[min(failed)]
            raise CommandError(
                f"{len(failed)} databases are not in the backup {backup.name}: {names}. The first error was: "
                f"{first} Old backups were kept. Run the command again."
            )
        return None

    def _run(self, storage, verbosity, *, slugs, resume, jobs, lease, no_shared, **_):
        """Write what is missing in a new or an interrupted run.

        Return (run, failed, entries).
        """
        backup = self._unfinished(storage) if resume else None
        if backup is None:
            wanted = [f"{ALIAS_PREFIX}{slug}" for slug in _chosen(slugs)]
            if not no_shared and _is_ours(conf("DIRECTORY_ALIAS")):
                wanted.insert(0, SHARED)
            backup = Backup.start(storage, wanted)
        else:
            wanted = self._still_there(backup.wanted())
            if verbosity >= 1:
                self.stdout.write(f"Continuing the backup {backup.name}.")
        done = backup.entries()
        failed = self._dump([name for name in wanted if name not in done], backup, jobs, lease, verbosity)
        backup.finish(failed)
        return backup, failed, backup.entries()

    def _dump(self, names, backup, jobs, lease, verbosity):
        """Dump databases, and return {name: error} of those that failed.

        The tenants' databases are dumped in threads.
        """
        warned, lock, failed = [], threading.Lock(), {}

        def dump(name):
            entry = backup.add(name, lease=lease)
            if not entry.consistent:
                with lock:
                    warned.append(entry)

        def work(slug):
            dump(f"{ALIAS_PREFIX}{slug}")
            return Outcome(slug)

        fleet = Fleet(work, jobs=jobs)
        slugs = [alias_slug(name) for name in names if name != SHARED]
        # The raw stream, because Django's wrapper adds a newline after each step of the bar.
        hidden = verbosity < 1 or not self.stderr.isatty()
        with tqdm(total=len(names), unit="database", file=self.stderr._out, disable=hidden) as bar:
            if SHARED in names:
                try:
                    dump(SHARED)
                except Exception as error:
                    # The tenants are dumped all the same.
                    failed[SHARED] = f"{type(error).__name__}: {error}"
                bar.update()
            fleet.run(slugs, bar)
        self._warn(warned)
        if fleet.interrupted:
            raise _interrupted()
        return failed | {f"{ALIAS_PREFIX}{one.slug}": one.error for one in fleet.outcomes if one.failed}

    def _warn(self, entries):
        for entry in sorted(entries, key=lambda entry: entry.database):
            dangling = f" {entry.dangling} rows refer to missing rows." if entry.dangling else ""
            text = f"{entry.database}: the rows were not read at one moment.{dangling}"
            self.stderr.write(self.style.WARNING(text))

    def _unfinished(self, storage):
        backups = list_backups(storage)
        return backups[-1] if backups and not backups[-1].is_finished else None

    @staticmethod
    def _still_there(wanted):
        """Return those of the databases that were not deleted since the run was started."""
        slugs = {slug for name in wanted if (slug := alias_slug(name))}
        there = set(_registered(slugs))
        return [name for name in wanted if name == SHARED or alias_slug(name) in there]

    def _report(self, backup, entries, gone):
        rows, size = (sum(getattr(entry, of) for entry in entries.values()) for of in ("rows", "bytes"))
        text = f"Backup {backup.name}: {len(entries)} databases, {rows} rows, {size:,} bytes."
        self.stdout.write(self.style.SUCCESS(text))
        if gone:
            self.stdout.write(f"Deleted: {', '.join(gone)}.")

    def _list(self, storage):
        for backup in list_backups(storage):
            if backup.is_finished:
                manifest = backup.manifest()
                size = sum(entry["bytes"] for entry in manifest["databases"])
                text = f"{len(manifest['databases'])} databases  {size:,} bytes"
                if manifest["failed"]:
                    text += f"  {len(manifest['failed'])} failed"
            else:
                text = "not finished"
            self.stdout.write(f"{backup.name}  {text}")


def _interrupted():
    return CommandError(
        "Interrupted. Run `manage.py tenant_backup --resume` to continue.",
        returncode=130,
    )


def _registered(slugs):
    tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
    return registered_slugs(tenants.filter(slug__in=slugs))


def _chosen(slugs):
    """Return the registered slugs, or those given.

    Raises CommandError for an unknown slug.
    """
    found = registered_slugs() if not slugs else _registered(slugs)
    if unknown := sorted({*slugs} - {*found}):
        raise CommandError(no_such_tenant(*unknown))
    return found


def _is_ours(alias):
    return connections[alias].settings_dict["ENGINE"].startswith("do_bridge.backends.")
