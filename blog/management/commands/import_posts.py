"""The command import_posts: import posts from JSON Lines into one tenant."""

import sys
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError
from tqdm import tqdm

from accounts.models import Tenant
from blog.importing import BadLine, read_records, write_posts
from do_bridge import tenant_context
from do_bridge.tenancy.tenants import no_such_tenant


class Command(BaseCommand):
    help = (
        "Imports posts from a file of JSON Lines (title, content, author, published_at), all or none. "
        "Authors are looked up by username or name. Missing authors are created as users who cannot log in."
    )

    def add_arguments(self, parser):
        parser.add_argument("file", metavar="FILE", help="A UTF-8 file with one JSON object in each line.")
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="The tenant to import into.")

    def handle(self, *, file, tenant, **_options):
        if not Tenant.objects.filter(slug=tenant).exists():
            raise CommandError(no_such_tenant(tenant))
        try:
            # Read as bytes, so that an invalid character is reported with the number of its line.
            with Path(file).open("rb") as lines:
                records = read_records(lines)
        except OSError as exc:
            raise CommandError(f"{file}: {exc.strerror}") from exc
        except BadLine as exc:
            raise CommandError(f"{file}, {exc}. Nothing was imported.") from exc
        on_terminal = getattr(sys.stderr, "isatty", lambda: False)()
        bar = tqdm(total=len(records), unit="post", desc=tenant, disable=not on_terminal)
        with bar, tenant_context(tenant) as scope:
            try:
                count = write_posts(records, scope.alias, done=bar.update)
            except (DatabaseError, InterfaceError) as exc:
                known = getattr(exc.__cause__, "effect", None) not in ("unknown", "done")
                what = "Nothing was imported" if known else "Check whether the posts were imported"
                raise CommandError(f"{what}: {exc}") from exc
        self.stdout.write(f"{count} posts imported into {tenant}.")
