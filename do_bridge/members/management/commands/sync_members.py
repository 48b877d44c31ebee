"""Repairs the copies of members in one tenant's object, or in all of them."""

from django.core.management.base import BaseCommand, CommandError

from do_bridge.members import triggers
from do_bridge.members.syncing import CopyFailed, out_of_sync, sync_members
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.tenants import tenant_model


class Command(BaseCommand):
    help = "Brings the copies of members in the tenants' objects to what D1 says; safe to repeat."

    def add_arguments(self, parser):
        parser.add_argument("slug", nargs="*", help="the tenants; without one: all")
        parser.add_argument(
            "--out-of-sync",
            "--out-of-step",
            action="store_true",
            dest="out_of_sync",
            help="Only those with a change that is not copied yet.",
        )
        parser.add_argument(
            "--check", action="store_true", help="List those with such a change, and write nothing."
        )

    def handle(self, *, slug, check, out_of_sync=False, **options):
        tenants = tenant_model()._base_manager.using(conf("DIRECTORY_ALIAS"))
        if slug:
            tenants = tenants.filter(slug__in=slug)
            unknown = sorted(set(slug) - set(tenants.values_list("slug", flat=True)))
            if unknown:
                raise CommandError(f"No such tenant: {', '.join(unknown)}")
        if check or out_of_sync:
            if not triggers.are_there():
                raise CommandError(
                    "Changes of members are not flagged, because D1's triggers are missing. A migrate is "
                    "running, or was interrupted. Run migrate, which flags all members when it is done."
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
            raise CommandError(f"Not repaired: {', '.join(failed)}")

    def _list(self, tenants):
        for tenant in tenants:
            self.stdout.write(f"{tenant.slug}: out of sync since {tenant.behind_since:%Y-%m-%d %H:%M:%S} UTC")
        if tenants:
            raise CommandError(f"{len(tenants)} out of sync.")
        self.stdout.write("All are in sync.")


def _out_of_sync(slugs):
    tenants = out_of_sync()
    return tenants.filter(slug__in=slugs) if slugs else tenants
