"""Repairs the copies of members in one tenant's object, or in all of them."""

from django.core.management.base import BaseCommand, CommandError

from accounts.members import CopyFailed, sync_members
from accounts.models import Tenant


class Command(BaseCommand):
    help = "Brings the copies of members in the tenants' objects to what D1 says; safe to repeat."

    def add_arguments(self, parser):
        parser.add_argument("slug", nargs="*", help="the tenants; without one: all")

    def handle(self, *, slug, **_options):
        tenants = Tenant.objects.all()
        if slug:
            tenants = tenants.filter(slug__in=slug)
            unknown = sorted(set(slug) - {tenant.slug for tenant in tenants})
            if unknown:
                raise CommandError(f"No such tenant: {', '.join(unknown)}")
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
