"""The command sync_members: update the copies of members."""

from django.core.management.base import BaseCommand, CommandError

from do_bridge.members import triggers
from do_bridge.members.syncing import CopyFailed, out_of_sync, sync_members
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import no_such_tenant, with_valid_slugs


class Command(BaseCommand):
    help = "Updates the copies of members in the tenants' databases. It can be run at any time."

    def add_arguments(self, parser):
        parser.add_argument("slug", nargs="*", help="The slugs of the tenants. Default: all tenants.")
        parser.add_argument(
            "--out-of-sync",
            action="store_true",
            dest="out_of_sync",
            help="Update only tenants that are out of sync.",
        )
        parser.add_argument(
            "--check", action="store_true", help="List the tenants that are out of sync. Write nothing."
        )

    def handle(self, *, slug, check, out_of_sync=False, **options):
        tenants = with_valid_slugs()
        if slug:
            tenants = tenants.filter(slug__in=slug)
            unknown = sorted(set(slug) - set(tenants.values_list("slug", flat=True)))
            if unknown:
                raise CommandError(no_such_tenant(*unknown))
        if check or out_of_sync:
            if not triggers.are_there():
                raise CommandError(
                    "It is unknown which tenants are out of sync, because triggers are missing in the shared "
                    "database. A migrate command is running or was interrupted. Run "
                    f"`manage.py migrate --database {conf('DIRECTORY_ALIAS')}`, then run this command again."
                )
            tenants = _out_of_sync(slug)
        if check:
            self._list(tenants)
        else:
            self._repair(tenants.order_by("slug"))

    def _repair(self, tenants):
        failed = []
        for tenant in tenants:
            try:
                count = sync_members(tenant)
            except CopyFailed as exc:
                failed.append(tenant.slug)
                self.stderr.write(str(exc))
            else:
                self.stdout.write(f"{tenant.slug}: {count} members")
        if failed:
            raise CommandError(
                f"Not updated: {', '.join(failed)}. Run `manage.py sync_members {' '.join(failed)}` again."
            )

    def _list(self, tenants):
        for tenant in tenants:
            self.stdout.write(f"{tenant.slug}: out of sync since {tenant.behind_since:%Y-%m-%d %H:%M:%S} UTC")
        if tenants:
            raise CommandError(
                f"{len(tenants)} tenants are out of sync. Run `manage.py sync_members --out-of-sync`."
            )
        self.stdout.write("All tenants are in sync.")


def _out_of_sync(slugs):
    tenants = out_of_sync()
    return tenants.filter(slug__in=slugs) if slugs else tenants
