"""Repairs the copies of members in one tenant's object, or in all of them."""

from django.core.management.base import BaseCommand, CommandError

from accounts import marks
from accounts.members import CopyFailed, sync_members
from accounts.models import Tenant
from accounts.signals import DIRECTORY


class Command(BaseCommand):
    help = "Brings the copies of members in the tenants' objects to what D1 says; safe to repeat."

    def add_arguments(self, parser):
        parser.add_argument("slug", nargs="*", help="the tenants; without one: all")
        parser.add_argument(
            "--out-of-step", action="store_true", help="Only those with a change that is not copied yet."
        )
        parser.add_argument(
            "--check", action="store_true", help="List those with such a change, and write nothing."
        )

    def handle(self, *, slug, out_of_step, check, **_options):
        tenants = Tenant.objects.out_of_step() if out_of_step or check else Tenant.objects.all()
        if slug:
            tenants = tenants.filter(slug__in=slug)
            known = Tenant.objects.filter(slug__in=slug).values_list("slug", flat=True)
            unknown = sorted(set(slug) - set(known))
            if unknown:
                raise CommandError(f"No such tenant: {', '.join(unknown)}")
        if (check or out_of_step) and not marks.are_there(DIRECTORY):
            raise CommandError(
                "Changes of members are not noted: D1's triggers are not there, because a migrate is running "
                "or was cut off. Run migrate, and then sync_members for all."
            )
        if check:
            self._list(tenants)
        else:
            self._repair(tenants)

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
            self.stdout.write(f"{tenant.slug}: out of step since {tenant.behind_since:%Y-%m-%d %H:%M:%S} UTC")
        if tenants:
            raise CommandError(f"{len(tenants)} out of step.")
        self.stdout.write("All are in step.")
